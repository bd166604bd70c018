"""Answer a question: filters to ids, a ranking for each space and one by the letter, fused, weighed, cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mmsearch.errors import UsageError
from mmsearch.retrieval.confidence import SAMPLE, Background
from mmsearch.retrieval.dates import period
from mmsearch.retrieval.fuse import fuse
from mmsearch.retrieval.search import Ranked, Searcher
from mmsearch.retrieval.where import parse as parse_where
from mmsearch.store import selection
from mmsearch.store.artifacts import Opened
from mmsearch.store.filters import And, Compare, Condition, Near
from mmsearch.store.reader import HOLDS, Reader, Space
from mmsearch.store.selection import Selection
from mmsearch.store.words import all_of, any_of, split_quoted, telling
from mmsearch.types import Asked, FloatArray, Hit, Query

WORDS = "words"
"""The name of the ranking by the letter, beside the fingerprints of spaces."""

DEPTH = 100
"""So long is a ranking at least that is fused or thinned out: rank 100 adds 1/160 where rank 1 adds 1/61."""

TWINS = 0.97
"""Two vectors this close are near-duplicates; the closest two photos of Flickr8k val have 0.87, by `mini`."""


class Asking(NamedTuple):
    """A space with the question's vector in it, float32 ``(dim,)``, and the index to ask."""

    space: Space
    opened: Opened
    vector: FloatArray


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


def words_of(query: Query) -> tuple[str, list[str]]:
    """The question's words that count for it, without quotation marks, and those that were quoted."""
    plain: list[str] = []
    literal: list[str] = []
    for part in query.parts:
        if part.kind == "text" and part.weight > 0:
            text, quoted = split_quoted(part.value)
            plain.append(text)
            literal += quoted
    return " ".join(plain), literal


def spoken(query: Query) -> tuple[Asked, ...]:
    """The parts as an encoder should read them: the marks of quoted words are for the letter alone."""
    if query.mode == "dense":
        return query.parts
    return tuple(
        part._replace(value=split_quoted(part.value)[0]) if part.kind == "text" else part for part in query.parts
    )


def condition_of(query: Query) -> Condition | None:
    """All filters of a question that speak of what files say of themselves. Raises ``UsageError``."""
    parts: list[Condition] = [] if query.where is None else [parse_where(query.where)]
    for option, operator, date in (("--since", ">=", query.since), ("--until", "<=", query.until)):
        if date is not None:
            try:
                parts.append(Compare("date", operator, period(date)))
            except ValueError as error:
                raise UsageError(f"{option}: {error}") from None
    if query.near is not None:
        parts.append(Near(*query.near))
    return None if not parts else parts[0] if len(parts) == 1 else And(tuple(parts))


def ranked_hits(reader: Reader, query: Query, asked: Sequence[Asking]) -> list[Hit]:
    """The hits of a question, best first, at most ``query.k``. Call it inside a snapshot of the reader."""
    chosen = _chosen(reader, query)
    # Not for `min_confidence`: where vectors of one space rank alone, the first hits are the surest.
    thinned = query.unique or query.mode != "dense" or len(asked) > 1
    depth = max(DEPTH, 4 * query.k) if thinned else query.k
    while True:
        hits, exhausted = _hits(reader, query, asked, chosen, depth)
        if len(hits) >= query.k or exhausted or not query.unique:
            return hits[: query.k]
        depth *= 4


def _chosen(reader: Reader, query: Query) -> Selection | None:
    condition = condition_of(query)
    # By meaning alone a quotation mark is a character of the sentence, as in a caption that quotes a sign.
    quoted = [] if query.mode == "dense" else words_of(query)[1]
    phrases = [expression for phrase in quoted if (expression := all_of([phrase]))]
    modalities = None if query.modalities is None else sorted(query.modalities)
    if query.within is None and modalities is None and condition is None and not phrases:
        return None
    return selection.select(reader, query.within, modalities, condition, phrases)


def _hits(
    reader: Reader, query: Query, asked: Sequence[Asking], chosen: Selection | None, depth: int
) -> tuple[list[Hit], bool]:
    rankings: dict[str, list[Ranked]] = {}
    for one in asked:
        rankings[one.space.fingerprint] = Searcher(reader, one.space, one.opened).search_in(one.vector, depth, chosen)
    exhausted = all(len(ranking) < depth for ranking in rankings.values())
    certain: set[int] = set()
    if query.mode != "dense" and (letters := _by_letter(reader, query, chosen, depth)) is not None:
        rankings[WORDS], certain = letters
        exhausted &= len(rankings[WORDS]) < depth
    weigh = _Weigh(reader, asked)
    hits: list[Hit] = []
    by_item = {name: {ranked.found.item_id: ranked for ranked in ranking} for name, ranking in rankings.items()}
    for item_id, names in fuse({name: list(ranking) for name, ranking in by_item.items()}):
        hit = weigh(names, by_item[names[0]][item_id], item_id in certain)
        if hit.confidence is not None and hit.confidence < query.min_confidence:
            continue
        if query.unique and weigh.is_twin(hit):
            continue
        hits.append(replace(hit, rank=len(hits) + 1))
        if len(hits) == query.k:
            break
    return hits, exhausted


def _by_letter(
    reader: Reader, query: Query, chosen: Selection | None, depth: int
) -> tuple[list[Ranked], set[int]] | None:
    """The ranking of items by their words, and the items that have every telling word; None without such words."""
    terms = telling(words_of(query)[0])
    if not terms:
        return None
    best = dict(selection.by_words(reader, any_of(terms), depth, chosen))
    live = reader.live(list(best))
    ranking: dict[int, Ranked] = {}
    for segment_id, score in best.items():
        if segment_id in live:
            ranking.setdefault(live[segment_id].item_id, Ranked(score, live[segment_id]))
    all_there = reader.live([segment for segment, _ in selection.by_words(reader, all_of(terms), depth)])
    return list(ranking.values()), {segment.item_id for segment in all_there.values()}


class _Weigh:
    """Turns a ranked segment into a hit: its cosine, its confidence, and whether it repeats an earlier one."""

    def __init__(self, reader: Reader, asked: Sequence[Asking]) -> None:
        self._reader = reader
        self._asked = {one.space.fingerprint: one for one in asked}
        self._backgrounds: dict[str, Background] = {}
        self._kept: dict[str, list[FloatArray]] = {}

    def __call__(self, names: tuple[str, ...], ranked: Ranked, certain: bool) -> Hit:
        score, found, space = ranked.score, ranked.found, names[0]
        confidence: float | None = None
        if space == WORDS:
            # Found by the letter alone: its cosine is that of its own vector, where it has one.
            for name, one in self._asked.items():
                if (vector := self._vector(name, found.segment_id)) is not None:
                    score, space = float(vector @ one.vector), name
                    break
        if space != WORDS:
            confidence = self._background(space).confidence(self._asked[space].vector, score)
        return Hit(
            rank=0,
            score=score,
            path=found.path,
            modality=found.modality,
            span=found.span,
            item_id=found.item_id,
            segment_id=found.segment_id,
            space=space,
            confidence=1.0 if certain else confidence,
            found_by=names,
            text=found.text,
            page=found.page,
            taken=found.taken,
            added=found.added,
        )

    def is_twin(self, hit: Hit) -> bool:
        """Whether a hit that was kept before is a near-duplicate of this one; if none is, this one is kept."""
        vector = self._vector(hit.space, hit.segment_id)
        if vector is None:
            return False
        kept = self._kept.setdefault(hit.space, [])
        if any(float(vector @ other) >= TWINS for other in kept):
            return True
        kept.append(vector)
        return False

    def _vector(self, space: str, segment_id: int) -> FloatArray | None:
        if space not in self._asked:
            return None
        row = self._asked[space].space
        stored = self._reader.vectors(row.id, row.dim, [segment_id]).vectors
        vector: FloatArray | None = stored[0] if len(stored) else None
        return vector

    def _background(self, space: str) -> Background:
        if space not in self._backgrounds:
            self._backgrounds[space] = Background(selection.sample(self._reader, self._asked[space].space, SAMPLE))
        return self._backgrounds[space]
