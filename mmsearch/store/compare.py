"""What a listing of files says against what the catalog knows: one join, for the writer and for one who only looks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from mmsearch.store.connection import connect_readonly
from mmsearch.types import FileStat, State


class Known(NamedTuple):
    """A listed file that is not simply unchanged, beside what the catalog knows of it (None: nothing)."""

    file: FileStat
    item_id: int | None
    state: State | None
    reason: str | None
    sha256: bytes | None
    present: bool  # it was not missing
    same: bool  # size, times and inode are as they were
    encoded: bool  # it has vectors in the space asked for


SEEN = "CREATE TEMP TABLE seen (path BLOB, size INTEGER, mtime_ns INTEGER, inode INTEGER, ctime_ns INTEGER)"
ADD = "INSERT INTO temp.seen VALUES (?, ?, ?, ?, ?)"
LAST = "SELECT coalesce(max(rowid), 0) FROM temp.seen"
HAS_VECTORS = (
    "EXISTS (SELECT 1 FROM segment s JOIN embedding e ON e.segment_id = s.id "
    "WHERE s.item_id = i.id AND e.space_id = :space)"
)
# A library of an older format does not know when its files changed last, until `LEARN` tells it.
_SAME = (
    "(i.size = l.size AND i.mtime_ns = l.mtime_ns AND i.inode = l.inode "
    "AND (i.ctime_ns IS NULL OR i.ctime_ns = l.ctime_ns))"
)
LEARN = (
    "UPDATE item SET ctime_ns = ? "
    "WHERE root_id = ? AND path = ? AND size = ? AND mtime_ns = ? AND inode = ? AND ctime_ns IS NULL"
)
COMPARE = f"""
SELECT l.path, l.size, l.mtime_ns, l.inode, l.ctime_ns, i.id, i.state, i.reason, i.sha256, i.gone IS NULL,
  {_SAME}, {HAS_VECTORS}
FROM temp.seen l LEFT JOIN item i ON i.root_id = :root AND i.path = l.path
WHERE l.rowid > :first
  AND (i.id IS NULL OR i.state <> 'ok' OR i.gone IS NOT NULL OR NOT {_SAME} OR NOT (:complete OR {HAS_VECTORS}))
"""
BELOW = "root_id = :root AND (:start = x'' OR path = :start OR path >= :low AND path < :high)"
"""An SQL condition on ``item``: at or below a place in a root; `below` makes its values."""
UNLISTED = f"SELECT id, path FROM item WHERE {BELOW} AND gone IS NULL AND path NOT IN (SELECT path FROM temp.seen)"
COUNT_GONE = f"SELECT count(*) FROM item WHERE {BELOW} AND gone IS NOT NULL"


def known(*row: Any) -> Known:
    """A row of ``COMPARE``."""
    *file_stat, item_id, state, reason, sha256, present, same, has_vectors = row
    file, flags = FileStat(*file_stat), (present, same, has_vectors)
    return Known(file, item_id, None if state is None else State(state), reason, sha256, *map(bool, flags))


def below(root_id: int, start: bytes) -> dict[str, object]:
    """The values of ``BELOW``."""
    return {"root": root_id, "start": start, "low": start + b"/", "high": start + b"0"}  # "0" follows "/"


class Look:
    """The comparison on a connection that only reads; its list of files is a temporary table."""

    def __init__(self, folder: str, root_id: int, start: bytes) -> None:
        self._db = connect_readonly(folder)
        self._db.execute(SEEN)
        self._values = below(root_id, start)

    def close(self) -> None:
        self._db.close()

    def compare(self, files: Sequence[FileStat], space_id: int) -> list[Known]:
        """As `Catalog.compare`, in a space that no file lacks vectors in."""
        ((first,),) = self._db.execute(LAST).fetchall()
        with self._db:
            self._db.executemany(ADD, files)
        values = {**self._values, "space": space_id, "complete": 1, "first": first}
        return [known(*row) for row in self._db.execute(COMPARE, values)]

    def has_unlisted(self) -> bool:
        """Whether there is an item, not known to be missing, that was not listed."""
        return bool(self._db.execute(f"{UNLISTED} LIMIT 1", self._values).fetchall())

    def gone(self) -> int:
        """How many items are known to be missing."""
        ((count,),) = self._db.execute(COUNT_GONE, self._values).fetchall()
        return int(count)
