"""Answer a question: a ranking for each space and one by the letter, fused, weighed, cut."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.retrieval import spans
from mmsearch.retrieval.confidence import Confidence, by_words, either
from mmsearch.retrieval.embed import embed, questions
from mmsearch.retrieval.evidence import NOTHING, Evidence
from mmsearch.retrieval.filtering import chosen_by, spoken, words_of
from mmsearch.retrieval.fuse import fuse
from mmsearch.retrieval.hit import hit_of
from mmsearch.retrieval.rank import Ranking, Scored, Spoken
from mmsearch.retrieval.scale import Question, Scale, kinds_of, scale_of
from mmsearch.retrieval.search import Searcher
from mmsearch.store import parts
from mmsearch.store.artifacts import Opened
from mmsearch.store.levels import kind_of
from mmsearch.store.postings import count_files
from mmsearch.store.reader import HOLDS, Reader, Space
from mmsearch.store.selection import live_among
from mmsearch.types import Encoder, FloatArray, Hit, Query, Why, require_same_space

WORDS = "words"
"""The name of the ranking by the letter, beside the fingerprints of spaces."""

DEPTH = 100
"""So long is a ranking at least that is fused or thinned out: rank 100 adds 1/160 where rank 1 adds 1/61."""

WEIGHED = 128
"""Hits whose confidence is told at a time."""

TWINS = 0.97
"""Two vectors this close are near-duplicates; the closest two photos of Flickr8k val have 0.87, by `mini`."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A space that is asked: its index, and its encoder, which is loaded when a question needs it."""

    space: Space
    opened: Opened
    encoder: Callable[[], Encoder]


@dataclass(frozen=True, slots=True)
class Answer:
    """The hits of a question, best first, and how they were found. Iterates over the hits."""

    hits: tuple[Hit, ...]
    space: Space
    index: str
    """The kind of index that was asked; ``scan`` when all vectors were read from the catalog."""
    took_ms: dict[str, float]
    """Milliseconds: ``load`` (library and model), ``encode`` (the question), ``search``, ``total``."""
    notes: tuple[str, ...] = ()
    """What the user should know, a damaged index for instance."""
    spaces: tuple[tuple[Space, str], ...] = ()
    """Every space that was asked, and the kind of its index."""

    def __iter__(self) -> Iterator[Hit]:
        return iter(self.hits)

    def __len__(self) -> int:
        return len(self.hits)


def spaces_for(reader: Reader, active: Space) -> list[Space]:
    """The space that queries use, and for every kind of media that it has no vectors of, the newest that has."""
    if reader.setting(f"{HOLDS}{active.id}") is None:
        return [active]  # not noted, as for vectors that were carried over from other spaces: it is trusted alone
    held = {space: set((reader.setting(f"{HOLDS}{space.id}") or "").split(",")) for space in reader.spaces()}
    chosen, covered = [active], held.get(active, set()) | {""}
    for space in sorted(held, key=lambda space: -space.id):
        if held[space] - covered:
            chosen.append(space)
            covered |= held[space]
    return chosen


class Asker:
    """Answers questions that share their filters, mode and depth. Use it inside a snapshot of the reader.

    ``vectors``: what files ask with in a space, where that is not for the encoder to say.
    """

    def __init__(
        self,
        reader: Reader,
        engines: Sequence[Engine],
        like: Query,
        *,
        allow_url: bool = False,
        vectors: Callable[[Space], FloatArray] | None = None,
    ) -> None:
        self._reader, self._engines, self._like = reader, engines, like
        self._allow_url, self._vectors = allow_url, vectors
        self._chosen = chosen_by(reader, like)
        self._scales = {engine.space.fingerprint: scale_of(reader, engine.space, engine.encoder) for engine in engines}
        self.encoding_s = 0.0
        """Seconds spent in encoders so far."""

    def hits(self, queries: Sequence[Query]) -> list[list[Hit]]:
        """The hits of each question, best first, at most ``query.k``."""
        evidence = self._evidence(queries)
        if self._like.mode == "lexical":
            found = [self._by_letter(query, one) for query, one in zip(queries, evidence, strict=True)]
            return [self._with_moments(hits, [], one) for hits, one in zip(found, evidence, strict=True)]
        asked = [self._asked(engine, queries, evidence) for engine in self._engines]
        depth = self._depth()
        rankings = [self._rank(engine, spoken, depth) for engine, spoken in zip(self._engines, asked, strict=True)]
        found = [
            self._deepened(query, [one[i] for one in asked], [one[i] for one in rankings], depth)
            for i, query in enumerate(queries)
        ]
        return [self._with_moments(hits, [one[i] for one in asked], evidence[i]) for i, hits in enumerate(found)]

    def rankings(self, queries: Sequence[Query]) -> list[list[tuple[bytes, float]]]:
        """The paths and scores of the hits of each question, without what only eyes need."""
        if self._like.mode == "lexical" or len(self._engines) > 1:
            return [[(hit.path, hit.score) for hit in hits] for hits in self.hits(queries)]
        evidence = self._evidence(queries)
        ranked = self._rank(self._engines[0], self._asked(self._engines[0], queries, evidence), self._like.k)
        return [[(one.found.path, one.score) for one in ranking] for ranking in ranked]

    def _evidence(self, queries: Sequence[Query]) -> list[Evidence | None]:
        if self._like.mode == "dense":
            return [None] * len(queries)
        facts = self._like.mode == "lexical"
        found = [Evidence(self._reader, words_of(query)[0], facts) for query in queries]
        return [one if one.terms else None for one in found]

    def _depth(self) -> int:
        like = self._like
        thinned = like.unique or like.min_confidence > 0 or len(self._engines) > 1
        return max(DEPTH, 4 * like.k) if thinned else like.k

    def _deepened(self, query: Query, asked: list[Spoken], rankings: list[list[Scored]], depth: int) -> list[Hit]:
        """The hits that are left of rankings, which are made anew and longer where near-duplicates took their place."""
        while True:
            hits = self._weighed(query, asked, rankings)
            exhausted = all(len(ranking) < depth for ranking in rankings)
            if len(hits) >= query.k or exhausted or not query.unique:
                return hits
            depth *= 4
            each = zip(self._engines, asked, strict=True)
            rankings = [self._rank(engine, [spoken], depth)[0] for engine, spoken in each]

    # -- by meaning -----------------------------------------------------------------------------------------------

    def _asked(self, engine: Engine, queries: Sequence[Query], evidence: Sequence[Evidence | None]) -> list[Spoken]:
        """The questions as a space understands them; all texts are encoded together."""
        started = time.perf_counter()
        try:
            if self._vectors is not None:
                return [Spoken(Question(self._vectors(engine.space))) for _ in queries]
            encoder = engine.encoder()
            plain = [_plain_text(query) for query in queries]
            rests = [{} if one is None else one.rests() for one in evidence]
            texts = [*filter(None, plain), *(text for some in rests for text in some.values())]
            require_same_space(engine.space.fingerprint, encoder.spec.space)
            dense = self._like.mode == "dense"
            vectors = dict(zip(texts, questions(encoder, texts, as_typed=dense), strict=True)) if texts else {}
            asked = []
            for query, text, one, some in zip(queries, plain, evidence, rests, strict=True):
                question = (
                    Question(embed(encoder, spoken(query), engine.space, allow_url=self._allow_url))
                    if text is None
                    else vectors[text]
                )
                asked.append(Spoken(question, one, {bits: vectors[rest] for bits, rest in some.items()}))
            return asked
        finally:
            self.encoding_s += time.perf_counter() - started

    def _rank(self, engine: Engine, asked: Sequence[Spoken], depth: int) -> list[list[Scored]]:
        searcher = Searcher(self._reader, engine.space, engine.opened)
        if self._like.mode == "dense":
            vectors = np.stack([one.question.vector for one in asked])
            return [
                [Scored(hit.score, hit.found, hit.score, 0.0, 0.0, 0.0, NOTHING) for hit in ranked]
                for ranked in searcher.search_all_in(vectors, depth, self._chosen)
            ]
        scale, kinds = self._scales[engine.space.fingerprint], kinds_of(self._reader, engine.space)
        return Ranking(self._reader, searcher, scale, kinds, self._chosen, self._bare_in(engine)).rank(asked, depth)

    def _bare_in(self, engine: Engine) -> Callable[[list[int]], list[int]]:
        """Segments that no asked space has a vector of are ranked in the first, by their words alone."""

        def bare(segments: list[int]) -> list[int]:
            if engine is not self._engines[0]:
                return []
            others = [one.space for one in self._engines[1:]]
            held = {i for space in others for i in self._reader.vectors(space.id, space.dim, segments).ids.tolist()}
            return [segment for segment in segments if segment not in held]

        return bare

    def _weighed(self, query: Query, asked: list[Spoken], rankings: list[list[Scored]]) -> list[Hit]:
        """Rankings as hits: fused where there are several, without what is not sure enough or seen before."""
        names = [engine.space.fingerprint for engine in self._engines]
        by_item = {
            name: {one.found.item_id: one for one in ranking} for name, ranking in zip(names, rankings, strict=True)
        }
        fused: list[tuple[int, float, tuple[str, ...]]]
        if len(names) == 1:
            fused = [(item, one.score, (names[0],)) for item, one in by_item[names[0]].items()]
        else:
            fused = fuse({name: list(ranking) for name, ranking in by_item.items()})
        hits: list[Hit] = []
        twins = _Twins()
        for start in range(0, len(fused), WEIGHED):
            some = [(by_item[spaces[0]][item], score, spaces) for item, score, spaces in fused[start : start + WEIGHED]]
            for (one, score, spaces), (confidence, vector) in zip(some, self._sure(some, asked), strict=True):
                if confidence is not None and confidence < query.min_confidence:
                    continue
                if query.unique and twins.seen(spaces[0], vector):
                    continue
                spoken_there = asked[names.index(spaces[0])]
                hits.append(self._as_hit(one, score, spaces, spoken_there, rank=len(hits) + 1, confidence=confidence))
                if len(hits) == query.k:
                    return hits
        return hits

    def _as_hit(
        self, one: Scored, score: float, spaces: tuple[str, ...], asked: Spoken, rank: int, confidence: float | None
    ) -> Hit:
        found_by = (spaces if one.cosine is not None else ()) + ((WORDS,) if one.match.speaks else ())
        why = None
        if self._like.mode != "dense":
            evidence = asked.evidence if one.match.speaks else None
            why = Why(one.z, one.words, one.folder, () if evidence is None else evidence.where(one.found))
        return hit_of(
            one.found,
            rank=rank,
            score=score,
            cosine=one.cosine,
            space=spaces[0] if one.cosine is not None else WORDS,
            confidence=confidence,
            found_by=found_by,
            why=why,
        )

    def _sure(
        self, some: Sequence[tuple[Scored, float, tuple[str, ...]]], asked: list[Spoken]
    ) -> Iterator[tuple[float | None, FloatArray | None]]:
        """For each how sure it is, by meaning and by words, and its vector."""
        names = [engine.space.fingerprint for engine in self._engines]
        known: dict[int, tuple[float, FloatArray]] = {}
        for engine, spoken_here in zip(self._engines, asked, strict=True):
            here = [one for one, _, spaces in some if spaces[0] == engine.space.fingerprint and one.cosine is not None]
            known |= self._by_meaning(engine, spoken_here.question, here)
        for one, _, spaces in some:
            confidence, vector = known.get(one.found.segment_id, (None, None))
            evidence = asked[names.index(spaces[0])].evidence
            if evidence is not None and one.match.speaks:
                confidence = either(confidence or 0.0, by_words(evidence, one.match))
            yield confidence, vector

    def _by_meaning(
        self, engine: Engine, question: Question, some: Sequence[Scored]
    ) -> dict[int, tuple[float, FloatArray]]:
        """Segments to how sure they are by meaning, and their vectors."""
        space, found = engine.space, dict[int, tuple[float, FloatArray]]()
        stored = self._reader.vectors(space.id, space.dim, [one.found.segment_id for one in some])
        kinds = {one.found.segment_id: kind_of(one.found.modality) for one in some}
        confidence = Confidence(self._scales[space.fingerprint], space.model, count_files(self._reader))
        for kind in dict.fromkeys(kinds.values()):
            rows = [i for i, segment in enumerate(stored.ids.tolist()) if kinds[segment] is kind]
            sure = confidence.meaning(question, kind, stored.vectors[rows]).tolist()
            found |= {int(stored.ids[i]): (value, stored.vectors[i]) for i, value in zip(rows, sure, strict=True)}
        return found

    # -- the moments of a file ------------------------------------------------------------------------------------

    def _with_moments(self, hits: list[Hit], asked: list[Spoken], evidence: Evidence | None) -> list[Hit]:
        most = self._like.moments
        if most == 1:
            return [spans.own(hit) for hit in hits]
        return [
            hit if hit.span is None else spans.several(hit, self._parts(hit, asked, evidence), most) for hit in hits
        ]

    def _parts(self, hit: Hit, asked: list[Spoken], evidence: Evidence | None) -> list[Scored]:
        """The segments of a hit's file as its space ranks them, best first; by the letter those that have words."""
        segments = parts.segments(self._reader, hit.item_id)
        if self._like.mode == "lexical":
            return [] if evidence is None else self._with_words(evidence, segments)
        place = next((i for i, engine in enumerate(self._engines) if engine.space.fingerprint == hit.space), 0)
        engine, one = self._engines[place], asked[place]
        scale, bare = self._scales[engine.space.fingerprint], self._bare_in(engine)
        if self._like.mode == "dense":  # of a file's vectors alone, as they are
            scale, bare, one = Scale(None, {}, engine.space.dim), lambda some: [], Spoken(Question(one.question.vector))
        searcher = Searcher(self._reader, engine.space, engine.opened)
        return Ranking(self._reader, searcher, scale, (), self._chosen, bare).of(one, segments)

    def _with_words(self, evidence: Evidence, segments: list[int]) -> list[Scored]:
        live = live_among(self._reader, self._chosen, segments)
        matches = [(found, evidence.match(found)) for found in live.values()]
        scored = [
            Scored(coverage, found, None, 0.0, coverage, 0.0, match)
            for found, match in matches
            if match.text and (coverage := evidence.coverage(match)[1])
        ]
        return sorted(scored, key=lambda one: (-one.score, one.found.segment_id))

    # -- by the letter --------------------------------------------------------------------------------------------

    def _by_letter(self, query: Query, evidence: Evidence | None) -> list[Hit]:
        if evidence is None:
            return []
        segments = evidence.candidates(frequent=True)[0].tolist()
        live = live_among(self._reader, self._chosen, segments)
        scored = []
        for found in live.values():
            match = evidence.match(found)
            scored.append((match.whole, evidence.coverage(match)[1], found, match))
        scored.sort(key=lambda one: (-one[0], -one[1], one[2].path, one[2].segment_id))
        hits: dict[int, Hit] = {}
        for _, coverage, found, match in scored:
            if coverage and found.item_id not in hits:
                sure = by_words(evidence, match)
                if sure >= query.min_confidence:
                    hits[found.item_id] = hit_of(
                        found,
                        rank=len(hits) + 1,
                        score=coverage,
                        confidence=sure,
                        space=WORDS,
                        found_by=(WORDS,),
                        why=Why(0.0, coverage, 0.0, evidence.where(found)),
                    )
            if len(hits) == query.k:
                break
        return list(hits.values())


class _Twins:
    """Remembers hits, to tell whether one is a near-duplicate of an earlier one."""

    def __init__(self) -> None:
        self._kept: dict[str, list[FloatArray]] = {}

    def seen(self, space: str, vector: FloatArray | None) -> bool:
        """Whether a vector was there before, nearly; if not, it is kept."""
        if vector is None:
            return False
        kept = self._kept.setdefault(space, [])
        if any(float(vector @ other) >= TWINS for other in kept):
            return True
        kept.append(vector)
        return False


def _plain_text(query: Query) -> str | None:
    """What is asked in words alone; None for files, addresses and sums."""
    parts = spoken(query)
    return parts[0].value if len(parts) == 1 and parts[0].kind == "text" and parts[0].weight > 0 else None
