"""Rank the files of one space for a question in its default form: by meaning on one scale, and by the words they have.

Each kind of media is asked by itself, with a vector that no file's ``z`` is above; files with rare words of the
question come beside them, each with the most that it can score. They are looked at from the top down, until nothing
that is left could come in (the threshold algorithm: Fagin, Lotem and Naor, PODS 2001).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from mmsearch.retrieval.evidence import NOTHING, Evidence, Match, Values
from mmsearch.retrieval.scale import Question, Scale
from mmsearch.retrieval.search import Searcher
from mmsearch.store.levels import kind_of
from mmsearch.store.reader import Found, Reader
from mmsearch.store.selection import Selection, live_among, of_kind
from mmsearch.types import FloatArray, IdArray, Modality

FIRST = 50
"""So many segments of each kind are listed at first."""
LAST = 4096
"""And so many at most."""
STEP = 64
"""Segments that are looked at together."""
NO_VECTOR = -1.0
"""``z`` of a file that has words of the question and no vector: its folder does not speak for it."""

Bounded: TypeAlias = tuple[IdArray, Values]
"""Segment ids int64 ``(n,)`` and the most that each can score."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """A question as one space understands it: its vector, its words, and what it is without the words of folders."""

    question: Question
    evidence: Evidence | None = None
    rests: Mapping[int, Question] = field(default_factory=dict)


class Scored(NamedTuple):
    """A segment, what it is ranked by, and why: ``z``, points of words and folder; without a vector no cosine."""

    score: float
    found: Found
    cosine: float | None
    z: float
    words: float
    folder: float
    match: Match


class Ranking:
    """One space of a library, ready to be asked, inside a snapshot of the reader.

    ``chosen``: what passes the question's filters. ``bare``: of segments without a vector here, those that are ranked
    here all the same, by their words alone.
    """

    def __init__(
        self,
        reader: Reader,
        searcher: Searcher,
        scale: Scale,
        kinds: Sequence[Modality],
        chosen: Selection | None,
        bare: Callable[[list[int]], list[int]],
    ) -> None:
        self._reader, self._searcher, self._scale, self._bare = reader, searcher, scale, bare
        self._chosen = chosen
        self._kinds = {kind: of_kind(reader, chosen, kind) if len(kinds) > 1 else chosen for kind in kinds}

    def rank(self, asked: Sequence[Spoken], count: int) -> list[list[Scored]]:
        """The best ``count`` files for each question, best first; a file ranks by its best segment."""
        depth = max(count, FIRST)
        lists = [self._lists([one.question for one in asked], kind, depth) for kind in self._kinds]
        return [self._ranked(one, [some[i] for some in lists], depth, count) for i, one in enumerate(asked)]

    def of(self, asked: Spoken, segments: Sequence[int]) -> list[Scored]:
        """These segments as they are ranked, best first: those that are alive and pass the filters."""
        pool = _Pool(self._reader, self._searcher, self._scale, self._chosen, asked, self._bare)
        return pool.all_of(segments)

    def _ranked(self, asked: Spoken, lists: list[tuple[Bounded, float]], depth: int, count: int) -> list[Scored]:
        worded, unseen = self._worded(asked)
        pool = _Pool(self._reader, self._searcher, self._scale, self._chosen, asked, self._bare)
        while True:
            if asked.evidence is not None and asked.evidence.wide_folders and asked.rests:
                rests = list(asked.rests.values())
                lists = lists + [one for kind in self._kinds for one in self._lists(rests, kind, depth)]
            bound = max((bound for _, bound in lists), default=-np.inf) + unseen
            pool.look([worded, *((ids, most + unseen) for (ids, most), _ in lists)], count)
            if bound == -np.inf or depth >= LAST or pool.reaches(bound, count):
                return pool.best(count)
            depth = min(4 * depth, LAST)
            lists = [self._lists([asked.question], kind, depth)[0] for kind in self._kinds]

    def _lists(self, questions: Sequence[Question], kind: Modality, depth: int) -> list[tuple[Bounded, float]]:
        """For each question the segments of a kind that may have the highest ``z``, and the most that others have."""
        aims = [self._scale.aim(question, kind) for question in questions]
        near = self._searcher.near(np.stack([aim.vector for aim in aims]), depth, self._kinds[kind])
        return [
            ((ids, aim.factor * scores.astype(np.float64) + aim.offset), aim.factor * bound + aim.offset)
            for aim, ((ids, scores), bound) in zip(aims, near, strict=True)
        ]

    def _worded(self, asked: Spoken) -> tuple[Bounded, float]:
        """The segments that rare words speak for, and the most that words may say for any other."""
        if asked.evidence is None:
            return (np.empty(0, np.int64), np.empty(0)), 0.0
        segments, lifts, kinds, unseen = asked.evidence.candidates()
        most = np.full(len(segments), NO_VECTOR)
        for kind in self._kinds:
            rows = np.flatnonzero(kinds == kind)
            if not len(rows):
                continue
            aims = [self._scale.aim(question, kind) for question in (asked.question, *asked.rests.values())]
            near = self._searcher.near_ids(np.stack([aim.vector for aim in aims]), len(rows), segments[rows])
            for aim, ((ids, scores), _) in zip(aims, near, strict=True):
                place = rows[np.searchsorted(segments[rows], ids)]
                most[place] = np.maximum(most[place], aim.factor * scores + aim.offset)
        return (segments, most + lifts), unseen


def _order(one: Scored) -> tuple[float, float, bytes, int]:
    return -one.score, -one.z, one.found.path, one.found.segment_id


class _Pool:
    """The segments that were looked at for one question, each with its score."""

    def __init__(
        self,
        reader: Reader,
        searcher: Searcher,
        scale: Scale,
        chosen: Selection | None,
        asked: Spoken,
        bare: Callable[[list[int]], list[int]],
    ) -> None:
        self._reader, self._space, self._scale, self._chosen = reader, searcher.space, scale, chosen
        self._asked, self._bare = asked, bare
        self._seen: set[int] = set()
        self._best: dict[int, Scored] = {}

    def look(self, lists: Sequence[Bounded], count: int) -> None:
        """Look at segments, those that may score most first, until no other can be among the best ``count`` files."""
        ids, most = (np.concatenate(parts) for parts in zip(*lists, strict=True))
        order = np.argsort(-most, kind="stable")
        ids, most = ids[order], most[order]
        step = max(STEP, count)
        for start in range(0, len(ids), step):
            if self.reaches(float(most[start]), count):
                return
            self._add([one for one in ids[start : start + step].tolist() if one not in self._seen])

    def reaches(self, bound: float, count: int) -> bool:
        """Whether the best ``count`` files that were looked at all score at least this."""
        return sum(one.score >= bound for one in self._best.values()) >= count

    def best(self, count: int) -> list[Scored]:
        """The best segment of each file, best first; what is equal stands in the order of paths."""
        return sorted(self._best.values(), key=_order)[:count]

    def all_of(self, segments: Sequence[int]) -> list[Scored]:
        """Look at all of these segments, whatever they may score; best first."""
        return sorted(self._add(list(segments)), key=_order)

    def _add(self, segments: list[int]) -> list[Scored]:
        self._seen.update(segments)
        live = live_among(self._reader, self._chosen, segments)
        stored = self._reader.vectors(self._space.id, self._space.dim, list(live))
        row = {segment: i for i, segment in enumerate(stored.ids.tolist())}
        here = [found for segment, found in live.items() if segment in row]
        scored = self._score(here, stored.vectors[[row[found.segment_id] for found in here]] if here else None)
        if len(here) < len(live):
            bare = self._bare([one for one in live if one not in row])
            scored += self._score([live[segment] for segment in bare], None)
        for one in scored:
            known = self._best.get(one.found.item_id)
            if known is None or _order(one) < _order(known):
                self._best[one.found.item_id] = one
        return scored

    def _score(self, found: list[Found], vectors: FloatArray | None) -> list[Scored]:
        if not found:
            return []
        evidence = self._asked.evidence
        matches = [NOTHING if evidence is None else evidence.match(one) for one in found]
        z = np.full(len(found), NO_VECTOR, np.float32) if vectors is None else self._z(found, vectors, matches)
        own, folder = (z * 0, z * 0) if evidence is None else evidence.points(matches, z)
        cosines = None if vectors is None else (vectors @ self._asked.question.vector).tolist()
        totals = (z + own + folder).tolist()
        return [
            Scored(
                totals[i],
                one,
                None if cosines is None else cosines[i],
                float(z[i]),
                float(own[i]),
                float(folder[i]),
                matches[i],
            )
            for i, one in enumerate(found)
        ]

    def _z(self, found: list[Found], vectors: FloatArray, matches: Sequence[Match]) -> FloatArray:
        kinds = np.array([kind_of(one.modality) for one in found])
        folders = np.array([match.folder for match in matches])
        z = np.empty(len(found), np.float32)
        for kind in dict.fromkeys(kinds.tolist()):
            rows = np.flatnonzero(kinds == kind)
            z[rows] = self._scale.z(self._asked.question, Modality(kind), vectors[rows])
            for bits, rest in self._asked.rests.items():
                some = rows[folders[rows] == bits]
                if len(some):
                    z[some] = np.maximum(z[some], self._scale.z(rest, Modality(kind), vectors[some]))
        return z
