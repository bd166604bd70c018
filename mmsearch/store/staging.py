"""The beginnings of long files: encoded segments that wait, committed, for the rest of their file.

No reader sees them: the item and its segments come with the last commit, all at once. So memory is bounded whatever a
file's length is, and a kill costs the segments since the last commit. They are told by path and content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from mmsearch.store import rows
from mmsearch.store.reader import Reader, encode_vectors
from mmsearch.types import Detail, FloatArray, Span

if TYPE_CHECKING:
    from mmsearch.store.catalog import Catalog

AT_ONCE = 1000
"""Segments committed, and read again, at a time."""

Key = tuple[Any, ...]
"""What tells a segment: its span and its detail."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's beginning waits."""

    root_id: int
    path: bytes
    space_id: int
    sha256: bytes


def key(span: Span | None, detail: Detail) -> Key:
    return (*((None, None, None) if span is None else (span.start, span.end, span.unit)), *detail)


def stage(catalog: Catalog, place: Place, first: int, keys: Sequence[Key], vectors: FloatArray) -> None:
    """Commit segments from number ``first`` on, and their vectors float32 ``(len(keys), dim)``."""
    columns = (*_PLACE, "sha256", "number", *_KEY, "vector", "crc32")
    head = (place.root_id, place.path, place.space_id, place.sha256)
    found = [
        (*head, number, *one, *stored)
        for number, (one, stored) in enumerate(zip(keys, encode_vectors(vectors), strict=True), first)
    ]
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    with catalog.transaction() as connection:
        connection.exec_driver_sql(f"INSERT OR REPLACE INTO staged ({names}) VALUES ({marks})", found)


def begun(reader: Reader, root_id: int, space_id: int) -> dict[bytes, bytes]:
    """The files of a root that an earlier run began, with the sha256 of each."""
    sql = "SELECT path, sha256 FROM staged WHERE root_id = ? AND space_id = ? AND number = 0"
    return dict(reader.query(sql, (root_id, space_id)))


def keys(reader: Reader, place: Place) -> Iterator[Key]:
    """What waits of a file, in order."""
    number = 0
    while found := reader.query(_KEYS, (place.root_id, place.path, place.space_id, place.sha256, number, AT_ONCE)):
        yield from found
        number += len(found)


def take(connection: Connection, root_id: int, space_id: int, item_id: int, record: rows.Record) -> None:
    """Give an item the segments that wait for it, ``AT_ONCE`` at a time."""
    for first in range(0, record.staged, AT_ONCE):
        values = {"root": root_id, "path": record.file.path, "space": space_id, "first": first}
        upto = min(first + AT_ONCE, record.staged)
        found = connection.execute(text(_ROWS), {**values, "upto": upto}).all()
        assert len(found) == upto - first, "what was staged is committed"
        spans = tuple(None if row.unit is None else Span(row.start, row.end, row.unit) for row in found)
        details = tuple(rows.detail(row.modality, row.text, row.page) for row in found)
        part = replace(record, item_id=item_id, spans=spans, details=details, vectors=None, staged=0)
        if record.write is rows.Write.FILL:
            segments = rows.segments_of(connection, part)
        else:
            (segments,) = rows.insert_segments(connection, [(item_id, part)])
        rows.insert_stored(connection, space_id, segments, [(row.vector, row.crc32) for row in found])
        rows.note_held(connection, space_id, [part])


def drop(connection: Connection, root_id: int, space_id: int, paths: Sequence[bytes]) -> None:
    """Forget what waits of these files."""
    sql = "DELETE FROM staged WHERE root_id = ? AND path = ? AND space_id = ?"
    if paths:
        connection.exec_driver_sql(sql, [(root_id, path, space_id) for path in paths])


_PLACE, _KEY = ("root_id", "path", "space_id"), ("start", "end", "unit", *Detail._fields)
_WHERE = "FROM staged WHERE root_id = {} AND path = {} AND space_id = {}"
_COLUMNS = ", ".join(f'"{name}"' for name in _KEY)
_KEYS = f"SELECT {_COLUMNS} {_WHERE.format('?', '?', '?')} AND sha256 = ? AND number >= ? ORDER BY number LIMIT ?"
_ROWS = (
    f"SELECT {_COLUMNS}, vector, crc32 {_WHERE.format(':root', ':path', ':space')} "
    "AND number >= :first AND number < :upto ORDER BY number"
)
