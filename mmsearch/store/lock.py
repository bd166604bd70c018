"""One writer: an advisory lock on an open descriptor, which the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from types import TracebackType
from typing import Self

from mmsearch.errors import Locked, UsageError
from mmsearch.own import PRIVATE_FILE

LOCK_NAME = "lock"
_POLL_S = 0.05
_HOLDER = "process "


class WriterLock:
    """Held from construction to ``close``. Raises ``Locked``, naming the holder, after ``timeout`` seconds.

    There is no stale lock to clean up: the file stays, the lock on it does not survive its process. Raises
    ``UsageError`` where something else bears the lock's name: it is not written. ``make`` False: nor is it made.
    """

    def __init__(self, folder: str, timeout: float = 0.0, make: bool = True) -> None:
        self._folder, self._path = folder, os.path.join(folder, LOCK_NAME)
        self._fd = self._open(make)
        try:
            self._wait(time.monotonic() + timeout, make)
            holder = f"{_HOLDER}{os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, holder.encode(), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def _open(self, make: bool) -> int:
        how = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_CREAT if make else 0)
        try:
            descriptor = os.open(self._path, how, PRIVATE_FILE)
        except OSError:
            if os.path.lexists(self._path) and not stat.S_ISREG(os.lstat(self._path).st_mode):
                raise self._foreign() from None
            raise
        found, text = os.fstat(descriptor), b""
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
            text = os.pread(descriptor, len(_HOLDER), 0)
            if text in (b"", _HOLDER.encode()):
                return descriptor
        os.close(descriptor)
        raise self._foreign()

    def _foreign(self) -> UsageError:
        return UsageError(f"{self._path} is no lock of mmsearch's, and is left as it is: move it away, then try again")

    def _wait(self, deadline: float, make: bool) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._fd, 500, 0).decode(errors="replace") or "another process"
                    raise Locked(
                        f"{self._folder} is being written by {holder}: wait for it, or use --lock-timeout"
                    ) from None
                time.sleep(_POLL_S)
                continue
            if self.is_held():
                return
            fresh = self._open(make)  # it was removed, or its library renamed, while this waited
            os.close(self._fd)
            self._fd = fresh

    def is_held(self) -> bool:
        """Whether the locked file is still the one that others would lock: it was not removed or replaced."""
        own = os.fstat(self._fd)
        try:
            there = os.lstat(self._path)
        except FileNotFoundError:
            return False
        return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
