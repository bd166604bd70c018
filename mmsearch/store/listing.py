"""Files by what they say of themselves, in an order, without a vector."""

from __future__ import annotations

from mmsearch.store.filters import FIELDS
from mmsearch.store.reader import Item, Reader, marks
from mmsearch.store.selection import Selection

_BY_PATH = "r.path {0}, i.path {0}"


def first_segments(reader: Reader, chosen: Selection, by: str, descending: bool, count: int) -> list[int]:
    """Of the best ``count`` present files with a segment that passes, the first such segment; in order."""
    passes = f"EXISTS (SELECT 1 FROM segment s WHERE s.item_id = i.id AND {chosen.where})"
    rows = reader.query(
        f"SELECT i.id FROM item i JOIN root r ON r.id = i.root_id WHERE i.gone IS NULL AND {passes} "
        f"ORDER BY {_order(by, descending)} LIMIT ?",
        [*chosen.values, count],
    )
    first: dict[int, int] = {}
    for start in range(0, len(rows), 1000):
        chunk = [item_id for (item_id,) in rows[start : start + 1000]]
        first.update(
            reader.query(
                "SELECT i.id, min(s.id) FROM item i JOIN segment s ON s.item_id = i.id "
                f"WHERE i.id IN ({marks(chunk)}) AND {chosen.where} GROUP BY i.id",
                [*chunk, *chosen.values],
            )
        )
    return [first[item_id] for (item_id,) in rows]


def known_files(
    reader: Reader,
    chosen: Selection | None,
    named: str | None,
    state: str | None,
    by: str,
    descending: bool,
    count: int | None,
) -> list[Item]:
    """Of all files that the library knows, in whatever state, those that `Reader.items` lists and that pass."""
    condition: tuple[str, list[object]] = ("1", [])
    if chosen is not None:
        # A file that could not be read has no segment, and a size and dates none the less.
        passing = f"SELECT i.id FROM item i LEFT JOIN segment s ON s.item_id = i.id WHERE {chosen.where}"
        condition = f"i.id IN ({passing})", chosen.values
    return reader.items(None, named, state, condition, _order(by, descending), count)


def _order(by: str, descending: bool) -> str:
    """The SQL order of ``item i JOIN root r`` by date, taken, added or path; files without a date come last."""
    direction = "DESC" if descending else "ASC"
    if by == "path":
        return _BY_PATH.format(direction)
    return f"{FIELDS[by].sql} {direction} NULLS LAST, {_BY_PATH.format('ASC')}"
