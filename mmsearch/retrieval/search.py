"""Rank the files of one space: ask the index and the rows that came after it, keep what is alive, collapse.

What is committed is found at once, and what is gone is never returned: the index is only a shortlist, the catalog
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from mmsearch.store.artifacts import Opened
from mmsearch.store.exact import ExactIndex
from mmsearch.store.reader import Found, Reader, Space
from mmsearch.store.selection import Selection
from mmsearch.types import Embeddings, FloatArray, IdArray, VectorIndex

MANY_PASS = 1 / 8
"""From this share on, testing the best hits costs less than asking SQLite for everything that passes."""

Candidates = tuple[IdArray, FloatArray]
"""Segment ids with their scores, best first, ties by smaller id."""
Live = Callable[[list[int]], Mapping[int, Found | None]]
"""What is known of those segments that are alive."""


class Ranked(NamedTuple):
    """An item's best segment, and its score."""

    score: float
    found: Found


@dataclass(frozen=True, slots=True)
class Searcher:
    """One space of a library, ready to be asked."""

    reader: Reader
    space: Space
    opened: Opened

    def search(self, vector: FloatArray, k: int, within: IdArray | None = None) -> list[Ranked]:
        """The best ``k`` items for a unit vector float32 ``(dim,)``, among the segments ``within`` (sorted ids).

        An item ranks by its best segment. Call it inside a snapshot of the reader.
        """
        return self.search_all(vector[None], k, within)[0]

    def search_all_in(self, vectors: FloatArray, k: int, chosen: Selection | None) -> list[list[Ranked]]:
        """What ``search_all`` answers among the segments of a selection, which is tested hit by hit if most pass."""
        if chosen is None:
            return self.search_all(vectors, k)
        if chosen.share < MANY_PASS:
            return self.search_all(vectors, k, chosen.ids())
        count = int(1.5 * spare(k) / chosen.share)
        fresh, first = self._fresh(vectors, None), self._indexed(vectors, count, None)
        live = _remembering(chosen.live)
        found: list[list[Ranked]] = []
        for vector, new, shortlist in zip(vectors, fresh, first, strict=True):
            hits = _collapse(_merge([new, shortlist]), k, live, step=spare(k) * 2)  # some are not chosen
            enough = self._suffices(shortlist, count, hits, k)
            found.append(hits if enough else self.search(vector, k, chosen.ids()))
        return found

    def search_all(self, vectors: FloatArray, k: int, within: IdArray | None = None) -> list[list[Ranked]]:
        """What ``search`` answers to each of some unit vectors float32 ``(q, dim)``, the index asked but once."""
        fresh, first = self._fresh(vectors, within), self._indexed(vectors, spare(k), within)
        each, live = zip(vectors, fresh, first, strict=True), _remembering(self.reader.live)
        return [self._ranked(vector, new, shortlist, k, within, live) for vector, new, shortlist in each]

    def near(self, vectors: FloatArray, count: int, chosen: Selection | None) -> list[tuple[Candidates, float]]:
        """About the ``count`` nearest segments to each of some unit vectors float32 ``(q, dim)``, and a bound.

        They may be dead, or not chosen: whoever looks them up sees. No segment that is not among them scores above the
        bound, -inf where there are no others.
        """
        within = None
        if chosen is not None and chosen.share < MANY_PASS:
            within = chosen.ids()
        elif chosen is not None:
            count = int(1.5 * count / chosen.share)
        return self.near_ids(vectors, count, within)

    def near_ids(self, vectors: FloatArray, count: int, within: IdArray | None) -> list[tuple[Candidates, float]]:
        """What ``near`` gives, among the segments ``within`` (sorted ids) if given."""
        index = self.opened.index
        size = 0 if index is None else len(index)
        exact = index is not None and index.spec.exact
        found: list[tuple[Candidates, float]] = []
        for fresh, some in zip(self._fresh(vectors, within), self._indexed(vectors, count, within), strict=True):
            complete = count >= size or (exact and len(some[0]) < count)
            bound = -np.inf if complete or not len(some[1]) else float(some[1][-1])
            found.append((_merge([fresh, some]), bound))
        return found

    def _ranked(
        self, vector: FloatArray, fresh: Candidates, shortlist: Candidates, k: int, within: IdArray | None, live: Live
    ) -> list[Ranked]:
        limit = len(self.opened.index) if self.opened.index is not None else 0
        count = spare(k)
        while True:
            hits = _collapse(_merge([fresh, shortlist]), k, live)
            if count >= limit or self._suffices(shortlist, count, hits, k):
                return hits
            count *= 4
            (shortlist,) = self._indexed(vector[None], count, within)

    def _suffices(self, shortlist: Candidates, count: int, hits: list[Ranked], k: int) -> bool:
        """Whether a longer shortlist could change nothing."""
        scores = shortlist[1]
        if self.opened.index is not None and self.opened.index.spec.exact and len(scores) < count:
            return True  # it is all that the filter left
        # What lies below the shortlist's end may still be better than a row that came after the index.
        return len(hits) >= k and (len(scores) == 0 or hits[-1].score >= float(scores[-1]))

    def _indexed(self, vectors: FloatArray, count: int, within: IdArray | None) -> list[Candidates]:
        index = self.opened.index
        if index is None or not len(index):
            return [_NONE] * len(vectors)
        stored = partial(self.reader.vectors, self.space.id, self.space.dim)
        return nearest(index, vectors, min(count, len(index)), within, stored)

    def _fresh(self, vectors: FloatArray, within: IdArray | None) -> list[Candidates]:
        """Scores of all rows that the index does not know yet, read one block at a time."""
        found: list[list[Candidates]] = [[] for _ in vectors]
        for block in self.reader.blocks(self.space.id, self.space.dim, after=self.opened.max_seq):
            keep = slice(None) if within is None else np.isin(block.ids, within, assume_unique=True)
            scored = ExactIndex(block.ids[keep], block.vectors[keep]).search(vectors, len(block))
            for i, mine in enumerate(found):
                mine.append(scored.row(i))
        return [_merge(mine) for mine in found]


def _collapse(candidates: Candidates, k: int, live: Live, step: int = 0) -> list[Ranked]:
    """The first ``k`` live items, each by its best segment; ``live`` is asked for ``step`` segments at a time."""
    ids, scores = candidates
    step = step or k + 8  # a few may be dead
    hits: dict[int, Ranked] = {}
    for start in range(0, len(ids), step):
        chunk = ids[start : start + step].tolist()
        alive = live(chunk)
        for segment_id, score in zip(chunk, scores[start : start + step].tolist(), strict=True):
            found = alive.get(segment_id)
            if found is not None and found.item_id not in hits:
                hits[found.item_id] = Ranked(score, found)
                if len(hits) == k:
                    return list(hits.values())
    return list(hits.values())


def _remembering(live: Live) -> Live:
    """The same answers, each segment looked up once: many questions meet the same ones."""
    known: dict[int, Found | None] = {}

    def look(ids: list[int]) -> Mapping[int, Found | None]:
        if new := [segment_id for segment_id in ids if segment_id not in known]:
            known.update(dict.fromkeys(new))
            known.update(live(new))
        return known

    return look


def spare(k: int) -> int:
    """How many candidates are asked for at first: some may be dead, or lie in the same item."""
    return k * 2 + 8


def nearest(
    index: VectorIndex,
    vectors: FloatArray,
    count: int,
    within: IdArray | None,
    stored: Callable[[list[int]], Embeddings],
) -> list[Candidates]:
    """The best ``count`` of an index for each of float32 unit ``(q, d)`` vectors.

    What an approximate index shortlists is scored again from the stored vectors.
    """
    found = index.search(vectors, count * index.spec.refine, within)
    rows = [found.row(i) for i in range(len(vectors))]
    if index.spec.exact:
        return rows
    return [_scored(stored(ids.tolist()), vector, count) for vector, (ids, _) in zip(vectors, rows, strict=True)]


_NONE: Candidates = (np.empty(0, np.int64), np.empty(0, np.float32))


def _scored(some: Embeddings, vector: FloatArray, count: int) -> Candidates:
    """Exact scores of some vectors, ordered as `ExactIndex` orders them."""
    return ExactIndex(some.ids, some.vectors).search(vector[None], count).row(0)


def _merge(parts: Iterable[Candidates]) -> Candidates:
    """Several lists as one, best first, ties by smaller id; an id that occurs twice stays once."""
    parts = [part for part in parts if len(part[0])]
    if len(parts) < 2:  # np.unique would import numpy.ma, 15 ms of a cold question
        return parts[0] if parts else _NONE
    ids, scores = np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
    _, first = np.unique(ids, return_index=True)
    order = first[np.lexsort((ids[first], -scores[first]))]
    return ids[order], scores[order]
