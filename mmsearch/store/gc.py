"""Give back what nothing uses: spaces of former models, and index files that no row names."""

from __future__ import annotations

from mmsearch.store import artifacts
from mmsearch.store.catalog import Catalog


def collect(catalog: Catalog, dry_run: bool = False) -> list[str]:
    """Drop all spaces but the one that queries use and the one that was last worked on; a line for each.

    A space that holds the only vectors of some file is kept: that file would have to be encoded again.
    """
    reader = catalog.reader
    active = reader.active_space()
    kept = {int(str(row[0])) for row in reader.query(_LAST_SPACE)} | ({active.id} if active else set())
    lines = []
    for space in reader.spaces():
        if space.id in kept:
            continue
        name = f"{reader.count(space.id)} vectors of {space.model} ({space.fingerprint})"
        only_there = reader.query(_ONLY_THERE.format(",".join(map(str, kept))), (space.id,))[0][0]
        if only_there:
            lines.append(f"kept {name}: {only_there} files have no others yet: run `mmsearch index` first")
            continue
        lines.append(f"dropped {name}" if not dry_run else f"would drop {name}")
        if not dry_run:
            catalog.drop_space(space.id)
    if not dry_run:
        artifacts.drop_old(catalog)
        catalog.compact()
    return lines


_LAST_SPACE = "SELECT space_id FROM run ORDER BY id DESC LIMIT 1"
_ONLY_THERE = """
SELECT count(DISTINCT s.item_id) FROM embedding e JOIN segment s ON s.id = e.segment_id WHERE e.space_id = ?
AND NOT EXISTS (SELECT 1 FROM segment t JOIN embedding o ON o.segment_id = t.id
                WHERE t.item_id = s.item_id AND o.space_id IN ({}))
"""
