"""Bytes off the disk, read once: hashed, and proved not to have changed meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass

from mmsearch.errors import Rejected, Transient, Unsupported
from mmsearch.media.sniff import HEAD, require_indexable

MAX_BYTES = 256 * 1024 * 1024
"""Larger files are rejected: a file is held in memory whole while it is decoded."""

ATTEMPTS = 3
"""A file that changes while it is read is read again twice, then left to the next run."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file's content as it was at one moment: bytes, sha256 (32 bytes), size in bytes, mtime in ns, inode."""

    data: bytes
    sha256: bytes
    size: int
    mtime_ns: int
    inode: int


def read(path: bytes, *, follow_links: bool = False, limit: int = MAX_BYTES) -> Source:
    """Read a regular file that holds something indexable. Of any other content only the head is read.

    Raises ``FileNotFoundError`` for a file that is gone, ``Unsupported`` for content that is not indexed or a
    link that is not to be followed, ``Rejected`` for what is no regular file, is empty, or has more than ``limit``
    bytes, and ``Transient`` for a file that keeps changing or that the system would not let us read.
    """
    try:
        for _ in range(ATTEMPTS):
            if (source := _read_once(path, follow_links, limit)) is not None:
                return source
    except OSError as error:
        raise _outcome(error) from error
    raise Transient("changed while it was read")


def _read_once(path: bytes, follow_links: bool, limit: int) -> Source | None:
    """None when the file changed under us."""
    # O_NONBLOCK: opening a FIFO must not wait for a writer.
    more = os.O_NONBLOCK | (0 if follow_links else os.O_NOFOLLOW)
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | more)) as file:
        before = os.fstat(file.fileno())
        if not stat.S_ISREG(before.st_mode):
            raise Rejected("not a regular file")
        head = file.read(HEAD)
        require_indexable(head, before.st_size)
        if before.st_size > limit:
            raise Rejected(f"larger than {limit // (1024 * 1024)} MiB")
        # One byte more than there should be, so that growth shows; never the endless tail of a growing file.
        file.seek(0)
        data = file.read(before.st_size + 1)
        digest = hashlib.sha256(data).digest()
        after = os.fstat(file.fileno())
    if len(data) != before.st_size or _identity(before) != _identity(after):
        return None
    return Source(data, digest, before.st_size, before.st_mtime_ns, before.st_ino)


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
