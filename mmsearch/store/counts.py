"""How many files say what: their dates, cameras, folders and kinds, counted in the catalog."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from mmsearch.store.filters import FIELDS
from mmsearch.store.reader import Reader, marks
from mmsearch.store.selection import Selection

_DATE = FIELDS["date"].sql
_KEYS = {
    "year": f"substr({_DATE}, 1, 4)",
    "month": f"substr({_DATE}, 1, 7)",
    "camera": "i.camera",
    "folder": "i.root_id, folder(i.path)",
}


def facts(reader: Reader, item_ids: Sequence[int]) -> list[tuple[str | None, str | None]]:
    """The date (taken, or else changed, in local ISO 8601) and the camera of those of the files that there are."""
    found: list[tuple[str | None, str | None]] = []
    for start in range(0, len(item_ids), 1000):
        chunk = item_ids[start : start + 1000]
        found += reader.query(f"SELECT {_DATE}, i.camera FROM item i WHERE i.id IN ({marks(chunk)})", chunk)
    return found


def total(reader: Reader, chosen: Selection) -> int:
    """How many present files have a segment that passes."""
    ((count,),) = reader.query(f"SELECT count(*) {_passing(chosen)}", chosen.values)
    return int(count)


def by(reader: Reader, chosen: Selection, field: str) -> Counter[str | None]:
    """How many of them there are of each year, month, camera, folder (absolute path) or modality; None: unknown.

    A file counts once for each kind of its segments that pass: a film may be among the sounds too.
    """
    if field == "modality":
        kind = FIELDS["modality"].sql
        rows = reader.query(
            f"SELECT {kind}, count(DISTINCT i.id) FROM item i JOIN segment s ON s.item_id = i.id "
            f"WHERE i.gone IS NULL AND {chosen.where} GROUP BY 1",
            chosen.values,
        )
        return Counter(dict(rows))
    reader.define("folder", _folder)
    key = _KEYS[field]
    rows = reader.query(f"SELECT {key}, count(*) {_passing(chosen)} GROUP BY {key}", chosen.values)
    if field != "folder":
        return Counter(dict(rows))
    roots = dict(reader.roots())
    return Counter({_absolute(roots[root_id], folder): count for root_id, folder, count in rows})


def _passing(chosen: Selection) -> str:
    passes = f"EXISTS (SELECT 1 FROM segment s WHERE s.item_id = i.id AND {chosen.where})"
    return f"FROM item i WHERE i.gone IS NULL AND {passes}"


def _absolute(root: bytes, folder: bytes) -> str:
    return os.fsdecode(os.path.join(root, folder).rstrip(b"/") or b"/")


def _folder(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]
