"""Answer a question: encode it, ask the index and the rows that came after it, keep what is alive, collapse.

What is committed is found at once, and what is gone is never returned: the index is only a shortlist, the catalog
decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.errors import EncoderError
from mmsearch.store.artifacts import Opened
from mmsearch.store.exact import ExactIndex
from mmsearch.store.reader import Found, Reader, Space
from mmsearch.types import Encoder, FloatArray, Hit, IdArray, Part, Query, require_same_space

Candidates = tuple[IdArray, FloatArray]
"""Segment ids with their scores, best first, ties by smaller id."""


@dataclass(frozen=True, slots=True)
class Searcher:
    """One space of a library, ready to be asked."""

    reader: Reader
    space: Space
    opened: Opened

    def search(self, vector: FloatArray, query: Query) -> list[Hit]:
        """The best ``query.k`` items for a unit vector float32 ``(dim,)``; an item ranks by its best segment."""
        with self.reader.snapshot():
            modalities = None if query.modalities is None else sorted(query.modalities)
            filtered = query.within is not None or modalities is not None
            within = self.reader.segments_within(query.within, modalities) if filtered else None
            fresh = self._fresh(vector, within)
            limit = len(self.opened.index) if self.opened.index is not None else 0
            # Some candidates may be dead, or lie in the same item: ask for more until there are enough.
            count = query.k * 2 + 8
            while True:
                candidates = _merge([fresh, self._indexed(vector, min(count, limit), within)])
                hits = self._collapse(candidates, query.k)
                if len(hits) >= query.k or count >= limit:
                    return hits
                count *= 4

    def _indexed(self, vector: FloatArray, count: int, within: IdArray | None) -> Candidates:
        """The best of the index; what an approximate index shortlists is scored again from the stored vectors."""
        index = self.opened.index
        if index is None or count == 0:
            return _NONE
        ids, scores = index.search(vector[None], count * index.spec.refine, within).row(0)
        if index.spec.exact:
            return ids, scores
        stored = self.reader.vectors(self.space.id, self.space.dim, ids.tolist())
        return _best(stored.ids, stored.vectors, vector, count)

    def _fresh(self, vector: FloatArray, within: IdArray | None) -> Candidates:
        """Scores of all rows that the index does not know yet, one block in memory at a time."""
        found = []
        for block in self.reader.blocks(self.space.id, self.space.dim, after=self.opened.max_seq):
            keep = slice(None) if within is None else np.isin(block.ids, within, assume_unique=True)
            found.append(_best(block.ids[keep], block.vectors[keep], vector, len(block)))
        return _merge(found)

    def _collapse(self, candidates: Candidates, k: int) -> list[Hit]:
        """The first ``k`` live items, each by its best segment."""
        ids, scores = candidates
        hits: dict[int, Hit] = {}
        for start in range(0, len(ids), 256):
            chunk = ids[start : start + 256].tolist()
            live = self.reader.live(chunk)
            for segment_id, score in zip(chunk, scores[start : start + 256].tolist(), strict=True):
                found = live.get(segment_id)
                if found is not None and found.item_id not in hits:
                    hits[found.item_id] = self._hit(len(hits) + 1, score, found)
                    if len(hits) == k:
                        return list(hits.values())
        return list(hits.values())

    def _hit(self, rank: int, score: float, found: Found) -> Hit:
        return Hit(
            rank=rank,
            score=score,
            path=found.path,
            modality=found.modality,
            span=found.span,
            item_id=found.item_id,
            segment_id=found.segment_id,
            space=self.space.fingerprint,
        )


_NONE: Candidates = (np.empty(0, np.int64), np.empty(0, np.float32))


def _best(ids: IdArray, vectors: FloatArray, vector: FloatArray, count: int) -> Candidates:
    """Exact scores of some vectors, ordered as `ExactIndex` orders them."""
    return ExactIndex(ids, vectors).search(vector[None], count).row(0)


def _merge(parts: Iterable[Candidates]) -> Candidates:
    """Several lists as one, best first, ties by smaller id; an id that occurs twice stays once."""
    parts = [part for part in parts if len(part[0])]
    if not parts:
        return _NONE
    ids, scores = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    _, first = np.unique(ids, return_index=True)
    order = first[np.lexsort((ids[first], -scores[first]))]
    return ids[order], scores[order]


def embed(encoder: Encoder, parts: Sequence[Part], space: Space) -> FloatArray:
    """The unit vector float32 ``(dim,)`` of a question: the weighted sum of its parts' vectors.

    Raises ``SpaceMismatch`` if the encoder is not the one that made ``space``, and ``EncoderError`` if the parts
    cancel out.
    """
    require_same_space(space.fingerprint, encoder.spec.space)
    total = np.zeros(space.dim, np.float32)
    for part in parts:
        total += np.float32(part.weight) * encoder.encode([part.content], part.modality)[0]
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise EncoderError("the parts of this question cancel each other out: change a weight")
    vector: FloatArray = total / np.float32(length)
    return vector
