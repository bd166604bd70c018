"""Near-duplicates: the same bytes, or pictures whose vectors are close and whose perceptual hashes agree.

Vectors alone would call two photos of one beach the same; a perceptual hash alone would call two dark frames the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from os.path import join
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.errors import MMSearchError
from mmsearch.store.reader import Reader, Space
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Modality

CLOSE = 0.9
"""How close two vectors must be for their files to be looked at: twins in other sizes and qualities are closer."""
BITS = 10
"""Of the 64 bits of a perceptual hash, so many may differ (Zauner 2010 puts the border between 8 and 12)."""
BLOCK = 1024
SIDE, LOW = 32, 8


def groups(reader: Reader, space: Space, close: float = CLOSE) -> list[list[bytes]]:
    """Absolute paths of files that repeat each other, each group in the order of indexing, the largest groups first.

    Memory: one vector float32 for each file. Time grows with the square of the files; those of close pairs are read.
    """
    items = {row[0]: row[1:] for row in reader.query(_PRESENT)}
    paths = {item_id: join(root, path) for item_id, (root, path, *_) in items.items()}
    together = _Together()
    first: dict[bytes, int] = {}
    for item_id, (_, _, _, sha256) in items.items():
        if sha256 is not None:
            together.join(first.setdefault(sha256, item_id), item_id)
    images = {item_id for item_id, (_, _, modality, _) in items.items() if modality == Modality.IMAGE}
    hashes: dict[int, int | None] = {}
    for a, b in _close_pairs(reader, space, images, close):
        if together.top(a) != together.top(b):
            for item_id in (a, b):
                if item_id not in hashes:
                    hashes[item_id] = _hash_of(paths[item_id])
            one, other = hashes[a], hashes[b]
            if one is not None and other is not None and (one ^ other).bit_count() <= BITS:
                together.join(a, b)
    members: dict[int, list[bytes]] = {}
    for item_id in sorted(items):
        members.setdefault(together.top(item_id), []).append(paths[item_id])
    return sorted((group for group in members.values() if len(group) > 1), key=lambda group: -len(group))


_PRESENT = """
SELECT i.id, r.path, i.path, i.modality, i.sha256 FROM item i JOIN root r ON r.id = i.root_id
WHERE i.gone IS NULL AND i.state IN ('ok', 'partial') ORDER BY i.id
"""


class _Together:
    """Disjoint sets of numbers, each known by its least member."""

    def __init__(self) -> None:
        self._over: dict[int, int] = {}

    def top(self, number: int) -> int:
        while (over := self._over.get(number, number)) != number:
            self._over[number] = self._over.get(over, over)
            number = over
        return number

    def join(self, a: int, b: int) -> None:
        a, b = sorted((self.top(a), self.top(b)))
        self._over[b] = a


def _close_pairs(reader: Reader, space: Space, items: set[int], close: float) -> Iterator[tuple[int, int]]:
    owner = dict(reader.query("SELECT min(id), item_id FROM segment GROUP BY item_id"))
    ids, rows = list[int](), list[FloatArray]()
    for block in reader.blocks(space.id, space.dim):
        keep = [i for i, segment in enumerate(block.ids.tolist()) if owner.get(segment) in items]
        ids += [owner[segment] for segment in block.ids[keep].tolist()]
        rows.append(block.vectors[keep])
    vectors = np.concatenate(rows) if rows else np.empty((0, space.dim), np.float32)
    for start in range(0, len(ids), BLOCK):
        scores = vectors[start : start + BLOCK] @ vectors[start:].T
        for a, b in np.argwhere(scores >= close).tolist():
            if a < b:
                yield ids[start + a], ids[start + b]


def _hash_of(path: bytes) -> int | None:
    """None for a file that can't be read now: it is no one's duplicate then."""
    from mmsearch.media.files import read
    from mmsearch.media.sandbox import decode

    try:
        (piece,) = decode(read(path, follow_links=True), _SMALL).pieces
    except (MMSearchError, OSError, ValueError):
        return None
    return phash(piece.content) if isinstance(piece.content, np.ndarray) and piece.content.dtype == np.uint8 else None


_SMALL = EncoderSpec(
    name="phash",
    space="phash",
    dim=64,
    modalities=frozenset({Modality.IMAGE}),
    licence="",
    image=ImageInput(size=SIDE, fit="squash", resample="bilinear"),
)


def phash(pixels: npt.NDArray[Any]) -> int:
    """The 64-bit perceptual hash of RGB pixels uint8 ``(32, 32, 3)``: which low frequencies lie above their median.

    A discrete cosine transform of the brightness; the constant term is left out of the median (Zauner 2010).
    """
    grey = pixels.astype(np.float64) @ (0.299, 0.587, 0.114)
    low = (_COSINES @ grey @ _COSINES.T).ravel()
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


_COSINES = np.cos(np.pi / SIDE * np.outer(np.arange(LOW), np.arange(SIDE) + 0.5))
