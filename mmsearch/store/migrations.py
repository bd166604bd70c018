"""Numbered steps from one catalog format to the next; each commits together with the record of itself.

A step is frozen once released: it says in SQL what the tables were then, not what `schema` says today.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, TypeAlias

from mmsearch.store import rowsums
from mmsearch.store.layout import refuse_newer
from mmsearch.store.words import FUNCTIONS

if TYPE_CHECKING:  # SQLAlchemy is only for writers, and `check` asks what the tables should be
    from sqlalchemy import Connection

Execute: TypeAlias = Callable[[str], object]


def m001_first(execute: Execute) -> None:
    """Files, segments, vectors, artifacts and runs."""
    for statement in _FIRST.split(";\n"):
        execute(statement)


def m002_words(execute: Execute) -> None:
    """Captions, chunks of text, segments of another kind than their item's, and the words of all of them."""
    for statement in _WORDS.split(";\n\n"):
        execute(statement)


def m003_answers(execute: Execute) -> None:
    """Folders apart from names, the kind of every segment, the yardstick of each space, when files changed last, the
    beginnings of long files, a crc32 of every row.

    Triggers leave the file (`triggers`), and what older versions skipped is looked at again.
    """
    for statement in (*_BARE, *_ANSWERS.split(";\n\n"), *_FILES.split(";\n\n"), *_SUMS):
        execute(statement)


MIGRATIONS: tuple[Callable[[Execute], None], ...] = (m001_first, m002_words, m003_answers)
_MIGRATION = "CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL)"


def migrate(connection: Connection) -> None:
    """Bring the catalog to the newest format. Raises ``LibraryTooNew`` if it is already past it.

    Inside a transaction, all of it is part of that.
    """
    begin = connection.begin_nested if connection.in_transaction() else connection.begin
    execute = connection.exec_driver_sql
    with begin():
        execute(_MIGRATION)
        done = int(execute("SELECT coalesce(max(number), 0) FROM migration").scalar_one())
    refuse_newer(done)
    for number, step in enumerate(MIGRATIONS[done:], start=done + 1):
        with begin():
            step(execute)
            execute(f"PRAGMA user_version = {number}")  # what readers look at
            execute("INSERT INTO migration (number, name) VALUES (?, ?)", (number, step.__name__))
            if number == len(MIGRATIONS):  # by today's columns, so no step needs to know how it is done
                for table in rowsums.COLUMNS:
                    execute(rowsums.fill(table))


@cache
def schema_at(number: int) -> dict[tuple[str, str], str]:
    """What a catalog of this format consists of: its SQL by type and name; without SQLite's own, and empty for FTS5's.

    Every library went through the same steps, so each has the same.
    """
    db = sqlite3.connect(":memory:")
    for name, function in FUNCTIONS.items():
        db.create_function(name, -1, function, deterministic=True)
    db.execute(_MIGRATION)
    for step in MIGRATIONS[:number]:
        step(db.execute)
    found = as_schema(db.execute(SCHEMA).fetchall())
    db.close()
    return found


def foreign_code(connection: Connection) -> list[tuple[str, str]]:
    """The triggers and views in the file that no version of ours put there: (type, name). They would run as we do."""
    execute = connection.exec_driver_sql
    found = [tuple(map(str, row)) for row in execute(f"{SCHEMA} AND type IN ('trigger', 'view')")]
    if not found:
        return []
    ours = schema_at(int(execute("SELECT max(number) FROM migration").scalar_one()))
    return [(kind, name) for kind, name, sql in found if ours.get((kind, name)) != " ".join(sql.split())]


SCHEMA = "SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"


def as_schema(rows: list[tuple[str, str, str | None]]) -> dict[tuple[str, str], str]:
    """Rows of ``SCHEMA``, comparable: other versions of SQLite write the tables inside FTS5 in other words."""
    tables = [name for _, name, sql in rows if sql and "USING fts5" in sql]
    inner = {f"{table}_{part}" for table in tables for part in ("data", "idx", "content", "docsize", "config")}
    return {(kind, name): "" if name in inner else " ".join((sql or "").split()) for kind, name, sql in rows}


_BARE = (
    "DROP TRIGGER IF EXISTS item_text_insert",
    "DROP TRIGGER IF EXISTS item_text_update",
    "DROP TRIGGER IF EXISTS item_text_delete",
    "DROP TRIGGER IF EXISTS segment_text_insert",
    "DROP TRIGGER IF EXISTS segment_text_delete",
    "DELETE FROM item WHERE state = 'skipped'",
)
_SUMS = tuple(
    f"ALTER TABLE {table} ADD COLUMN crc32 INTEGER"
    for table in ("migration", "setting", "root", "item", "segment", "space", "artifact", "run")
)
"""``migrate`` fills it."""

_FIRST = """\
CREATE TABLE setting (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE root (
  id INTEGER PRIMARY KEY AUTOINCREMENT, path BLOB NOT NULL UNIQUE, offline INTEGER NOT NULL DEFAULT 0);
CREATE TABLE item (
  id INTEGER PRIMARY KEY AUTOINCREMENT, root_id INTEGER NOT NULL REFERENCES root(id), path BLOB NOT NULL,
  size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL, sha256 BLOB, modality TEXT,
  state TEXT NOT NULL, reason TEXT, gone TEXT, added TEXT NOT NULL, width INTEGER, height INTEGER, taken TEXT,
  camera TEXT, lat REAL, lon REAL, duration_s REAL, UNIQUE (root_id, path));
CREATE INDEX item_content ON item (substr(sha256, 1, 8)) WHERE sha256 IS NOT NULL;
CREATE INDEX item_trouble ON item (state) WHERE state <> 'ok';
CREATE INDEX item_gone ON item (gone) WHERE gone IS NOT NULL;
CREATE TABLE segment (
  id INTEGER PRIMARY KEY AUTOINCREMENT, item_id INTEGER NOT NULL REFERENCES item(id) ON DELETE CASCADE,
  start REAL, "end" REAL, unit TEXT);
CREATE INDEX segment_item ON segment (item_id);
CREATE TABLE space (
  id INTEGER PRIMARY KEY AUTOINCREMENT, fingerprint TEXT NOT NULL UNIQUE, model TEXT NOT NULL,
  dim INTEGER NOT NULL, created TEXT NOT NULL);
CREATE TABLE embedding (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, space_id INTEGER NOT NULL REFERENCES space(id),
  segment_id INTEGER NOT NULL REFERENCES segment(id) ON DELETE CASCADE, vector BLOB NOT NULL,
  crc32 INTEGER NOT NULL);
CREATE UNIQUE INDEX embedding_segment ON embedding (segment_id, space_id);
CREATE TABLE artifact (
  id INTEGER PRIMARY KEY AUTOINCREMENT, space_id INTEGER NOT NULL REFERENCES space(id), kind TEXT NOT NULL,
  bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, stat TEXT NOT NULL, rows INTEGER NOT NULL,
  max_seq INTEGER NOT NULL, params TEXT NOT NULL, created TEXT NOT NULL);
CREATE TABLE run (
  id INTEGER PRIMARY KEY AUTOINCREMENT, started TEXT NOT NULL, finished TEXT,
  space_id INTEGER NOT NULL REFERENCES space(id), device TEXT NOT NULL, counts TEXT NOT NULL);
CREATE VIRTUAL TABLE item_text USING fts5 (name, text);
CREATE TRIGGER item_text_delete AFTER DELETE ON item BEGIN DELETE FROM item_text WHERE rowid = old.id; END"""

_WORDS = """\
ALTER TABLE item ADD COLUMN caption TEXT;

ALTER TABLE segment ADD COLUMN modality TEXT;

ALTER TABLE segment ADD COLUMN text TEXT;

ALTER TABLE segment ADD COLUMN page INTEGER;

DROP TRIGGER item_text_delete;

DROP TABLE item_text;

CREATE VIRTUAL TABLE item_text USING fts5 (name, caption, facts, tokenize = 'unicode61 remove_diacritics 2');

CREATE VIRTUAL TABLE segment_text USING fts5 (text, tokenize = 'unicode61 remove_diacritics 2');

INSERT INTO item_text (rowid, name, caption, facts) SELECT id, words(path), NULL, words(camera, taken) FROM item;

CREATE TRIGGER item_text_insert AFTER INSERT ON item BEGIN
  INSERT INTO item_text (rowid, name, caption, facts)
  VALUES (new.id, words(new.path), words(new.caption), words(new.camera, new.taken)); END;

CREATE TRIGGER item_text_update AFTER UPDATE OF path, caption, camera, taken ON item BEGIN
  UPDATE item_text SET name = words(new.path), caption = words(new.caption), facts = words(new.camera, new.taken)
  WHERE rowid = new.id; END;

CREATE TRIGGER item_text_delete AFTER DELETE ON item BEGIN DELETE FROM item_text WHERE rowid = old.id; END;

CREATE TRIGGER segment_text_insert AFTER INSERT ON segment WHEN new.text IS NOT NULL BEGIN
  INSERT INTO segment_text (rowid, text) VALUES (new.id, words(new.text)); END;

CREATE TRIGGER segment_text_delete AFTER DELETE ON segment WHEN old.text IS NOT NULL BEGIN
  DELETE FROM segment_text WHERE rowid = old.id; END;

INSERT INTO setting (key, value) SELECT 'holds:' || e.space_id, group_concat(DISTINCT i.modality)
FROM embedding e JOIN segment s ON s.id = e.segment_id JOIN item i ON i.id = s.item_id GROUP BY e.space_id"""


_ANSWERS = """\
UPDATE segment SET modality = (SELECT modality FROM item WHERE id = item_id) WHERE modality IS NULL;

CREATE INDEX segment_modality ON segment (modality);

CREATE TABLE folder (
  id INTEGER PRIMARY KEY, root_id INTEGER NOT NULL REFERENCES root(id), path BLOB NOT NULL, files INTEGER NOT NULL,
  crc32 INTEGER, UNIQUE (root_id, path));

CREATE VIRTUAL TABLE folder_text USING fts5 (path, tokenize = 'unicode61 remove_diacritics 2');

INSERT INTO folder (root_id, path, files)
SELECT root_id, folder_name(path) AS f, count(*) FROM item GROUP BY root_id, f ORDER BY root_id, f;

INSERT INTO folder_text (rowid, path) SELECT id, words(path) FROM folder;

DROP TABLE item_text;

CREATE VIRTUAL TABLE item_text USING fts5 (name, folder, caption, facts, tokenize = 'unicode61 remove_diacritics 2');

INSERT INTO item_text (rowid, name, folder, caption, facts)
SELECT id, words(file_name(path)), words(folder_name(path)), words(caption), words(camera, taken) FROM item;

CREATE TABLE bank (
  space_id INTEGER PRIMARY KEY REFERENCES space(id), data BLOB NOT NULL, crc32 INTEGER);

CREATE TABLE level (
  space_id INTEGER NOT NULL REFERENCES space(id), modality TEXT NOT NULL, mean BLOB NOT NULL, spread REAL NOT NULL,
  rows INTEGER NOT NULL, crc32 INTEGER, PRIMARY KEY (space_id, modality)) WITHOUT ROWID"""

# What the indexer needs to know of files as they are.
_FILES = """\
ALTER TABLE item ADD COLUMN ctime_ns INTEGER;

CREATE TABLE staged (
  root_id INTEGER NOT NULL, path BLOB NOT NULL, space_id INTEGER NOT NULL, sha256 BLOB NOT NULL,
  number INTEGER NOT NULL, start REAL, "end" REAL, unit TEXT, modality TEXT, text TEXT, page INTEGER,
  vector BLOB NOT NULL, crc32 INTEGER NOT NULL, PRIMARY KEY (root_id, path, space_id, number)) WITHOUT ROWID"""
