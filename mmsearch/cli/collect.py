"""`--copy-to`, `--link-to`, `--clip-to`: the hits' files, or the spans found in them, in a folder of your choice.

Names are kept, a name that is taken gets a number, and nothing is ever overwritten. What is there already, the same
bytes or the same link, is left alone: a command can be run again.
"""

from __future__ import annotations

import errno
import filecmp
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mmsearch.cli.render import shown
from mmsearch.errors import MMSearchError, Rejected, StorageFull, UsageError

if TYPE_CHECKING:
    from mmsearch.types import Hit


@dataclass(slots=True)
class Collected:
    """How many files were written, how many were there before, what has no span, and what failed and why."""

    new: int = 0
    same: int = 0
    spanless: int = 0
    failed: list[str] = field(default_factory=list)


def collect(hits: Sequence[Hit], folder: str, how: str, ranked: bool = False) -> Collected:
    """Put the hits' files into ``folder``, made if need be; ``how``: ``copy``, ``link`` or ``clip``.

    ``ranked`` begins each name with the hit's rank. A file that can't be read is one line of ``failed``; a folder that
    can't be written raises ``UsageError``, a full disk ``StorageFull``.
    """
    place = {"copy": _copy, "link": _link, "clip": _clip}[how]
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: {(error.strerror or 'cannot be made').lower()}") from None
    done = Collected()
    digits = len(str(len(hits)))
    for hit in _spans(hits, done) if how == "clip" else hits:
        prefix = f"{hit.rank:0{digits}}_" if ranked else ""
        try:
            new = place(hit, os.path.join(os.fsencode(folder), prefix.encode() + os.path.basename(hit.path)))
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


def _placed(target: bytes, make: Callable[[bytes], None], same: Callable[[bytes], bool]) -> bool:
    """``make`` the first name that is free; False if ``same`` says of one that is taken that it is what is wanted."""
    for name in _names(target):
        try:
            make(name)
        except FileExistsError:
            if same(name):
                return False
        else:
            return True
    raise AssertionError("there is always another number")


def _reserved(name: bytes, fill: Callable[[bytes], None]) -> None:
    """Make a new file and ``fill`` it; nothing is left of one that fails. Raises ``FileExistsError``."""
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        fill(name)
    except BaseException:
        os.unlink(name)
        raise


def _copy(hit: Hit, target: bytes) -> bool:
    if not stat.S_ISREG(os.stat(hit.path).st_mode):
        raise Rejected("not a regular file")

    def fill(name: bytes) -> None:
        shutil.copyfile(hit.path, name)
        was = os.stat(hit.path)
        with suppress(OSError):  # not every disk keeps times
            os.utime(name, ns=(was.st_atime_ns, was.st_mtime_ns))

    return _placed(
        target,
        lambda name: _reserved(name, fill),
        lambda name: os.path.isfile(name) and filecmp.cmp(hit.path, name, shallow=False),
    )


def _link(hit: Hit, target: bytes) -> bool:
    os.stat(hit.path)  # a link to nothing helps nobody
    return _placed(
        target,
        lambda name: os.symlink(hit.path, name),
        lambda name: os.path.islink(name) and os.readlink(name) == hit.path,
    )


def _clip(hit: Hit, target: bytes) -> bool:
    from mmsearch.media import clip

    assert hit.span is not None
    start, end = hit.span.start, hit.span.end
    kind = clip.kind_of(hit.path)
    stem = os.path.splitext(target)[0]
    named = stem + f"_{_time(start)}-{_time(end)}{clip.suffix(kind)}".encode()
    return _placed(
        named,
        lambda name: _reserved(name, lambda name: clip.cut(hit.path, name, start, end, kind)),
        lambda name: False,  # to compare it, it would have to be cut first
    )


def _time(seconds: float) -> str:
    """``65.5`` -> ``1m05.5s``: sorts and reads in a file's name."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}m{rest:04.1f}s"
