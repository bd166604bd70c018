"""What a writer keeps true with every row: its words in the full-text tables, and its crc32.

The triggers are temporary, made anew by each connection that writes: none is ever in a library's file, so one that is
there is a stranger's and is not let run, and none can be missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmsearch.store.rowsums import COLUMNS, listed

WORDS = (
    """
CREATE TEMP TRIGGER item_text_insert AFTER INSERT ON main.item BEGIN
  INSERT INTO item_text (rowid, name, caption, facts)
  VALUES (new.id, words(new.path), words(new.caption), words(new.camera, new.taken)); END""",
    """
CREATE TEMP TRIGGER item_text_update AFTER UPDATE OF path, caption, camera, taken ON main.item BEGIN
  UPDATE item_text SET name = words(new.path), caption = words(new.caption), facts = words(new.camera, new.taken)
  WHERE rowid = new.id; END""",
    """
CREATE TEMP TRIGGER item_text_delete AFTER DELETE ON main.item BEGIN
  DELETE FROM item_text WHERE rowid = old.id; END""",
    """
CREATE TEMP TRIGGER segment_text_insert AFTER INSERT ON main.segment WHEN new.text IS NOT NULL BEGIN
  INSERT INTO segment_text (rowid, text) VALUES (new.id, words(new.text)); END""",
    """
CREATE TEMP TRIGGER segment_text_delete AFTER DELETE ON main.segment WHEN old.text IS NOT NULL BEGIN
  DELETE FROM segment_text WHERE rowid = old.id; END""",
)
"""`words` is a function of the connection that writes (`engine`)."""


def statements() -> Iterator[str]:
    """All of them, as SQL."""
    yield from WORDS
    for table, (key, *_) in COLUMNS.items():
        seal = f"UPDATE {table} SET crc32 = row_crc({listed(table, 'new.')}) WHERE {key} = new.{key}"
        for name, when in (("insert", "INSERT"), ("update", f"UPDATE OF {listed(table)}")):
            yield f"CREATE TEMP TRIGGER {table}_crc_{name} AFTER {when} ON main.{table} BEGIN {seal}; END"
