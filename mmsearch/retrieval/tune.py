"""Which index, built and searched how, finds enough of what an exact search finds, and at what cost?

Every setting is built and asked as queries ask it, and compared with an exact search of the same vectors: with
questions in words and with questions by picture apart. Words lie apart from the pictures that an index was built of, so
they lose recall first, and a setting chosen by pictures alone misses its target for them.

A setting is chosen if it reaches the target even at the low end of the 95 % interval, for both kinds of question; among
those, the fastest one is. Exact search is one of the settings, so there always is one.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from mmsearch.errors import MissingExtra
from mmsearch.retrieval.search import nearest, spare
from mmsearch.retrieval.significance import Interval, bootstrap
from mmsearch.store import indexes
from mmsearch.store.indexes import Setting
from mmsearch.types import Embeddings, FloatArray, IdArray, VectorIndex

TEXT, IMAGE = "text", "image"
BUDGET = 300.0
"""Seconds."""
MEASURING = 0.8
"""The share of the budget after which nothing more is built; the rest is for latencies."""
BLOCK = 4096
ROUNDS = 50
"""Most times that every setting is asked, for its latency; as many of them in words as by picture."""
LEAST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is searched, and what asks; unit vectors all."""

    embeddings: Embeddings
    questions: dict[str, FloatArray]
    """float32 ``(q, d)`` under ``text`` and ``image``; a kind without questions is left out."""
    stored: Callable[[list[int]], Embeddings]
    """Where the vectors of candidates come from, to be scored again."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One index to build, and the ways to search it, cheapest first."""

    kind: str
    build: dict[str, Any] = field(default_factory=dict)
    searches: Sequence[dict[str, Any]] = ({},)
    refines: Sequence[int] = ()

    @property
    def name(self) -> str:
        """The kind and how it is built, such as ``hash bits=512``."""
        return _label(self.kind, self.build)


_SHARES = [{"share": share} for share in (0.02, 0.06, 0.12, 0.25, 0.5, 1.0)]
_REFINES = (5, 15, 50, 150)
TRIALS = (
    Trial("exact"),
    Trial("ivfpq", searches=_SHARES, refines=_REFINES),
    Trial("hash", {"bits": 512}, refines=(5, 15, 50, 100, 200)),
    Trial("sq8", searches=_SHARES, refines=(1, 4)),
    Trial("hnsw", {"links": 32}, [{"ef": ef} for ef in (64, 128, 256, 512, 1024)]),
    Trial("sq16", searches=_SHARES),
    Trial("ivfpq", {"opq": True}, _SHARES, _REFINES),
    Trial("hash", {"bits": 1024}, refines=(5, 15, 50, 100)),
    Trial("ivfpq", {"bits": 8}, _SHARES, _REFINES),
    Trial("sq16", {"finer": 4}, _SHARES),
    Trial("ivfpq", {"finer": 4}, _SHARES, _REFINES),
    Trial("hash", {"bits": 256}, refines=(50, 100, 200, 400)),
    Trial("hnsw", {"links": 16}, [{"ef": ef} for ef in (128, 256, 512, 1024)]),
)
"""In the order in which they are tried: what is built soon comes first, in case the time ends."""


@dataclass(frozen=True, slots=True)
class Point:
    """One setting, measured. ``recall`` is the share of the exact ``k`` nearest that were among its candidates."""

    setting: Setting
    build_s: float
    bytes_per_vector: float
    recall: dict[str, Interval]
    p50_ms: float = math.nan
    p95_ms: float = math.nan
    pareto: bool = False

    @property
    def name(self) -> str:
        return _label(self.setting.kind, {**self.setting.build, **self.setting.search})

    @property
    def worst(self) -> float:
        return min(interval.mean for interval in self.recall.values())


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured on how many vectors, and what was chosen."""

    target: float
    k: int
    points: list[Point]
    chosen: Point
    rows: int
    seed: int
    seconds: float
    skipped: list[str]
    """What the time was too short for, or needs a package that is not here."""
    asked: dict[str, int]
    facts: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        points = [{"name": point.name, **asdict(point)} for point in self.points]
        for point in points:
            point["recall"] = {name: interval._asdict() for name, interval in point["recall"].items()}
        return {**asdict(self), "points": points, "chosen": self.chosen.name}


def tune(
    corpus: Corpus,
    *,
    target: float = 0.99,
    k: int = 10,
    budget: float = BUDGET,
    seed: int = 0,
    trials: Sequence[Trial] = TRIALS,
    progress: Callable[[str], None] = lambda text: None,
) -> Tuning:
    """Measure settings for about ``budget`` seconds and choose one. Writes its indexes to a folder that is thrown away.

    ``trials`` begin with ``exact``, which the others are compared with. ``progress`` hears what is measured. The
    training of one index is not cut short, so the last one may overrun.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mmsearch-tune-") as scratch:
        bench = _Bench(corpus, k, target, seed, scratch, started + MEASURING * budget)
        points, skipped = list[Point](), list[str]()
        for trial in trials:
            measured: list[Point] = []
            progress(f"{trial.name}: built and asked")
            try:
                for point in bench.measure(trial):
                    measured.append(point)  # what came before the time ended is kept
            except _OutOfTime:
                skipped.append(f"{trial.name}: the time was too short")
            except MissingExtra as error:
                skipped.append(f"{trial.name}: {error}")
            points += _useful(measured)
        progress("latencies of all settings, in turns")
        points = _marked(bench.timed(points, started + budget))
    chosen = choose(points, target, list(corpus.questions))
    asked = {kind: len(vectors) for kind, vectors in corpus.questions.items()}
    rows, seconds = len(corpus.embeddings), time.monotonic() - started
    return Tuning(target, k, points, chosen, rows, seed, seconds, skipped, asked)


def choose(points: Sequence[Point], target: float, kinds: Sequence[str]) -> Point:
    """The fastest point that surely reaches the target for these kinds of question."""
    good = [point for point in points if all(point.recall[kind].low >= target for kind in kinds)]
    return min(good, key=lambda point: point.p50_ms)


class _OutOfTime(Exception):
    pass


class _Bench:
    """The truth, and how indexes are held against it."""

    def __init__(self, corpus: Corpus, k: int, target: float, seed: int, scratch: str, deadline: float) -> None:
        self.corpus, self.k, self.target, self.seed = corpus, min(k, len(corpus.embeddings)), target, seed
        self.scratch, self.deadline = scratch, deadline
        self.truth: dict[str, IdArray] = {}
        self.params: dict[str, dict[str, Any]] = {}

    def measure(self, trial: Trial) -> Iterator[Point]:
        """Build one index and ask it everything in every way; ends early when even the cheapest refining suffices."""
        started, label = time.monotonic(), trial.name
        made = indexes.build(Setting(trial.kind, trial.build), self._blocks, *self.corpus.embeddings.vectors.shape)
        with open(os.path.join(self.scratch, label), "wb") as file:
            size = sum(file.write(chunk) for chunk in made.chunks)
        took, self.params[label] = time.monotonic() - started, made.params
        for search in trial.searches:
            self._require_time()
            most = {**search, "refine": max(trial.refines)} if trial.refines else search
            found = self._asked(self._open(Setting(trial.kind, trial.build, most)))
            reached: list[bool] = []
            for options in [{**search, "refine": refine} for refine in trial.refines] or [search]:
                recall = self._recall(found, options.get("refine", 1))
                reached.append(all(interval.low >= self.target for interval in recall.values()))
                setting = Setting(trial.kind, trial.build, options)
                yield Point(setting, took, size / len(self.corpus.embeddings), recall)
            if reached[0]:
                return

    def _blocks(self) -> Iterator[Embeddings]:
        ids, vectors = self.corpus.embeddings.ids, self.corpus.embeddings.vectors
        for start in range(0, len(ids), BLOCK):
            self._require_time()
            yield Embeddings(ids[start : start + BLOCK], vectors[start : start + BLOCK])

    def _require_time(self) -> None:
        if self.truth and time.monotonic() > self.deadline:
            raise _OutOfTime

    def _open(self, setting: Setting) -> VectorIndex:
        label, (rows, dim) = _label(setting.kind, setting.build), self.corpus.embeddings.vectors.shape
        params = {**self.params[label], **setting.search}
        return indexes.open_index(setting.kind, os.path.join(self.scratch, label), rows, dim, params)

    def _asked(self, index: VectorIndex) -> dict[str, IdArray]:
        """Candidates of every question, int64 ``(q, n)``, best first; places without one hold 0, which is no id."""
        count = spare(self.k) * index.spec.refine
        found = {}
        for kind, vectors in self.corpus.questions.items():
            if not index.spec.exact:
                found[kind] = index.search(vectors, count).ids
            else:
                found[kind] = index.search(vectors, self.k).ids
                self.truth.setdefault(kind, found[kind])
        return found

    def _recall(self, found: dict[str, IdArray], refine: int) -> dict[str, Interval]:
        """Means and 95 % intervals; the candidates of less refining are the first ones of more."""
        count, recall = spare(self.k) * refine, {}
        for kind, ids in found.items():
            shares = [np.isin(true, some[:count]).mean() for true, some in zip(self.truth[kind], ids, strict=True)]
            recall[kind] = bootstrap({"recall": np.array(shares)}, seed=self.seed)["recall"]
        return recall

    def timed(self, points: list[Point], deadline: float) -> list[Point]:
        """The same points with their latencies: one question at a time, all settings in turns, until the deadline."""
        opened = [self._open(point.setting) for point in points]
        took: list[list[float]] = [[] for _ in points]
        for index in opened:  # once for nothing: pages are read, thread pools started
            self._ask_once(index, 0)
        for number in range(ROUNDS):
            if number >= LEAST_ROUNDS and time.monotonic() > deadline:
                break
            for index, times in zip(opened, took, strict=True):
                times.append(self._ask_once(index, number))
        quantiles = np.percentile(np.array(took), (50, 95), axis=1).T.tolist()
        return [replace(point, p50_ms=p50, p95_ms=p95) for point, (p50, p95) in zip(points, quantiles, strict=True)]

    def _ask_once(self, index: VectorIndex, number: int) -> float:
        kinds = list(self.corpus.questions)
        vectors = self.corpus.questions[kinds[number % len(kinds)]]
        vector = vectors[number // len(kinds) % len(vectors)]
        started = time.perf_counter()
        nearest(index, vector[None], spare(self.k), None, self.corpus.stored)
        return 1000 * (time.perf_counter() - started)


def _useful(points: list[Point]) -> list[Point]:
    """Without those of one index that look at more than another one of it and find no more."""

    def beats(other: Point, point: Point) -> bool:
        less = all(other.setting.search[name] <= value for name, value in point.setting.search.items())
        finds = all(other.recall[kind].mean >= interval.mean for kind, interval in point.recall.items())
        return other is not point and less and finds

    return [point for point in points if not any(beats(other, point) for other in points)]


def _marked(points: list[Point]) -> list[Point]:
    """Points that no other one beats in latency, size and recall at once are the Pareto set."""

    def beats(other: Point, point: Point) -> bool:
        a, b = ((p.p50_ms, p.bytes_per_vector, -p.worst) for p in (other, point))
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return [replace(point, pareto=not any(beats(other, point) for other in points)) for point in points]


def _label(kind: str, options: dict[str, Any]) -> str:
    return " ".join([kind, *(f"{name}={value:g}" for name, value in options.items())])
