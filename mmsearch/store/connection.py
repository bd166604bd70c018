"""A connection that reads, and SQLite's errors by our names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from os.path import join
from typing import Any
from urllib.parse import quote

from mmsearch.errors import Damaged, Locked, MMSearchError, StorageFull
from mmsearch.store.layout import CATALOG, require_own_files

HARDENED = ("PRAGMA trusted_schema = OFF", "PRAGMA cell_size_check = ON")
"""What SQLite advises for files of others: nothing in them may call a function that is not harmless, and sizes inside a
page are checked when it is read (https://www.sqlite.org/security.html)."""


def connect_readonly(folder: str) -> Connection:
    """The catalog of a library folder; a reader never takes a lock and never waits."""
    require_own_files(folder, to_write=False)
    uri = f"file:{quote(join(folder, CATALOG))}?mode=ro"
    with _errors_named(folder):
        db = sqlite3.connect(
            uri, uri=True, isolation_level=None, check_same_thread=False, timeout=30, factory=Connection
        )
    db.folder = folder
    for pragma in HARDENED:
        db.execute(pragma)
    return db


def explained(error: BaseException, folder: str) -> MMSearchError:
    """What an error of SQLite's means for a library: a full disk, a busy or a damaged catalog."""
    name = str(getattr(error, "sqlite_errorname", ""))
    if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and "READ" not in name):
        return StorageFull(f"{folder}: {error}: free some space and run the command again; nothing is lost")
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        return MMSearchError(f"{folder}: {error}: is it write-protected, or the disk full?")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return Locked(f"{folder}: {error}: run the command again")
    # Damage has many faces: malformed pages, a page that is not there, a row that an index denies.
    return Damaged(f"{join(folder, CATALOG)}: {error}: run `mmsearch check`, then `mmsearch repair`")


@contextmanager
def _errors_named(folder: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # Python decodes SQLite's messages, damage and all
        raise explained(error, folder) from error


class Connection(sqlite3.Connection):
    """SQLite meets a fault when it comes to it: any step of a statement may raise what ``explained`` makes of it."""

    folder = ""

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        with _errors_named(self.folder):
            return self.cursor(_Cursor).execute(sql, values)


class _Cursor(sqlite3.Cursor):
    connection: Connection

    def fetchone(self) -> Any:
        with _errors_named(self.connection.folder):
            return super().fetchone()

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        with _errors_named(self.connection.folder):
            return super().fetchmany(size)

    def fetchall(self) -> list[Any]:
        with _errors_named(self.connection.folder):
            return super().fetchall()

    def __iter__(self) -> Any:
        return iter(self.fetchall())
