"""The connection that writes: SQLite's settings, and its errors by our names."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DatabaseError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry

from mmsearch.errors import MMSearchError, StorageFull, UsageError
from mmsearch.store import layout
from mmsearch.store.connection import HARDENED, explained
from mmsearch.store.rowsums import row_crc
from mmsearch.store.words import FUNCTIONS


def connect(folder: str) -> Engine:
    """An engine for the catalog in a library folder; each transaction begins with the right to write."""
    engine = create_engine(
        URL.create("sqlite", database=os.path.join(folder, layout.CATALOG)), connect_args={"timeout": 30}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # we say BEGIN, not the driver
        _require_ours(connection, folder)
        for name, function in {**FUNCTIONS, "row_crc": row_crc}.items():
            connection.create_function(name, -1, function, deterministic=True)
        cursor = connection.cursor()
        for pragma in HARDENED:
            cursor.execute(pragma)
        cursor.execute("PRAGMA page_size = 8192")  # counts in a new file only: 7 vectors of 1 kB a page, not 3 in 4,096
        # A file system without shared memory keeps its old journal: slower for readers, just as safe.
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA wal_autocheckpoint = 4000")  # 32 MB: a page that changes often is copied less often
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _require_ours(connection: DBAPIConnection, folder: str) -> None:
    """Raise ``UsageError`` for a database of another program's: the first thing said to it would change it."""
    cursor = connection.cursor()
    names = {row[0] for row in cursor.execute("SELECT name FROM sqlite_master").fetchall()}
    cursor.close()
    if names and not names >= {"migration", "item", "embedding"}:
        raise UsageError(f"{os.path.join(folder, layout.CATALOG)} is no catalog of mmsearch's, and is left as it is")


@contextmanager
def errors_named(folder: str) -> Iterator[None]:
    """Turn SQLite's errors and the system's into ours: a full disk and a damaged file have their own names."""
    try:
        yield
    except ProgrammingError:
        raise
    except DatabaseError as error:
        raise explained(error.orig or error, folder) from error
    except UnicodeDecodeError as error:  # Python decodes SQLite's messages, damage and all
        raise explained(error, folder) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise (StorageFull if full else MMSearchError)(f"{folder}: {(error.strerror or str(error)).lower()}") from error
