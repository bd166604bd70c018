"""Bytes off the disk: hashed a mebibyte at a time, and proved not to have changed when they are read to be decoded."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from mmsearch.errors import Rejected, Transient, Unsupported
from mmsearch.media.sniff import HEAD, require_indexable
from mmsearch.types import EncoderSpec, Modality

MAX_BYTES = 256 * 1024 * 1024
"""Larger pictures are rejected: whoever decodes them holds them in memory whole."""

STREAMED = frozenset({Modality.AUDIO, Modality.VIDEO, Modality.TEXT})
_CHUNK = 1024 * 1024

ATTEMPTS = 3
"""A file that changes while it is read is read again twice, then left to the next run."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content as it was at one moment: head, sha256 (32 bytes), size in bytes, mtime in ns, inode.

    ``path`` None: ``data`` is all of it. Otherwise ``data`` is its head, and `opened` reads the file again.
    ``descriptor``: the open file, for a process that may open nothing; whoever gave it sees to it that it is the same.
    """

    data: bytes
    sha256: bytes
    size: int
    mtime_ns: int
    inode: int
    path: bytes | None = None
    descriptor: int | None = None

    def content(self) -> bytes:
        """All of it. Raises what `opened` raises."""
        if self.path is None and self.descriptor is None:
            return self.data
        with self.opened() as file:
            return file.read(self.size)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The content as a file, from its start. Raises ``Transient`` if it is no longer what was hashed."""
        if self.descriptor is not None:
            with open(self.descriptor, "rb", buffering=0, closefd=False) as file:
                file.seek(0)
                yield file
            return
        if self.path is None:
            yield io.BytesIO(self.data)
            return
        with open(
            self.path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
        ) as file:
            expected = self.size, self.mtime_ns, self.inode
            if _identity(os.fstat(file.fileno())) != expected:
                raise Transient("changed while it was read")
            yield file
            if _identity(os.fstat(file.fileno())) != expected:
                raise Transient("changed while it was read")


class Stopped(Exception):
    """Nobody wants the file any more."""


def read(
    path: bytes,
    spec: EncoderSpec | None = None,
    *,
    follow_links: bool = False,
    limit: int = MAX_BYTES,
    stopped: Callable[[], bool] = lambda: False,
) -> Source:
    """Read a regular file that holds something that ``spec``'s encoder takes. Of any other only the head is read.

    ``stopped`` is asked at every mebibyte; once it says so, this raises ``Stopped``.

    Raises ``FileNotFoundError`` for a file that is gone, ``Unsupported`` for content that is not indexed or a
    link that is not to be followed, ``Rejected`` for what is no regular file, is empty, or has more than ``limit``
    bytes (a picture), and ``Transient`` for a file that keeps changing or that the system would not let us read.
    """
    try:
        for _ in range(ATTEMPTS):
            if (source := _read_once(path, spec, follow_links, limit, stopped)) is not None:
                return source
    except OSError as error:
        raise _outcome(error) from error
    raise Transient("changed while it was read")


def _read_once(
    path: bytes, spec: EncoderSpec | None, follow_links: bool, limit: int, stopped: Callable[[], bool]
) -> Source | None:
    """None when the file changed under us."""
    more = 0 if follow_links else os.O_NOFOLLOW
    with open(path, "rb", opener=lambda name, flags: _without_waiting(name, flags | more)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Rejected("not a regular file")
        head = file.read(HEAD)
        streamed = require_indexable(head, before.st_size, spec, path).modality in STREAMED
        if before.st_size > limit and not streamed:
            raise Rejected(f"larger than {limit // (1024 * 1024)} MiB")
        file.seek(0)
        # One byte more than there should be, so that growth shows; never the endless tail of a growing file.
        sha256, count = _digest(file, before.st_size + 1, stopped)
        after = os.fstat(file.fileno())
    if count != before.st_size or _identity(before) != _identity(after):
        return None
    return Source(head, sha256, before.st_size, before.st_mtime_ns, before.st_ino, path)


def _digest(file: BinaryIO, most: int, stopped: Callable[[], bool]) -> tuple[bytes, int]:
    """The sha256 of a file's first ``most`` bytes, and how many there were; a mebibyte is held at a time."""
    digest, count = hashlib.sha256(), 0
    while chunk := file.read(min(_CHUNK, most - count)):
        digest.update(chunk)
        count += len(chunk)
        if stopped():
            raise Stopped
    return digest.digest(), count


def _without_waiting(name: str | bytes, flags: int) -> int:
    return os.open(name, flags | os.O_NONBLOCK)  # opening a FIFO must not wait for a writer


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _outcome(error: OSError) -> Exception:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        case errno.ELOOP:
            return Unsupported("a symbolic link")
        case errno.ENXIO | errno.ENODEV | errno.EISDIR | errno.EOPNOTSUPP:
            return Rejected("not a regular file")
        case errno.ENAMETOOLONG:
            return Rejected("its name is too long")
        case None:
            return Transient(type(error).__name__)
        case number:
            return Transient(os.strerror(number).lower())
