"""Rank the files of one space for a question in its default form: by meaning on one scale, and by the words they have.

Each kind of media is asked by itself, with a vector that no file's ``z`` is above; files with rare words of the
question come beside them. The lists grow until nothing that is left out could come in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mmsearch.retrieval.evidence import NOTHING, Evidence, Match
from mmsearch.retrieval.scale import Aim, Question, Scale
from mmsearch.retrieval.search import Ranked, Searcher
from mmsearch.store.levels import kind_of
from mmsearch.store.reader import Found, Reader
from mmsearch.store.selection import Selection, of_kind
from mmsearch.types import FloatArray, Modality

FIRST = 50
"""So many files of each kind are looked at at first."""
LAST = 4096
"""And so many at most."""
NO_VECTOR = -1.0
"""``z`` of a file that has words of the question and no vector: its folder does not speak for it."""


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

    ``chosen``: what passes the question's filters; ``home``: whether files without a vector here are ranked here.
    """

    def __init__(
        self,
        reader: Reader,
        searcher: Searcher,
        scale: Scale,
        kinds: Sequence[Modality],
        chosen: Selection | None,
        home: bool = True,
    ) -> None:
        self._reader, self._searcher, self._scale, self._home = reader, searcher, scale, home
        self._space, self._chosen = searcher.space, chosen
        self._kinds = {kind: of_kind(reader, chosen, kind) if len(kinds) > 1 else chosen for kind in kinds}

    def rank(self, asked: Sequence[Spoken], count: int) -> list[list[Scored]]:
        """The best ``count`` files for each question, best first; a file ranks by its best segment."""
        first = max(count, FIRST)
        lists = {kind: self._shortlists(asked, kind, first) for kind in self._kinds}
        return [
            self._ranked(one, {kind: lists[kind][i] for kind in lists}, first, count) for i, one in enumerate(asked)
        ]

    def _shortlists(self, asked: Sequence[Spoken], kind: Modality, depth: int) -> list[_Shortlist]:
        aims = [self._scale.aim(one.question, kind) for one in asked]
        hits = self._searcher.search_all_in(np.stack([aim.vector for aim in aims]), depth, self._kinds[kind])
        return [_Shortlist.of(aim, ranked, depth) for aim, ranked in zip(aims, hits, strict=True)]

    def _ranked(self, asked: Spoken, shortlists: dict[Modality, _Shortlist], depth: int, count: int) -> list[Scored]:
        extra, unseen = asked.evidence.candidates() if asked.evidence is not None else ([], 0.0)
        pool = _Pool(self, asked, extra)
        while True:
            bound = max((one.bound for one in shortlists.values()), default=-np.inf)
            for one in shortlists.values():
                pool.add(one.hits)
            if asked.evidence is not None and asked.evidence.wide_folders:
                bound = max(bound, self._add_rests(pool, asked, depth))
            best = pool.best(count)
            if bound == -np.inf or depth >= LAST or (len(best) == count and best[-1].score >= bound + unseen):
                return best
            depth = min(4 * depth, LAST)
            shortlists = {kind: self._shortlists([asked], kind, depth)[0] for kind in self._kinds}

    def _add_rests(self, pool: _Pool, asked: Spoken, depth: int) -> float:
        """Look for what is left of the question without a folder's words; the most that others have."""
        bound = -np.inf
        for rest in asked.rests.values():
            for kind in self._kinds:
                shortlist = self._shortlists([Spoken(rest)], kind, depth)[0]
                pool.add(shortlist.hits)
                bound = max(bound, shortlist.bound)
        return bound


class _Shortlist(NamedTuple):
    hits: list[Ranked]
    bound: float
    """No file that is not in the list has a higher ``z``."""

    @classmethod
    def of(cls, aim: Aim, hits: list[Ranked], depth: int) -> _Shortlist:
        last = aim.factor * hits[-1].score + aim.offset if len(hits) >= depth else -np.inf
        return cls(hits, last)


class _Pool:
    """The segments that are looked at for one question, each with its score."""

    def __init__(self, ranking: Ranking, asked: Spoken, segments: Sequence[int]) -> None:
        self._ranking, self._asked = ranking, asked
        self._scored: dict[int, Scored] = {}
        chosen, reader = ranking._chosen, ranking._reader
        live = reader.live(segments) if chosen is None else chosen.live(segments)
        self._add(list(live.values()), ranking._home)

    def add(self, hits: Sequence[Ranked]) -> None:
        self._add([hit.found for hit in hits if hit.found.segment_id not in self._scored], False)

    def _add(self, found: list[Found], without_vector: bool) -> None:
        space = self._ranking._space
        stored = self._ranking._reader.vectors(space.id, space.dim, [one.segment_id for one in found])
        row = {segment: i for i, segment in enumerate(stored.ids.tolist())}
        here = [one for one in found if one.segment_id in row]
        vectors = stored.vectors[[row[one.segment_id] for one in here]] if here else stored.vectors[:0]
        self._score(here, vectors)
        if without_vector:
            self._score([one for one in found if one.segment_id not in row], None)

    def _score(self, found: list[Found], vectors: FloatArray | None) -> None:
        if not found:
            return
        evidence = self._asked.evidence
        matches = [NOTHING if evidence is None else evidence.match(one) for one in found]
        z = np.full(len(found), NO_VECTOR, np.float32) if vectors is None else self._z(found, vectors, matches)
        own, folder = (z * 0, z * 0) if evidence is None else evidence.points(matches, z)
        cosines = None if vectors is None else (vectors @ self._asked.question.vector).tolist()
        for i, (one, total) in enumerate(zip(found, (z + own + folder).tolist(), strict=True)):
            parts = float(z[i]), float(own[i]), float(folder[i])
            cosine = None if cosines is None else cosines[i]
            self._scored[one.segment_id] = Scored(total, one, cosine, *parts, matches[i])

    def _z(self, found: list[Found], vectors: FloatArray, matches: Sequence[Match]) -> FloatArray:
        kinds = np.array([kind_of(one.modality) for one in found])
        folders = np.array([match.folder for match in matches])
        z = np.empty(len(found), np.float32)
        for kind in self._ranking._kinds:
            rows = np.flatnonzero(kinds == kind)
            z[rows] = self._ranking._scale.z(self._asked.question, kind, vectors[rows])
            for bits, rest in self._asked.rests.items():
                some = rows[folders[rows] == bits]
                if len(some):
                    z[some] = np.maximum(z[some], self._ranking._scale.z(rest, kind, vectors[some]))
        return z

    def best(self, count: int) -> list[Scored]:
        """One segment of each file, best first; what is equal stands in the order of paths."""
        ordered = sorted(self._scored.values(), key=lambda one: (-one.score, -one.z, one.found.path))
        best: dict[int, Scored] = {}
        for one in ordered:
            best.setdefault(one.found.item_id, one)
            if len(best) == count:
                break
        return list(best.values())
