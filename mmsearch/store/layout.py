"""What a library folder looks like, and how one is born.

<library>/catalog.sqlite     the truth, vectors included
          lock               held by the one writer
          artifacts/7.exact  vector indexes: generation and kind; can be deleted, `repair` makes them again
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from mmsearch.errors import LibraryTooNew, Locked, NoLibrary, UsageError
from mmsearch.store.lock import WriterLock

CATALOG = "catalog.sqlite"
ARTIFACTS = "artifacts"
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
        shutil.rmtree(left, ignore_errors=True)
    newborn = f"{folder}.tmp-{os.getpid()}"
    os.mkdir(newborn)
    with WriterLock(newborn):
        os.mkdir(os.path.join(newborn, ARTIFACTS))
        fill(newborn)
        try:
            os.rename(newborn, folder)
        except OSError:
            shutil.rmtree(newborn, ignore_errors=True)
            require_library(folder)
    sync_folder(os.path.dirname(folder) or ".")


def _left_by_kills(folder: str) -> Iterator[Path]:
    path = Path(folder)
    for candidate in path.parent.glob(f"{path.name}.tmp-*"):
        # Between making its folder and locking it, a living process must not be taken for a dead one.
        if _lives(candidate.suffix.removeprefix(".tmp-")):
            continue
        try:
            WriterLock(str(candidate)).close()
        except (Locked, OSError):
            continue
        yield candidate


def _lives(pid: str) -> bool:
    """Whether another process has this number; a folder with our own number is left from a former life."""
    if pid == str(os.getpid()):
        return False
    try:
        os.kill(int(pid), 0)
    except PermissionError:
        return True
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    return True


def sync_folder(folder: str) -> None:
    """Make the names in a folder durable (a rename is not, until its folder is synced)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
