"""How files become rows: items, segments and vectors, many at a time, inside a transaction of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from operator import attrgetter
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, bindparam, delete, select, text, update

from mmsearch.store import schema
from mmsearch.store.reader import HOLDS, encode_vectors
from mmsearch.types import Detail, FileStat, FloatArray, MediaFacts, Modality, Span, State


class Write(Enum):
    """What a record does to the row of its file."""

    REPLACE = "replace"  # new content: delete what was known, insert under new ids
    FILL = "fill"  # same content: add the vectors of one more space
    TOUCH = "touch"  # same content, all vectors there: note the new size, time and inode


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How one file ended; ``vectors`` float32 ``(len(spans), dim)`` are its segments', in order."""

    file: FileStat
    state: State
    reason: str | None = None
    write: Write = Write.REPLACE
    item_id: int | None = None
    sha256: bytes | None = None
    modality: Modality | None = None
    facts: MediaFacts = field(default_factory=MediaFacts)
    spans: tuple[Span | None, ...] = ()
    details: tuple[Detail, ...] = ()
    """Of each span, in order; empty: nothing more is known of them."""
    caption: str | None = None
    vectors: FloatArray | None = None
    staged: int = 0
    """So many segments come before these: they wait in `staging`."""

    def segments(self) -> list[tuple[Span | None, Detail]]:
        """The spans with what is known of each; the kind of every one is named."""
        details = self.details or (Detail(),) * len(self.spans)
        named = (detail if detail.modality else detail._replace(modality=self.modality) for detail in details)
        return list(zip(self.spans, named, strict=True))


NUMBERED = ("root", "item", "segment", "space", "embedding", "artifact", "run")
"""The tables whose ids are never given twice."""
GAP = 1_000_000
"""Left free where it can't be known which ids were given."""


def next_id(connection: Connection, table: str) -> int:
    """The next AUTOINCREMENT id. Ids are given out here, so that a whole batch is one statement a table."""
    last = connection.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}).scalar()
    return int(last or 0) + 1


def _insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert many rows with the driver's own ``executemany``: SQLAlchemy's handling costs 25 microseconds a row."""
    if rows:
        names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))


_ITEM = (
    *("id", "root_id", "added", *FileStat._fields, "sha256", "modality", "state", "reason", "caption"),
    *MediaFacts.__slots__,
)
_SEGMENT = ("id", "item_id", "start", "end", "unit", *Detail._fields)
_facts = attrgetter(*MediaFacts.__slots__)


def insert_items(connection: Connection, root_id: int, records: Sequence[Record]) -> list[int]:
    first, added = next_id(connection, "item"), now()
    ids = list(range(first, first + len(records)))
    rows = [
        (item_id, root_id, added, *r.file, r.sha256, r.modality, r.state, r.reason, r.caption, *_facts(r.facts))
        for item_id, r in zip(ids, records, strict=True)
    ]
    _insert_rows(connection, schema.item, _ITEM, rows)
    return ids


def insert_segments(connection: Connection, items: Iterable[tuple[int, Record]]) -> list[list[int]]:
    segment_id = next_id(connection, "segment")
    rows: list[tuple[Any, ...]] = []
    ids: list[list[int]] = []
    for item_id, record in items:
        ids.append(list(range(segment_id, segment_id + len(record.spans))))
        for span, detail in record.segments():
            place = (None, None, None) if span is None else (span.start, span.end, span.unit)
            rows.append((segment_id, item_id, *place, *detail))
            segment_id += 1
    _insert_rows(connection, schema.segment, _SEGMENT, rows)
    return ids


def segments_of(connection: Connection, record: Record) -> list[int]:
    """The ids of a known item's segments; those that its new spans lack are made."""
    assert record.item_id is not None
    table = schema.segment
    rows = connection.execute(select(table).where(table.c.item_id == record.item_id).order_by(table.c.id)).all()
    known = {(_span(row), row.modality): int(row.id) for row in rows}
    wanted = [(span, detail.modality) for span, detail in record.segments()]
    fresh = [pair for pair, key in zip(record.segments(), wanted, strict=True) if key not in known]
    spans, details = zip(*fresh, strict=True) if fresh else ((), ())
    lacking = Record(file=record.file, state=record.state, spans=spans, details=details)
    made = insert_segments(connection, [(record.item_id, lacking)])
    known.update(zip(((span, detail.modality) for span, detail in fresh), made[0], strict=True))
    return [known[key] for key in wanted]


def _span(row: Any) -> Span | None:
    return None if row.unit is None else Span(row.start, row.end, row.unit)


def insert_embeddings(connection: Connection, space_id: int, segments: Iterable[tuple[list[int], Record]]) -> None:
    pairs = [(ids, record.vectors) for ids, record in segments if record.vectors is not None]
    if pairs:
        segment_ids = [segment_id for ids, _ in pairs for segment_id in ids]
        stored = encode_vectors(np.concatenate([vectors for _, vectors in pairs]))
        insert_stored(connection, space_id, segment_ids, stored)


def insert_stored(
    connection: Connection, space_id: int, segment_ids: Sequence[int], stored: Sequence[tuple[bytes, int]]
) -> None:
    """Vectors as they are stored: (bytes, crc32)."""
    rows = [(space_id, segment_id, *vector) for segment_id, vector in zip(segment_ids, stored, strict=True)]
    _insert_rows(connection, schema.embedding, ("space_id", "segment_id", "vector", "crc32"), rows)


def detail(modality: str | None, text: str | None, page: int | None) -> Detail:
    """As it is stored."""
    return Detail(None if modality is None else Modality(modality), text, page)


def note_held(connection: Connection, space_id: int, records: Sequence[Record]) -> None:
    note_kinds(
        connection, space_id, {str(detail.modality or r.modality) for r in records for _, detail in r.segments()}
    )


def note_kinds(connection: Connection, space_id: int, kinds: set[str]) -> None:
    """Note which kinds of media a space holds: a query asks other spaces for those that the chosen one lacks."""
    key = {"key": f"{HOLDS}{space_id}"}
    held = connection.execute(text("SELECT value FROM setting WHERE key = :key"), key).scalar() or ""
    if not kinds <= set(held.split(",")):
        value = ",".join(sorted(kinds | set(filter(None, held.split(",")))))
        connection.execute(
            text("INSERT OR REPLACE INTO setting (key, value) VALUES (:key, :value)"), {**key, "value": value}
        )


def touch(connection: Connection, records: Sequence[Record]) -> None:
    if records:
        stats = [{**r.file._asdict(), "item": r.item_id} for r in records]
        connection.execute(update(schema.item).where(schema.item.c.id == bindparam("item")).values(gone=None), stats)


def delete_items(connection: Connection, item_ids: Sequence[int]) -> None:
    for chunk in chunks(item_ids):
        connection.execute(delete(schema.item).where(schema.item.c.id.in_(chunk)))


def chunks(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(ids), 1000):
        yield ids[start : start + 1000]


def now() -> str:
    """The current time in UTC, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
