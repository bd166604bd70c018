"""Fill a space from vectors of other spaces: nothing is decoded or encoded again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmsearch.store import rows
from mmsearch.store.catalog import Catalog
from mmsearch.store.reader import Space, encode_vectors
from mmsearch.types import Embeddings, FloatArray, Modality


@dataclass(frozen=True, slots=True)
class Origin:
    """Where vectors come from: a space, the part of it to take, and what becomes of them."""

    space: Space
    sounds: bool
    """True: the sounds alone; False: all but the sounds."""
    carry: Callable[[FloatArray], FloatArray]
    """Unit rows float32 ``(n, dim of space)`` to unit rows of the target's dimension."""


def fill(catalog: Catalog, target: Space, origins: list[Origin]) -> list[int]:
    """Write the vectors that ``target`` lacks; how many came from each origin.

    One block is one transaction: after a kill, the next call does the rest.
    """
    taken = [_take(catalog, target, origin) for origin in origins]
    kinds = {str(row[0]) for row in catalog.reader.query(_KINDS, (target.id,))}
    with catalog.transaction() as connection:
        rows.note_kinds(connection, target.id, kinds)
    return taken


def _take(catalog: Catalog, target: Space, origin: Origin) -> int:
    wanted = {int(str(row[0])) for row in catalog.reader.query(_WANTED, (int(origin.sounds), target.id))}
    taken = 0
    for block in catalog.reader.blocks(origin.space.id, origin.space.dim):
        keep = np.array([segment_id in wanted for segment_id in block.ids.tolist()], bool)
        if not keep.any():
            continue
        carried = Embeddings(block.ids[keep], origin.carry(block.vectors[keep]))
        stored_rows = [
            (target.id, segment_id, *stored)
            for segment_id, stored in zip(carried.ids.tolist(), encode_vectors(carried.vectors), strict=True)
        ]
        with catalog.transaction() as connection:
            connection.exec_driver_sql(_INSERT, stored_rows)
        taken += len(stored_rows)
    return taken


def some_vectors(catalog: Catalog, space: Space, modality: Modality, most: int = 20_000) -> FloatArray:
    """Up to ``most`` vectors of one kind of segment of a space, float32 ``(n, dim)``."""
    ids = [int(str(row[0])) for row in catalog.reader.query(_SOME, (space.id, modality, most))]
    return catalog.reader.vectors(space.id, space.dim, ids).vectors


_WANTED = """
SELECT s.id FROM segment s JOIN item i ON i.id = s.item_id
WHERE (s.modality = 'audio') = ?
  AND NOT EXISTS (SELECT 1 FROM embedding e WHERE e.segment_id = s.id AND e.space_id = ?)
"""
_SOME = """
SELECT s.id FROM embedding e JOIN segment s ON s.id = e.segment_id JOIN item i ON i.id = s.item_id
WHERE e.space_id = ? AND s.modality = ? ORDER BY e.seq LIMIT ?
"""
_KINDS = """
SELECT DISTINCT s.modality
FROM embedding e JOIN segment s ON s.id = e.segment_id JOIN item i ON i.id = s.item_id WHERE e.space_id = ?
"""
_INSERT = "INSERT INTO embedding (space_id, segment_id, vector, crc32) VALUES (?, ?, ?, ?)"
