"""Give back what nothing uses: spaces of former models, and index files that no row names."""

from __future__ import annotations

from mmsearch.store import artifacts
from mmsearch.store.catalog import Catalog


def collect(catalog: Catalog, dry_run: bool = False) -> list[str]:
    """Drop all spaces but the one that queries use and the one that was last worked on; returns a line for each."""
    reader = catalog.reader
    active = reader.active_space()
    kept = {active.id if active else None, *(row[0] for row in reader.query(_LAST_SPACE))}
    dropped = []
    for space in reader.spaces():
        if space.id not in kept:
            dropped.append(f"{reader.count(space.id)} vectors of {space.model} ({space.fingerprint})")
            if not dry_run:
                catalog.drop_space(space.id)
    if not dry_run:
        artifacts.drop_old(catalog)
        catalog.compact()
    return dropped


_LAST_SPACE = "SELECT space_id FROM run ORDER BY id DESC LIMIT 1"
