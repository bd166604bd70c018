"""Which segments a question may be answered with, and which hold its words: the catalog's part of a search."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from mmsearch.store.filters import FUNCTIONS, Condition, to_sql
from mmsearch.store.reader import Found, Reader, Space, below_path, decode_vectors, is_below, marks
from mmsearch.types import FloatArray, IdArray

SAMPLED = 100
GOLDEN = 0.6180339887498949
"""Its multiples, without their whole parts, lie evenly in 0 to 1 and follow no period (Weyl's sequence)."""


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
        where.append(f"coalesce(s.modality, i.modality) IN ({marks(modalities)})")
        values += modalities
    if condition is not None:
        for name, function in FUNCTIONS.items():
            reader.define(name, function)
        where.append(to_sql(condition, values))
    for phrase in phrases:
        where.append(
            "(i.id IN (SELECT rowid FROM item_text WHERE item_text MATCH ?) "
            "OR s.id IN (SELECT rowid FROM segment_text WHERE segment_text MATCH ?))"
        )
        values += [phrase, phrase]
    return Selection(reader, " AND ".join(where), values)


def by_words(reader: Reader, expression: str, count: int, chosen: Selection | None = None) -> list[tuple[int, float]]:
    """Live segments whose words meet an FTS5 expression, the best ``count`` of a selection: (id, score), best first.

    An item's own words (name, caption, camera) stand for its first segment. Scores are FTS5's bm25, its sign turned,
    each divided by the best of its table: the two tables are ranked apart, as their words are not equally rare. The
    best is that without a selection, which so does not change the order of what it lets pass.
    """
    found: dict[int, float] = {}
    for everything, some in ((_ITEMS, _ITEMS_OF), (_SEGMENTS, _SEGMENTS_OF)):
        rows = reader.query(everything, (expression, count if chosen is None else 1))
        best = rows[0][1] if rows else 0.0
        if rows and chosen is not None:
            rows = reader.query(some.format(chosen.where), (expression, *chosen.values, count))
        for segment_id, score in rows:
            share = score / best if best else 1.0
            found[segment_id] = max(share, found.get(segment_id, 0.0))
    return sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:count]


# A name tells more than a camera; among equals the first that was indexed comes first.
_BY_NAME = "(SELECT rowid, -bm25(item_text, 1.0, 1.0, 0.5) AS score FROM item_text WHERE item_text MATCH ?) t"
_BY_TEXT = "(SELECT rowid, -bm25(segment_text) AS score FROM segment_text WHERE segment_text MATCH ?) t"
_FIRST = "(SELECT min(id) FROM segment WHERE item_id = i.id)"
_ORDER = "ORDER BY t.score DESC, t.rowid LIMIT ?"
_ITEMS = f"""
SELECT {_FIRST}, t.score FROM {_BY_NAME} JOIN item i ON i.id = t.rowid
WHERE i.gone IS NULL AND EXISTS (SELECT 1 FROM segment WHERE item_id = i.id) {_ORDER}
"""
# The join, which a condition on segments needs, takes longer than the two subqueries above where nothing is left out.
_ITEMS_OF = f"""
SELECT s.id, t.score FROM {_BY_NAME} JOIN item i ON i.id = t.rowid JOIN segment s ON s.id = {_FIRST}
WHERE i.gone IS NULL AND {{}} {_ORDER}
"""
_SEGMENTS_OF = f"""
SELECT s.id, t.score FROM {_BY_TEXT} JOIN segment s ON s.id = t.rowid JOIN item i ON i.id = s.item_id
WHERE i.gone IS NULL AND {{}} {_ORDER}
"""
_SEGMENTS = _SEGMENTS_OF.format("1")


def sample(reader: Reader, space: Space, count: int) -> FloatArray:
    """Up to ``count`` vectors of a space, float32 ``(n, dim)``, evenly spread over its rows, always the same ones.

    They are remembered: not to be changed.
    """
    return reader.remembered(("sample", space.id, count), lambda: _sample(reader, space, count))


def _sample(reader: Reader, space: Space, count: int) -> FloatArray:
    # Not min and max: asked for together they would be looked for in all rows.
    ends = [
        reader.query(f"SELECT seq FROM embedding WHERE space_id = ? ORDER BY seq {order} LIMIT 1", (space.id,))
        for order in ("ASC", "DESC")
    ]
    if not ends[0]:
        return np.empty((0, space.dim), np.float32)
    ((least,),), ((most,),) = ends
    # Deleted rows leave gaps: of twice as many numbers, about half may name none.
    # Not np.unique, which would import numpy.ma: 15 ms of a cold question.
    seqs = sorted(set(np.linspace(least, most, 2 * count).round().astype(np.int64).tolist()))
    rows = reader.query(
        f"SELECT vector FROM embedding WHERE space_id = ? AND seq IN ({marks(seqs)}) ORDER BY seq", (space.id, *seqs)
    )
    step = max(1, len(rows) // count)
    return decode_vectors([row[0] for row in rows[::step][:count]], space.dim)


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
