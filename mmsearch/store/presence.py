"""What is on the disk now, beside what was there: files that are gone or changed, drives that are not there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from mmsearch.types import FileStat

if TYPE_CHECKING:
    from mmsearch.store.reader import Reader

DEVICE = "device:"
"""Before a root's id: the setting that says on which device the root was when it was last there."""


def is_gone(root: bytes, path: bytes, follow_links: bool = False) -> bool:
    """Whether no regular file stands at ``path``, relative to ``root``, any more; another thing there is none.

    Nor is a link, or what lies behind one, unless links are followed. False also when we may not look: what can't be
    seen is not known to be gone.
    """
    try:
        status = os.stat(os.path.join(root, path), follow_symlinks=follow_links)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        return error.errno == errno.ELOOP
    return not stat.S_ISREG(status.st_mode) or not (follow_links or _is_real(root, os.path.dirname(path)))


def _is_real(root: bytes, folder: bytes) -> bool:
    """Whether no part of the way from ``root`` to a folder in it is a link."""
    while folder:
        if os.path.islink(os.path.join(root, folder)):
            return False
        folder = os.path.dirname(folder)
    return True


def is_offline(reader: Reader, root_id: int, root: bytes) -> bool:
    """Whether a root is on a drive that is not there: then it can't be listed, or something else stands in its place.

    That is an empty folder, or one on another device that holds no file that is known: a mount point with strays. The
    device alone says nothing, as drives are numbered anew at every start of the machine.
    """
    try:
        with os.scandir(root) as entries:
            empty = next(entries, None) is None
    except NotADirectoryError:
        return False  # a single file was indexed
    except OSError:
        return True
    if not empty and device(root) == reader.setting(f"{DEVICE}{root_id}"):
        return False
    holds_any = bool(reader.query("SELECT 1 FROM item WHERE root_id = ? LIMIT 1", (root_id,)))
    if empty or not holds_any:
        return holds_any
    return reader.setting(f"{DEVICE}{root_id}") is not None and _nothing_is_there(reader, root_id, root)


def device(root: bytes) -> str:
    """The number of the device that a folder is on, now; empty where it can't be looked at."""
    try:
        return str(os.stat(root).st_dev)
    except OSError:
        return ""


def _nothing_is_there(reader: Reader, root_id: int, root: bytes) -> bool:
    last = b""
    while rows := reader.query(_PRESENT, (root_id, last)):
        if not all(is_gone(root, path, follow_links=True) for (path,) in rows):
            return False
        last = rows[-1][0]
    return True


_PRESENT = "SELECT path FROM item WHERE root_id = ? AND path > ? AND gone IS NULL ORDER BY path LIMIT 1000"


class Content(NamedTuple):
    """What an item was when it was indexed."""

    file: FileStat
    sha256: bytes


def contents(reader: Reader, item_ids: Sequence[int]) -> dict[int, Content]:
    """What these items were, those that exist; a copy of one must be just that."""
    columns, found = ", ".join(FileStat._fields), dict[int, Content]()
    for start in range(0, len(item_ids), 1000):
        chunk = list(item_ids[start : start + 1000])
        where = f"id IN ({','.join('?' * len(chunk))}) AND sha256 IS NOT NULL"
        for item_id, sha256, *status in reader.query(f"SELECT id, sha256, {columns} FROM item WHERE {where}", chunk):
            found[item_id] = Content(FileStat(*status), sha256)
    return found
