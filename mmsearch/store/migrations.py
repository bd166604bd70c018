"""Numbered steps from one catalog format to the next; each commits together with the record of itself.

A step is frozen once released: it says in SQL what the tables were then, not what `schema` says today.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine, text

from mmsearch.store.layout import refuse_newer


def m001_first(connection: Connection) -> None:
    """Files, segments, vectors, artifacts and runs."""
    for statement in _FIRST.split(";\n"):
        connection.execute(text(statement))


def m002_words(connection: Connection) -> None:
    """Captions, chunks of text, segments of another kind than their item's, and the words of all of them."""
    for statement in _WORDS.split(";\n\n"):
        connection.execute(text(statement))


def m003_files(connection: Connection) -> None:
    """When files changed last, and the beginnings of long files."""
    for statement in _FILES.split(";\n\n"):
        connection.execute(text(statement))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (m001_first, m002_words, m003_files)


def migrate(engine: Engine) -> None:
    """Bring the catalog to the newest format. Raises ``LibraryTooNew`` if it is already past it."""
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE IF NOT EXISTS migration (number INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        )
        done: int = connection.execute(text("SELECT coalesce(max(number), 0) FROM migration")).scalar_one()
    refuse_newer(done)
    for number, step in enumerate(MIGRATIONS[done:], start=done + 1):
        with engine.begin() as connection:
            step(connection)
            connection.execute(text(f"PRAGMA user_version = {number}"))  # what readers look at
            connection.execute(
                text("INSERT INTO migration (number, name) VALUES (:number, :name)"),
                {"number": number, "name": step.__name__},
            )


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

# `words` is a function of the connection that writes (`engine`): triggers keep the words equal with the rows.
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

# What the indexer needs to know of files as they are.
_FILES = """\
ALTER TABLE item ADD COLUMN ctime_ns INTEGER;

CREATE TABLE staged (
  root_id INTEGER NOT NULL, path BLOB NOT NULL, space_id INTEGER NOT NULL, sha256 BLOB NOT NULL,
  number INTEGER NOT NULL, start REAL, "end" REAL, unit TEXT, modality TEXT, text TEXT, page INTEGER,
  vector BLOB NOT NULL, crc32 INTEGER NOT NULL, PRIMARY KEY (root_id, path, space_id, number)) WITHOUT ROWID"""
