"""What a library folder looks like, and how one is born.

<library>/catalog.sqlite     the truth, vectors included
          lock               held by the one writer
          artifacts/7.exact  vector indexes: generation and kind; can be deleted, `repair` makes them again
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from mmsearch import own
from mmsearch.errors import LibraryTooNew, MMSearchError, NoLibrary, UsageError
from mmsearch.own import PRIVATE_FOLDER
from mmsearch.store.lock import LOCK_NAME, WriterLock

CATALOG = "catalog.sqlite"
LOGS = (f"{CATALOG}-wal", f"{CATALOG}-journal")
BESIDE = (*LOGS, f"{CATALOG}-shm")
"""What SQLite keeps beside it: what is not in it yet, or no longer, and what readers agree through."""
ARTIFACTS = "artifacts"
_NEWBORN = ".tmp-"
"""Between a library's name and the number of the process that makes it, while it does."""
FORMAT = 3
"""The catalog format that this version writes: the number of the newest migration."""


def refuse_newer(number: int) -> None:
    """Raise ``LibraryTooNew`` for a catalog format that this version does not know."""
    if number > FORMAT:
        raise LibraryTooNew(
            f"this library has format {number}, this mmsearch knows up to {FORMAT}: pip install -U mmsearch"
        )


def default_folder() -> str:
    """``$MMSEARCH_LIBRARY``, else the platform's folder for application data."""
    if named := os.environ.get("MMSEARCH_LIBRARY"):
        return os.path.abspath(named)
    import platformdirs

    return os.path.join(platformdirs.user_data_dir("mmsearch", appauthor=False), "library")


def holds_library(folder: str) -> bool:
    """Whether there is a catalog in ``folder``."""
    return os.path.isfile(os.path.join(folder, CATALOG))


def require_library(folder: str) -> None:
    """Raise ``NoLibrary`` unless ``folder`` holds a catalog."""
    if not holds_library(folder):
        raise NoLibrary(f"there is no library in {folder}: make one with `mmsearch index FOLDER`")


def create(folder: str, fill: Callable[[str], None]) -> None:
    """Make a library: ``fill`` a folder beside ``folder``, then rename it, so that a kill leaves nothing half-made.

    Returns quietly if another process was faster. Raises ``UsageError`` for a folder that holds something else.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        if holds_library(folder):
            return
        raise UsageError(f"{folder} is not empty and not a library: choose another folder with --library")
    os.makedirs(os.path.dirname(folder) or ".", exist_ok=True)
    for left in _left_by_kills(folder):
        _remove(left)
    newborn = f"{folder}{_NEWBORN}{os.getpid()}"
    try:
        os.mkdir(newborn, PRIVATE_FOLDER)
    except FileExistsError:
        raise UsageError(f"{newborn} is in the way: move it, then try again") from None
    with WriterLock(newborn):
        os.mkdir(os.path.join(newborn, ARTIFACTS), PRIVATE_FOLDER)
        os.close(own.create(os.path.join(newborn, CATALOG)))  # an empty file is a database, and it keeps its mode
        fill(newborn)
        try:
            os.rename(newborn, folder)
        except OSError:
            _remove(newborn)
            require_library(folder)
    sync_folder(os.path.dirname(folder) or ".")


def require_own_files(folder: str, to_write: bool = True) -> None:
    """Raise ``UsageError`` where the catalog, or what SQLite keeps beside it, is no plain file.

    SQLite follows links: it would write what they point to, or beside it, if only to read. A second name (a hard link,
    as some backups have) does no harm to those who read.
    """
    for name in (CATALOG, *BESIDE):
        path = os.path.join(folder, name)
        if os.path.lexists(path) and not own.is_file(path, names=1 if to_write else None):
            raise UsageError(f"{path} is a link, or no file: nothing is written there; put a plain copy in its place")


def require_own_artifacts(folder: str) -> str:
    """The folder of the index files, made if it is not there. Raises ``UsageError`` for a link, or no folder."""
    path = os.path.join(folder, ARTIFACTS)
    if not os.path.lexists(path):
        os.mkdir(path, PRIVATE_FOLDER)
    if not own.is_folder(path):
        raise UsageError(f"{path} is a link, or no folder: nothing is written there; move it away, then try again")
    return path


def mode(folder: str) -> int:
    """The permissions of a new file in a library: the catalog's, so that who shares it shares all of it."""
    return os.stat(os.path.join(folder, CATALOG)).st_mode & 0o666


def _left_by_kills(folder: str) -> Iterator[str]:
    """Folders of births that a kill ended: named as we name them, locked by the dead, with nothing else inside."""
    parent, name = os.path.split(folder)
    for entry in os.scandir(parent or "."):
        start, _, pid = entry.name.rpartition(_NEWBORN)
        # Between making its folder and locking it, a living process must not be taken for a dead one.
        if start != name or not (pid.isascii() and pid.isdecimal()) or _lives(pid):
            continue
        if own.is_folder(entry.path) and set(os.listdir(entry.path)) <= {LOCK_NAME, ARTIFACTS, CATALOG, *BESIDE}:
            try:
                WriterLock(entry.path, make=False).close()
            except (MMSearchError, OSError):
                continue
            yield entry.path


def _remove(newborn: str) -> None:
    own.remove_folder(newborn, (*BESIDE, CATALOG, LOCK_NAME), (ARTIFACTS,))


def _lives(pid: str) -> bool:
    """Whether another process has this number; a folder with our own number is left from a former life."""
    if pid == str(os.getpid()):
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable (a rename is not, until its folder is synced)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
