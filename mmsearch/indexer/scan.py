"""The tree walk: every regular file that may be indexed, one at a time, in the order the system lists them.

A folder is never held in memory: a million files in one folder cost no more than ten. Links are not followed unless
asked; then a folder is entered once, by its real path if that lies in the tree. One folder that cannot be read is
reported and the walk goes on.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from mmsearch.indexer import ignore
from mmsearch.indexer.ignore import IgnoreFile
from mmsearch.indexer.options import Options
from mmsearch.types import FileStat

LISTED = 2000
"""Files compared with the catalog at a time."""

JUNK = frozenset(
    name.lower().encode()
    for name in (
        *("@eaDir", "#recycle", "@Recycle", "@Recently-Snapshot", "#snapshot", "lost+found"),  # network drives
        *("$RECYCLE.BIN", "System Volume Information", "Thumbs.db", "ehthumbs.db", "desktop.ini"),  # Windows
        *("__MACOSX", "Icon\r", "node_modules", "__pycache__"),
    )
)
"""Names that are never indexed, whatever their case; nor is any name that starts with a dot."""

NO_MEDIA = b".nomedia"
"""A folder that holds a file of this name is skipped with all below it, as Android does."""


OnError = Callable[[bytes, OSError], None]


def _unheard(path: bytes, error: OSError) -> None:
    pass


def listed(library: str, root: bytes, start: bytes, options: Options, on_error: OnError) -> Iterator[FileStat]:
    """What a run with these options indexes below ``root/start``: never the library itself."""
    own = os.stat(library)
    return walk(
        root,
        start,
        include=options.include,
        exclude=options.exclude,
        follow_links=options.follow_links,
        avoid={(own.st_dev, own.st_ino)},
        on_error=on_error,
    )


def walk(
    root: bytes,
    start: bytes = b"",
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    follow_links: bool = False,
    avoid: Collection[tuple[int, int]] = frozenset(),
    on_error: OnError = _unheard,
) -> Iterator[FileStat]:
    """Yield the regular files below ``root/start``; paths are relative to ``root``. A file yields itself alone.

    ``include`` and ``exclude`` are shell globs, matched against the whole relative path and against the name, without
    regard to case; ``*`` spans folders. With ``include``, only files that match one are yielded; a folder that matches
    ``exclude`` is not entered. ``avoid`` holds (device, inode) of folders never to enter. ``start`` itself is taken
    even if its name is hidden, excluded or ignored: somebody asked for it.

    A path that cannot be read goes to ``on_error`` (relative path, error); one that vanishes meanwhile is left out,
    except ``root/start`` itself, which is reported.
    """
    try:
        status = os.stat(_join(root, start), follow_symlinks=follow_links or not start)
    except OSError as error:
        on_error(start, error)
        return
    if stat.S_ISREG(status.st_mode):
        yield FileStat.of(start, status)
    elif stat.S_ISDIR(status.st_mode):
        walker = _Walker(root, _globs(include), _globs(exclude), follow_links, avoid, on_error)
        yield from walker.below(start)


class _Folder(NamedTuple):
    path: bytes  # relative to the root, b"" for the root itself
    rules: tuple[IgnoreFile, ...]  # of the folders above, outermost first


@dataclass(slots=True)
class _Walker:
    root: bytes
    include: re.Pattern[str] | None
    exclude: re.Pattern[str] | None
    follow_links: bool
    avoid: Collection[tuple[int, int]]
    on_error: OnError
    entered: set[tuple[int, int]] = field(default_factory=set)
    pending: deque[_Folder] = field(default_factory=deque)

    def below(self, start: bytes) -> Iterator[FileStat]:
        try:
            self.pending.append(_Folder(start, self._rules_above(start)))
        except OSError as error:
            self.on_error(start, error)
        while self.pending:
            # Folders are listed one after another, never nested: one open handle, however deep the tree.
            folder = self.pending.pop()
            try:
                if (rules := self._enter(folder)) is not None:
                    yield from self._list(folder.path, rules)
            except (FileNotFoundError, NotADirectoryError):
                continue  # vanished, or replaced, since it was listed
            except OSError as error:
                self.on_error(folder.path, error)

    def _rules_above(self, start: bytes) -> tuple[IgnoreFile, ...]:
        parts = start.split(b"/") if start else []
        above = (b"/".join(parts[:depth]) for depth in range(len(parts)))
        return tuple(rules for path in above if (rules := ignore.load(_join(self.root, path), _prefix(path))))

    def _enter(self, folder: _Folder) -> tuple[IgnoreFile, ...] | None:
        """The rules that hold in ``folder``; None when it is not to be listed."""
        path = _join(self.root, folder.path)
        status = os.stat(path)
        identity = status.st_dev, status.st_ino
        if identity in self.avoid or identity in self.entered or os.path.lexists(os.path.join(path, NO_MEDIA)):
            return None
        if self.follow_links:  # without links a tree has no loops, and the set would grow with it for nothing
            self.entered.add(identity)
        own = ignore.load(path, _prefix(folder.path))
        return (*folder.rules, own) if own else folder.rules

    def _list(self, folder: bytes, rules: tuple[IgnoreFile, ...]) -> Iterator[FileStat]:
        prefix, follow = _prefix(folder), self.follow_links
        narrowed = bool(rules or self.include or self.exclude)  # asked once a folder, not a million times
        with os.scandir(_join(self.root, folder)) as items:
            for item in items:
                name = item.name
                if name.startswith(b".") or name.lower() in JUNK:
                    continue
                path = prefix + name
                try:
                    if item.is_file(follow_symlinks=follow):
                        if narrowed and not self._wants(path, name, rules, is_folder=False):
                            continue
                        status = item.stat(follow_symlinks=follow)
                        yield FileStat.of(path, status)
                    elif item.is_dir(follow_symlinks=follow) and self._wants(path, name, rules, is_folder=True):
                        # Links wait until every real folder is done, so that the real path is the one that counts.
                        add = self.pending.appendleft if item.is_symlink() else self.pending.append
                        add(_Folder(path, rules))
                except FileNotFoundError:
                    continue
                except OSError as error:
                    if error.errno != errno.ELOOP:  # a link to itself is nothing to read
                        self.on_error(path, error)

    def _wants(self, path: bytes, name: bytes, rules: tuple[IgnoreFile, ...], is_folder: bool) -> bool:
        if self.include and not is_folder and not _matches(self.include, path, name):
            return False
        if self.exclude and _matches(self.exclude, path, name):
            return False
        return not ignore.is_ignored(rules, path, is_folder)


def _join(root: bytes, path: bytes) -> bytes:
    return os.path.join(root, path) if path else root


def _prefix(folder: bytes) -> bytes:
    return folder + b"/" if folder else b""


def _globs(patterns: Sequence[str]) -> re.Pattern[str] | None:
    clean = [pattern.removeprefix("./").rstrip("/") for pattern in patterns]
    return re.compile("|".join(map(fnmatch.translate, clean)), re.IGNORECASE) if clean else None


def _matches(globs: re.Pattern[str], path: bytes, name: bytes) -> bool:
    return bool(globs.match(os.fsdecode(path)) or globs.match(os.fsdecode(name)))
