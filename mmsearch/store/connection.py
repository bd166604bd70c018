"""A connection that reads, and SQLite's errors by our names."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import join
from typing import Any, TypeAlias
from urllib.parse import quote

from mmsearch.errors import Damaged, Locked, MMSearchError, StorageFull, UsageError
from mmsearch.store.layout import CATALOG, LOGS, require_own_files

HARDENED = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
"""What SQLite advises for files of others: nothing in them may call a function that is not harmless, and sizes inside a
page are checked when it is read (https://www.sqlite.org/security.html)."""


def connect_readonly(folder: str) -> Connection:
    """The catalog of a library folder; a reader never takes a lock and never waits.

    SQLite's readers agree with writers through a file beside the catalog. Where none can be made (read-only media,
    snapshots, folders of others) the catalog is read as it lies there, and there is no answer if a writer's work came
    in between. What a writer left in the log is seen in a copy, for which the temporary folder needs room.
    """
    require_own_files(folder, to_write=False)
    catalog = join(folder, CATALOG)
    if os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        return _open(folder, catalog, "mode=ro")
    before = _state(folder)
    if not any(before[1:]):
        db = _open(folder, catalog, "mode=ro&immutable=1")
        db.as_it_lay = before
        return db
    if os.path.exists(f"{catalog}-shm"):
        db = _open(folder, catalog, "mode=ro")
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            return db
        except MMSearchError:
            db.close()
    return _open_copy(folder, before)


def _open(folder: str, catalog: str, how: str) -> Connection:
    with _errors_named(folder):
        db = sqlite3.connect(
            f"file:{quote(catalog)}?{how}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=30,
            factory=Connection,
        )
    db.folder = folder
    for pragma in HARDENED:
        db.execute(pragma)
    return db


def _open_copy(folder: str, before: _State) -> Connection:
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory(prefix="mmsearch-") as scratch:
        try:
            for name in (CATALOG, *LOGS):
                if os.path.exists(join(folder, name)):
                    shutil.copyfile(join(folder, name), join(scratch, name))
        except OSError as error:
            raise StorageFull(f"{folder}: {error.strerror}: reading it takes a copy in {scratch}") from error
        if _state(folder) != before:
            raise Locked(f"{folder} is being written: run the command again")
        copy = join(scratch, CATALOG)
        with _errors_named(folder):
            mended = sqlite3.connect(copy)
            mended.execute("SELECT count(*) FROM sqlite_master").fetchall()
            mended.close()  # the last one to close brings the log into the catalog
        db = _open(folder, copy, "mode=ro&immutable=1")
        db.execute("SELECT count(*) FROM sqlite_master").fetchall()
        return db  # which holds the file, whose name goes


_State: TypeAlias = tuple[tuple[int, ...], int, int]


def _state(folder: str) -> _State:
    """What a writer's work changes first: the catalog's size, time and inode, and how much is in the logs."""
    found = os.stat(join(folder, CATALOG))
    sizes = [os.path.getsize(path) if os.path.exists(path := join(folder, name)) else 0 for name in LOGS]
    return (found.st_size, found.st_mtime_ns, found.st_ino), sizes[0], sizes[1]


def explained(error: BaseException, folder: str) -> MMSearchError:
    """What an error of SQLite's means for a library: a full disk, a busy or a damaged catalog, too much to ask."""
    name = str(getattr(error, "sqlite_errorname", ""))
    if name in _OF_THE_QUESTION and not str(error).startswith(_NOT_THERE):
        return UsageError(f"SQLite can't answer this ({error}): ask for less at once")
    for start, kind, hint in _NOT_DAMAGE:
        if name.startswith(start) and "READ" not in name.removeprefix("SQLITE_READ"):
            return kind(f"{folder}: {error}: {hint}")
    # Damage has many faces: malformed pages, a page that is not there, text that is none.
    return Damaged(f"{join(folder, CATALOG)}: {error}: run `mmsearch check`, then `mmsearch repair`")


_NOT_DAMAGE: tuple[tuple[tuple[str, ...], type[MMSearchError], str], ...] = (
    (("SQLITE_FULL", "SQLITE_IOERR"), StorageFull, "free some space and run the command again; nothing is lost"),
    (("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM"), MMSearchError, "is it write-protected, or the disk full?"),
    (("SQLITE_BUSY", "SQLITE_LOCKED"), Locked, "run the command again"),
    (("SQLITE_CONSTRAINT",), MMSearchError, "see `mmsearch check --read-data` whether it is damaged"),
    (("SQLITE_NOMEM", "SQLITE_INTERRUPT"), MMSearchError, "run the command again"),
)
_OF_THE_QUESTION = ("SQLITE_ERROR", "SQLITE_TOOBIG", "SQLITE_RANGE", "SQLITE_MISMATCH")
"""Too many values, too deep a condition, too long a pattern, words that FTS5 can't parse."""
_NOT_THERE = ("no such", "unsafe use", "malformed", "vtable constructor failed", "user-defined function raised")


@contextmanager
def _errors_named(folder: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:  # Python decodes SQLite's messages, damage and all
        raise explained(error, folder) from error


class Connection(sqlite3.Connection):
    """SQLite meets a fault when it comes to it: any step of a statement may raise what ``explained`` makes of it."""

    folder = ""
    as_it_lay: _State | None = None
    """Of a catalog that is read without regard to writers: what it must still be after each step."""

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        with self.step():
            return self.cursor(_Cursor).execute(sql, values)

    @contextmanager
    def step(self) -> Iterator[None]:
        with _errors_named(self.folder):
            try:
                yield
            finally:
                if self.as_it_lay is not None and _state(self.folder) != self.as_it_lay:
                    raise Locked(f"{self.folder} is being written: run the command again")


class _Cursor(sqlite3.Cursor):
    connection: Connection

    def fetchone(self) -> Any:
        with self.connection.step():
            return super().fetchone()

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        with self.connection.step():
            return super().fetchmany(size)

    def fetchall(self) -> list[Any]:
        with self.connection.step():
            return super().fetchall()

    def __iter__(self) -> Any:
        return iter(self.fetchall())
