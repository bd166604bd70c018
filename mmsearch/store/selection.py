"""Which segments a question may be answered with: the catalog's part of a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.store.filters import FUNCTIONS, Condition, joined, to_sql
from mmsearch.store.levels import KINDS
from mmsearch.store.reader import Found, Reader, Space, below_path, decode_vectors, is_below, marks
from mmsearch.types import FloatArray, IdArray, Modality

SAMPLED = 100
GOLDEN = 0.6180339887498949
"""Its multiples, without their whole parts, lie evenly in 0 to 1 and follow no period (Weyl's sequence)."""

MOST_PHRASES = 32
"""Quoted phrases of a question: each is a search of its own in two tables, and SQLite plans them all together."""


class Selection:
    """The live segments that pass a filter, as an SQL condition on ``item i`` and ``segment s``."""

    def __init__(self, reader: Reader, where: str, values: list[object]) -> None:
        self._reader, self.where, self.values = reader, where, values

    def ids(self) -> IdArray:
        """All of them, int64 ``(n,)``, ascending; not to be changed."""
        where = f"i.gone IS NULL AND {self.where}"
        return self._reader.ids(
            f"SELECT s.id FROM item i JOIN segment s ON s.item_id = i.id WHERE {where}", self.values
        )

    def live(self, segment_ids: Sequence[int]) -> dict[int, Found]:
        """Those among some segments, as ``Reader.live`` gives them."""
        return self._reader.live_if(segment_ids, self.where, self.values)

    @cached_property
    def share(self) -> float:
        """About how many of all segments pass, 0 to 1: of ``SAMPLED`` ids, spread so that no period hides."""
        ((least, most),) = self._reader.query("SELECT (SELECT min(id) FROM segment), (SELECT max(id) FROM segment)")
        if least is None:
            return 0.0
        some = (least + (np.arange(SAMPLED) * GOLDEN % 1 * (most - least + 1)).astype(np.int64)).tolist()
        ((passing, of),) = self._reader.query(
            f"SELECT count(CASE WHEN {self.where} THEN 1 END), count(*) "
            "FROM segment s JOIN item i ON i.id = s.item_id "
            f"WHERE i.gone IS NULL AND s.id IN ({marks(some)})",
            [*self.values, *some],
        )
        return float(passing / max(1, of))


def select(
    reader: Reader,
    path: bytes | None = None,
    modalities: Sequence[str] | None = None,
    condition: Condition | None = None,
    phrases: Sequence[str] = (),
) -> Selection:
    """The live segments that pass all of the given filters.

    ``path``: at or below it. ``phrases``: FTS5 expressions; the item's or the segment's words meet each of them.
    """
    where, values = ["1"], list[object]()
    if path is not None:
        where.append(f"({below_path(reader, path, values)})")
    if modalities is not None:
        where.append(f"s.modality IN ({marks(modalities)})")
        values += modalities
    if condition is not None:
        for name, function in FUNCTIONS.items():
            reader.define(name, function)
        where.append(to_sql(condition, values))
    if len(different := dict.fromkeys(phrases)) > MOST_PHRASES:
        raise UsageError(f"{len(different)} quoted phrases at once: ask for {MOST_PHRASES} at most")
    for phrase in different:
        where.append(
            "(i.id IN (SELECT rowid FROM item_text WHERE item_text MATCH ?) "
            "OR s.id IN (SELECT rowid FROM segment_text WHERE segment_text MATCH ?))"
        )
        values += [phrase, phrase]
    return Selection(reader, joined("AND", where), values)


def live_among(reader: Reader, chosen: Selection | None, segment_ids: Sequence[int]) -> dict[int, Found]:
    """Those among some segments that are alive and pass; None lets all pass."""
    return reader.live(segment_ids) if chosen is None else chosen.live(segment_ids)


def of_kind(reader: Reader, chosen: Selection | None, kind: Modality) -> Selection:
    """The live segments of a kind among those that pass."""
    names = [str(modality) for modality in KINDS[kind]]
    where, values = (chosen.where, chosen.values) if chosen is not None else ("1", [])
    return Selection(reader, f"s.modality IN ({marks(names)}) AND {where}", [*names, *values])


def item_at(reader: Reader, path: bytes) -> int | None:
    """The item that is this very file, indexed and present, by its absolute path."""
    for root_id, root in reader.roots():
        if is_below(path, root):
            rows = reader.query(_ITEM_AT, (root_id, path[len(root) :].lstrip(b"/")))
            if rows:
                return int(rows[0][0])
    return None


_ITEM_AT = "SELECT id FROM item WHERE root_id = ? AND path = ? AND gone IS NULL AND state IN ('ok', 'partial')"


def item_vectors(reader: Reader, item_id: int, space: Space) -> FloatArray:
    """The stored vectors of an item in a space, float32 ``(n, dim)``."""
    rows = reader.query(
        "SELECT e.vector FROM embedding e JOIN segment s ON s.id = e.segment_id "
        "WHERE s.item_id = ? AND e.space_id = ? ORDER BY s.id",
        (item_id, space.id),
    )
    return decode_vectors([row[0] for row in rows], space.dim)
