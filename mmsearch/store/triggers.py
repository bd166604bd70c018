"""What a writer keeps true with every row: its words in the full-text tables, and its crc32.

The triggers are temporary, made anew by each connection that writes: none is ever in a library's file, so one that is
there is a stranger's and is not let run, and none can be missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmsearch.store.rowsums import COLUMNS, key_of, listed

WORDS = (
    """
CREATE TEMP TRIGGER item_text_insert AFTER INSERT ON main.item BEGIN
  INSERT INTO item_text (rowid, name, folder, caption, facts) VALUES (
    new.id, words(file_name(new.path)), words(folder_name(new.path)), words(new.caption),
    words(new.camera, new.taken)); END""",
    """
CREATE TEMP TRIGGER item_text_update AFTER UPDATE OF path, caption, camera, taken ON main.item BEGIN
  UPDATE item_text SET name = words(file_name(new.path)), folder = words(folder_name(new.path)),
    caption = words(new.caption), facts = words(new.camera, new.taken) WHERE rowid = new.id; END""",
    """
CREATE TEMP TRIGGER item_text_delete AFTER DELETE ON main.item BEGIN
  DELETE FROM item_text WHERE rowid = old.id; END""",
    """
CREATE TEMP TRIGGER segment_text_insert AFTER INSERT ON main.segment WHEN new.text IS NOT NULL BEGIN
  INSERT INTO segment_text (rowid, text) VALUES (new.id, words(new.text)); END""",
    """
CREATE TEMP TRIGGER segment_text_delete AFTER DELETE ON main.segment WHEN old.text IS NOT NULL BEGIN
  DELETE FROM segment_text WHERE rowid = old.id; END""",
    """
CREATE TEMP TRIGGER folder_text_insert AFTER INSERT ON main.folder BEGIN
  INSERT INTO folder_text (rowid, path) VALUES (new.id, words(new.path)); END""",
    """
CREATE TEMP TRIGGER folder_text_delete AFTER DELETE ON main.folder BEGIN
  DELETE FROM folder_text WHERE rowid = old.id; END""",
    """
CREATE TEMP TRIGGER folder_item_insert AFTER INSERT ON main.item BEGIN
  INSERT INTO folder (root_id, path, files) VALUES (new.root_id, folder_name(new.path), 1)
  ON CONFLICT (root_id, path) DO UPDATE SET files = files + 1; END""",
    """
CREATE TEMP TRIGGER folder_item_delete AFTER DELETE ON main.item BEGIN
  UPDATE folder SET files = files - 1 WHERE root_id = old.root_id AND path = folder_name(old.path);
  DELETE FROM folder WHERE root_id = old.root_id AND path = folder_name(old.path) AND files = 0; END""",
    """
CREATE TEMP TRIGGER folder_item_update AFTER UPDATE OF root_id, path ON main.item BEGIN
  UPDATE folder SET files = files - 1 WHERE root_id = old.root_id AND path = folder_name(old.path);
  DELETE FROM folder WHERE root_id = old.root_id AND path = folder_name(old.path) AND files = 0;
  INSERT INTO folder (root_id, path, files) VALUES (new.root_id, folder_name(new.path), 1)
  ON CONFLICT (root_id, path) DO UPDATE SET files = files + 1; END""",
)
"""They call functions of the connection that writes (`words.FUNCTIONS`)."""


def statements() -> Iterator[str]:
    """All of them, as SQL."""
    yield from WORDS
    for table in COLUMNS:
        this = " AND ".join(f"{key} = new.{key}" for key in key_of(table))
        seal = f"UPDATE {table} SET crc32 = row_crc({listed(table, 'new.')}) WHERE {this}"
        for name, when in (("insert", "INSERT"), ("update", f"UPDATE OF {listed(table)}")):
            yield f"CREATE TEMP TRIGGER {table}_crc_{name} AFTER {when} ON main.{table} BEGIN {seal}; END"
