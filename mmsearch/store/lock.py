"""One writer: an advisory lock on an open descriptor, which the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from types import TracebackType
from typing import Self

from mmsearch.errors import Locked

LOCK_NAME = "lock"
_POLL_S = 0.05


class WriterLock:
    """Held from construction to ``close``. Raises ``Locked``, naming the holder, after ``timeout`` seconds.

    There is no stale lock to clean up: the file stays, the lock on it does not survive its process.
    """

    def __init__(self, folder: str, timeout: float = 0.0) -> None:
        self._fd = os.open(os.path.join(folder, LOCK_NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._wait(folder, time.monotonic() + timeout)
            holder = f"process {os.getpid()} on {os.uname().nodename} since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, holder.encode(), 0)
        except BaseException:
            os.close(self._fd)
            raise

    def _wait(self, folder: str, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    holder = os.pread(self._fd, 500, 0).decode(errors="replace") or "another process"
                    raise Locked(f"{folder} is being written by {holder}: wait for it, or use --lock-timeout") from None
            time.sleep(_POLL_S)

    def close(self) -> None:
        """Give the lock back."""
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()
