"""Files that this program named itself: how they are made and removed without touching anything else.

A library may come from a stranger, or be moved by hand: what bears one of our names can be a link to another file, and
what lies beside it can be somebody's only copy.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""A library holds the words of documents and the places of photos: it is for its owner's eyes."""


def create(path: str | bytes, mode: int = PRIVATE_FILE) -> int:
    """A descriptor of a new, empty file to write. Raises ``FileExistsError`` for anything that bears the name."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def is_file(path: str | bytes, names: int | None = 1) -> bool:
    """A regular file, no link to one, known under this name alone: a second name may be a stranger's (None: or not)."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and names in (None, found.st_nlink)


def is_folder(path: str | bytes) -> bool:
    """A folder, no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def remove(path: str | bytes) -> None:
    """Remove a file, if it is one."""
    if is_file(path):
        with suppress(FileNotFoundError):
            os.unlink(path)


def remove_folder(path: str, files: Iterable[str], folders: Iterable[str] = ()) -> bool:
    """Remove a folder that holds only these files and folders; what else is in it stays, and then it stays too.

    ``folders`` come innermost first; all names are relative to ``path``. Returns whether it is gone.
    """
    if not is_folder(path):
        return not os.path.lexists(path)
    inner = [os.path.join(path, name) for name in folders]
    for name in files:
        parent = os.path.dirname(os.path.join(path, name))
        if is_folder(parent):
            remove(os.path.join(path, name))
    for folder in (*inner, path):
        if is_folder(folder):
            with suppress(OSError):
                os.rmdir(folder)
    return not os.path.lexists(path)
