"""Is the library whole? Reads only; what it finds, `repair` mends."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from mmsearch.encoders import bridge, kept
from mmsearch.errors import Damaged, MMSearchError, UsageError
from mmsearch.store import artifacts, rowsums
from mmsearch.store.migrations import SCHEMA, as_schema, schema_at
from mmsearch.store.reader import BLOCK, Reader, Space
from mmsearch.store.words import FUNCTIONS, TABLES, TOKENIZER
from mmsearch.types import NORM_TOLERANCE, Embeddings, VectorIndex

LEVELS = ("fast", "data", "deep")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong: a short name for machines, a sentence for people."""

    code: str
    message: str


def check(folder: str, level: str = "fast") -> list[Problem]:
    """What is wrong with a library.

    ``fast``: the catalog's structure and schema, and the sizes of the index files. ``data``: also SQLite's own indexes,
    the crc32 of every row and vector, that a vector is finite and of unit norm, the full-text tables, and every sha256:
    of index files, text towers and bridges. ``deep``: also every vector finds itself.
    """
    if level not in LEVELS:
        raise UsageError(f"no such level: {level} (there are {', '.join(LEVELS)})")
    try:
        reader = Reader(folder, mending=True)
    except Damaged as error:
        return [Problem("catalog", str(error))]
    found: list[Problem] = []
    try:
        with reader.snapshot():
            found.extend(_problems(reader, folder, LEVELS.index(level)))  # what came before a fault stays
    except (sqlite3.DatabaseError, MMSearchError) as error:
        found.append(Problem("catalog", f"the catalog can't be read: {error}"))
    finally:
        reader.close()
    return found


def _problems(reader: Reader, folder: str, level: int) -> Iterator[Problem]:
    yield from _catalog_problems(reader, level)
    if level >= 1:
        yield from _data_problems(reader, folder)
    for space in reader.spaces():
        for wrong in artifacts.damaged_indexes(reader, folder, space, read_data=level >= 1):
            yield Problem("artifact", wrong)
        if level >= 1:
            for segment_id, why in bad_vectors(reader, space):
                yield Problem("vector", f"the vector of segment {segment_id} in {space.model} {why}")
        if level >= 2:
            for segment_id in _lost(reader, folder, space):
                yield Problem("lost", f"the vector of segment {segment_id} in {space.model} does not find itself")


def _data_problems(reader: Reader, folder: str) -> Iterator[Problem]:
    for table, row, _ in bad_rows(reader):
        yield Problem("row", f"row {row[0]!r} of {table} is not what was written")
    for wrong in wrong_words(reader):
        yield Problem("words", wrong)
    for space, names in kept.damaged(folder):
        yield Problem("tower", f"the text tower {space} is not what was written: {', '.join(names)}")
    for name in bridge.damaged(folder):
        yield Problem("bridge", f"{bridge.FOLDER}/{name} is not what was written")


def _catalog_problems(reader: Reader, level: int) -> Iterator[Problem]:
    for (message,) in reader.query("PRAGMA integrity_check" if level >= 1 else "PRAGMA quick_check"):
        if message != "ok":
            yield Problem("catalog", f"the catalog is damaged: {message}")
    for wrong in wrong_schema(reader):
        yield Problem("schema", wrong.said())
    for table, wrong_id in wrong_sequences(reader) if level >= 1 else ():
        yield Problem("catalog", f"the next id of {table} would be one that was given before ({wrong_id})")
    for table, rowid, parent, _ in reader.query("PRAGMA foreign_key_check"):
        yield Problem("catalog", f"row {rowid} of {table} names a row of {parent} that is not there")
    for (path,) in reader.query(_EMPTY_ITEMS):
        yield Problem("empty-item", f"{path!r} is indexed but has no segment")
    if reader.active_space() is None and reader.spaces():
        yield Problem("no-space", "no space is chosen for queries")


class Wrong(NamedTuple):
    """A part of the schema that is missing, not as it was made, or a stranger's: the SQL it has and should have."""

    kind: str
    name: str
    is_: str | None
    should: str | None

    def said(self) -> str:
        if self.should is None:
            return f"the catalog holds a {self.kind} that is not ours: {self.name!r}"
        return f"the {self.kind} {self.name} is {'missing' if self.is_ is None else 'not as it was made'}"


def wrong_schema(reader: Reader) -> list[Wrong]:
    """Where the tables, indexes, triggers and views are not those of the catalog's format."""
    found = as_schema([(row[0], row[1], row[2]) for row in reader.query(SCHEMA)])
    should = schema_at(_format(reader))
    names = sorted(found.keys() | should.keys())
    return [Wrong(*key, found.get(key), should.get(key)) for key in names if found.get(key) != should.get(key)]


def _format(reader: Reader) -> int:
    return int(reader.query("PRAGMA user_version")[0][0])


def bad_rows(reader: Reader) -> Iterator[tuple[str, tuple[Any, ...], int]]:
    """The rows whose crc32 is not theirs: the table, the row's values as `rowsums` lists them, and the crc32 it has."""
    if _format(reader) < 3:
        return
    for table in rowsums.COLUMNS:
        for *values, crc32 in reader.raw_rows(table, f"{rowsums.listed(table)}, crc32"):
            if rowsums.row_crc(*values) != crc32:
                yield table, tuple(values), crc32


def wrong_sequences(reader: Reader) -> Iterator[tuple[str, int]]:
    """Tables whose next id would be one that was given before, and the last that was."""
    for table in [name for (_, name), sql in schema_at(_format(reader)).items() if "AUTOINCREMENT" in sql]:
        key = "seq" if table == "embedding" else "id"
        ((last, largest),) = reader.query(
            f"SELECT (SELECT max(seq) FROM sqlite_sequence WHERE name = ?), (SELECT max({key}) FROM {table})", (table,)
        )
        if largest is not None and (not isinstance(last, int) or last < largest):
            yield table, largest


def wrong_words(reader: Reader) -> Iterator[str]:
    """Full-text rows that are not what their item or segment says, or that can't be found by it.

    What a table should hold is indexed again in a temporary one, and the terms of both are compared, and the tables
    inside them. FTS5 looks through a copy of its own: asked about the table itself, it would have to write.
    """
    if _format(reader) < 3:
        return  # the migration makes them again, with folders apart from names
    for function, body in FUNCTIONS.items():
        reader.define(function, body)
    for table, columns, should in TABLES:
        reader.query("DROP TABLE IF EXISTS temp.should")
        reader.query(f"CREATE VIRTUAL TABLE temp.should USING fts5 ({columns}, tokenize = '{TOKENIZER}')")
        reader.query(f"INSERT INTO temp.should (rowid, {columns}) {should}")
        yield from _wrong_terms(reader, table)
        yield from _wrong_inside(reader, table)
        if not _is_sound_inside(reader, table, columns):
            yield f"{table} is damaged inside"


def _wrong_terms(reader: Reader, table: str) -> Iterator[str]:
    for name, place in (("these", "temp, should"), ("those", f"main, {table}")):
        reader.query(f"DROP TABLE IF EXISTS temp.{name}")
        reader.query(f"CREATE VIRTUAL TABLE temp.{name} USING fts5vocab ({place}, instance)")
    for one, other in (("these", "those"), ("those", "these")):
        for term, row in reader.query(
            f"SELECT term, doc FROM (SELECT * FROM temp.{one} EXCEPT SELECT * FROM temp.{other}) LIMIT 1"
        ):
            yield f"row {row} of {table} {'lacks' if one == 'these' else 'has'} the word {term!r}"


def _wrong_inside(reader: Reader, table: str) -> Iterator[str]:
    for part in ("content", "docsize", "config"):
        for own, its in (("temp.should", f"main.{table}"), (f"main.{table}", "temp.should")):
            for row, *_ in reader.query(
                f"SELECT * FROM (SELECT * FROM {own}_{part} EXCEPT SELECT * FROM {its}_{part}) LIMIT 1"
            ):
                yield f"row {row} of {table}_{part} is not what it should be"


def _is_sound_inside(reader: Reader, table: str, columns: str) -> bool:
    reader.query("DROP TABLE temp.should")
    reader.query(f"CREATE VIRTUAL TABLE temp.should USING fts5 ({columns}, tokenize = '{TOKENIZER}')")
    for part in ("data", "idx", "content", "docsize"):
        reader.query(f"DELETE FROM temp.should_{part}")
        reader.query(f"INSERT INTO temp.should_{part} SELECT * FROM main.{table}_{part}")
    try:
        reader.query("INSERT INTO temp.should (should) VALUES ('integrity-check')")
    except Damaged:
        return False
    finally:
        reader.query("DROP TABLE temp.should")
    return True


_EMPTY_ITEMS = """
SELECT i.path FROM item i WHERE i.state IN ('ok', 'partial')
AND NOT EXISTS (SELECT 1 FROM segment s WHERE s.item_id = i.id)
"""


def bad_vectors(reader: Reader, space: Space) -> Iterator[tuple[int, str]]:
    """Segments of a space whose stored vector is not what was written, or not a finite unit row; and why."""
    for rows in reader.raw_vectors(space.id):
        for segment_id, blob, crc32 in rows:
            if zlib.crc32(blob) != crc32:
                yield segment_id, "has the wrong checksum"
            elif len(blob) != 2 * space.dim:
                yield segment_id, f"has {len(blob)} bytes, not {2 * space.dim}"
            # A NaN compares false, so this finds it too.
            elif not abs(float(np.linalg.norm(np.frombuffer(blob, "<f2").astype(np.float32))) - 1) <= NORM_TOLERANCE:
                yield segment_id, "is not a finite unit row"


def _lost(reader: Reader, folder: str, space: Space) -> Iterator[int]:
    """Segments up to the newest index's ``max_seq`` that a search for their own vector does not return."""
    opened = artifacts.open_newest(reader, folder, space)
    if opened.index is not None:
        for block in reader.blocks(space.id, space.dim, upto=opened.max_seq):
            yield from _not_found(opened.index, block)


def _not_found(index: VectorIndex, block: Embeddings) -> Iterator[int]:
    if index.spec.exact:
        # One candidate each: enough to prove that the row is there and holds this vector, and linear in the rows.
        for segment_id, vector in zip(block.ids, block.vectors, strict=True):
            ids, scores = index.search(vector[None], 1, np.array([segment_id])).row(0)
            if len(ids) != 1 or not abs(float(scores[0]) - float(vector @ vector)) < 1e-3:
                yield int(segment_id)
        return
    for start in range(0, len(block), BLOCK // 16):
        some = slice(start, start + BLOCK // 16)
        found = index.search(block.vectors[some], 10 * index.spec.refine)
        for i, segment_id in enumerate(block.ids[some].tolist()):
            if segment_id not in found.row(i)[0]:
                yield segment_id
