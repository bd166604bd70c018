"""`--copy-to`, `--link-to`, `--clip-to`: the hits' files, or the spans found in them, in a folder of your choice.

Names are kept, a name that is taken gets a number, and nothing is ever overwritten. What is there already, the same
bytes or the same link, is left alone: a command can be run again. A copy is what was found, to the byte, or none; it is
born under another name, so that a kill leaves no half of one, and keeps the mode of its source.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO

from mmsearch.cli.render import shown
from mmsearch.errors import MMSearchError, Rejected, StorageFull, UsageError
from mmsearch.types import FileStat

if TYPE_CHECKING:
    from mmsearch.store.presence import Content
    from mmsearch.types import Hit

_HALF = re.compile(rb"\.mmsearch-\d+-\d+\.part")
"""How files are named that are not complete yet; whoever writes one holds a lock on it."""
_CHUNK = 1024 * 1024


@dataclass(slots=True)
class Collected:
    """How many files were written, how many were there before, what has no span, and what failed and why."""

    new: int = 0
    same: int = 0
    spanless: int = 0
    failed: list[str] = field(default_factory=list)


def collect(
    hits: Sequence[Hit], folder: str, how: str, known: Mapping[int, Content], ranked: bool = False
) -> Collected:
    """Put the hits' files into ``folder``, made if need be; ``how``: ``copy``, ``link`` or ``clip``.

    ``known``: by item, what was found; a file that is another one now is not copied. ``ranked`` begins each name with
    the hit's rank. A file that can't be read is one line of ``failed``; a folder that can't be written raises
    ``UsageError``, a full disk ``StorageFull``.
    """
    place = {"copy": _copy, "link": _link, "clip": _clip}[how]
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {(error.strerror or 'cannot be made').lower()}") from None
    _drop_halves(os.fsencode(folder))
    done = Collected()
    digits = len(str(len(hits)))
    for hit in _spans(hits, done) if how == "clip" else hits:
        prefix = f"{hit.rank:0{digits}}_" if ranked else ""
        try:
            new = place(
                hit,
                known.get(hit.item_id),
                os.path.join(os.fsencode(folder), prefix.encode() + os.path.basename(hit.path)),
            )
        except (MMSearchError, OSError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"the disk of {folder} is full") from error
            reason = (error.strerror or "unreadable").lower() if isinstance(error, OSError) else str(error)
            done.failed.append(f"{shown(hit.path)}: {reason}")
        else:
            done.new += new
            done.same += not new
    return done


def _spans(hits: Sequence[Hit], done: Collected) -> Iterator[Hit]:
    """A hit for each of its moments; what has no seconds is counted."""
    for hit in hits:
        if hit.span is None or hit.span.unit != "s":
            done.spanless += 1
            continue
        yield from (replace(hit, span=moment.span) for moment in hit.moments)


def _names(target: bytes) -> Iterator[bytes]:
    """``a.jpg``, ``a (2).jpg``, ``a (3).jpg``, ..."""
    yield target
    stem, dot = os.path.splitext(target)
    number = 1
    while True:
        number += 1
        yield b"%s (%d)%s" % (stem, number, dot)


def _placed(target: bytes, fill: Callable[[int, bytes], None], same: Callable[[bytes], bool]) -> bool:
    """Make a file with what ``fill`` writes, under the first name that is free.

    False if ``same`` says of a name that is taken that it is what is wanted. Nothing is left of one that fails.
    """
    half: bytes | None = None
    try:
        for name in _names(target):
            if os.path.lexists(name):
                if same(name):
                    return False
                continue
            half = half or _filled(os.path.dirname(target), fill)
            try:
                _publish(half, name)
            except FileExistsError:
                continue
            half = None
            return True
    finally:
        if half is not None:
            os.unlink(half)
    raise AssertionError("there is always another number")


def _filled(folder: bytes, fill: Callable[[int, bytes], None]) -> bytes:
    """A new file with a name that stands for none yet; ``fill`` gets its descriptor and its name."""
    number = 0
    while True:
        name = os.path.join(folder, b".mmsearch-%d-%d.part" % (os.getpid(), number))
        try:
            descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            break
        except FileExistsError:
            number += 1
    try:
        with suppress(OSError):  # not every disk has locks; nobody takes the file for a dead one's there
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fill(descriptor, name)
    except BaseException:
        os.unlink(name)
        raise
    finally:
        os.close(descriptor)
    return name


def _publish(half: bytes, name: bytes) -> None:
    """Give a file its name. Raises ``FileExistsError``."""
    try:
        os.link(half, name, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        os.replace(half, name)
    else:
        os.unlink(half)


def _drop_halves(folder: bytes) -> None:
    """Remove what killed runs left: files of our naming that nobody holds the lock of."""
    for name in os.listdir(folder):
        if not _HALF.fullmatch(name):
            continue
        path = os.path.join(folder, name)
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if stat.S_ISREG(os.fstat(descriptor).st_mode):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(path)
            finally:
                os.close(descriptor)


@contextmanager
def _opened(hit: Hit, content: Content | None) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """The file of a hit, which is regular. A link is followed only to the very file that was found through it."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(hit.path, flags | os.O_NOFOLLOW)
        linked = False
    except OSError as error:
        if error.errno != errno.ELOOP or content is None:
            raise
        descriptor, linked = os.open(hit.path, flags), True
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Rejected("not a regular file")
        if linked and (content is None or FileStat.of(b"", status).inode != content.file.inode):
            raise Rejected("is a link now")
        yield file, status


def _copy(hit: Hit, content: Content | None, target: bytes) -> bool:
    changed = Rejected("changed since it was indexed")
    with _opened(hit, content) as (file, status):
        if content is None:
            raise changed

        def fill(descriptor: int, name: bytes) -> None:
            digest = hashlib.sha256()
            with open(descriptor, "wb", closefd=False) as copy:
                while data := file.read(_CHUNK):
                    digest.update(data)
                    copy.write(data)
            if digest.digest() != content.sha256:
                raise changed
            _keep_mode(descriptor, status)
            with suppress(OSError):  # not every disk keeps times
                os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns))

        return _placed(target, fill, lambda name: _sha256(name, status.st_size) == content.sha256)


def _keep_mode(descriptor: int, status: os.stat_result) -> None:
    with suppress(OSError):  # not every disk has modes
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & 0o777)


def _sha256(name: bytes, size: int) -> bytes | None:
    """Of a regular file of this size; None: it is none."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            return None
        return _digest(file)


def _link(hit: Hit, content: Content | None, target: bytes) -> bool:
    os.stat(hit.path)  # a link to nothing helps nobody
    for name in _names(target):
        try:
            os.symlink(hit.path, name)
        except FileExistsError:
            if os.path.islink(name) and os.readlink(name) == hit.path:
                return False
        else:
            return True
    raise AssertionError("there is always another number")


def _clip(hit: Hit, content: Content | None, target: bytes) -> bool:
    from mmsearch.media import clip

    assert hit.span is not None
    start, end = hit.span.start, hit.span.end
    with _opened(hit, content) as (file, status):
        kind = clip.kind_of(hit.path)
        if content is None or not (_is_same(status, content) or _digest(file) == content.sha256):
            raise Rejected("changed since it was indexed")
    stem = os.path.splitext(target)[0]
    named = stem + f"_{_time(start)}-{_time(end)}{clip.suffix(kind)}".encode()

    def fill(descriptor: int, name: bytes) -> None:
        clip.cut(hit.path, name, start, end, kind)
        _keep_mode(descriptor, status)

    return _placed(named, fill, lambda name: False)  # to compare it, it would have to be cut first


def _is_same(status: os.stat_result, content: Content) -> bool:
    now, then = FileStat.of(content.file.path, status), content.file
    return now == then or (then.ctime_ns is None and now._replace(ctime_ns=None) == then)


def _digest(file: BinaryIO) -> bytes:
    digest = hashlib.sha256()
    while data := file.read(_CHUNK):
        digest.update(data)
    return digest.digest()


def _time(seconds: float) -> str:
    """``65.5`` -> ``1m05.5s``: sorts and reads in a file's name."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}m{rest:04.1f}s"
