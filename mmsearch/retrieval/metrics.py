"""What "good answers" means: one definition a measure, each with its source. Pure functions of ranked gains.

Queries and documents are numbered from 0. A run is int64 ``(q, depth)``: the documents of each query, best first,
padded with -1; ``Qrels`` says which are right. ``Qrels.gains`` turns a run into float64 ``(q, depth)`` gains, 0 for a
wrong document, and every measure maps those to one number a query, float64 ``(q,)``. Nothing is larger than the run.

A query without results has gains of 0 everywhere: it is a miss, and stays in every mean.

Mind the names: ``hit`` is what papers on CLIP print as "R@k" (Success@k in ir_measures); ``recall`` is the share of all
right documents that were found. They are equal only where a query has one right document.

Sources: Manning, Raghavan, Schuetze, "Introduction to Information Retrieval" (2008), chapter 8 [IIR]; Jarvelin and
Kekalainen, "Cumulated gain-based evaluation of IR techniques", TOIS 20 (2002) [JK]; trec_eval 9 for cut-offs and
missing queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.types import FloatArray, IdArray

Values: TypeAlias = npt.NDArray[np.float64]

KS = (1, 5, 10)
BLOCK = 1024
"""Queries measured at a time: with 5,000 documents, 20 MB of scores."""
BINS = 400
"""Of a histogram of scores: each is 0.005 wide."""


@dataclass(frozen=True, eq=False)  # no slots: the cached properties need a place
class Qrels:
    """Which documents are right: pairs of query and document, int64 ``(p,)`` each, with gains float64 ``(p,)``.

    Of a pair that occurs twice, the greatest gain counts. Gains of 0 and less are "judged, and wrong": dropped.
    """

    query: IdArray
    document: IdArray
    gain: Values
    queries: int

    @classmethod
    def of(cls, pairs: Sequence[tuple[int, int, float]], queries: int) -> Qrels:
        """From (query, document, gain) in any order."""
        right = [pair for pair in pairs if pair[2] > 0]
        query = np.array([pair[0] for pair in right], np.int64)
        document = np.array([pair[1] for pair in right], np.int64)
        gain = np.array([pair[2] for pair in right], np.float64)
        order = np.lexsort((-gain, document, query))
        query, document, gain = query[order], document[order], gain[order]
        first = np.ones(len(query), bool)
        first[1:] = (query[1:] != query[:-1]) | (document[1:] != document[:-1])
        return cls(query[first], document[first], gain[first], queries)

    @cached_property
    def totals(self) -> IdArray:
        """How many documents are right, int64 ``(q,)``."""
        return np.bincount(self.query, minlength=self.queries).astype(np.int64)

    @cached_property
    def starts(self) -> IdArray:
        """Where each query's pairs begin, int64 ``(q + 1,)``."""
        return np.concatenate([[0], np.cumsum(self.totals)]).astype(np.int64)

    def gains(self, run: IdArray) -> Values:
        """The gain of every document of a run, float64 ``(q, depth)``; 0 where it is wrong or padding."""
        if not len(self.query):
            return np.zeros(run.shape)
        width = int(max(run.max(initial=0), self.document.max())) + 2
        known = self.query * width + self.document
        asked = np.arange(len(run))[:, None] * width + np.where(run < 0, width - 1, run)
        place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
        return np.where(known[place] == asked, self.gain[place], 0.0)

    def ideal(self, depth: int) -> Values:
        """The greatest gains that a run of this depth could have, best first, float64 ``(q, depth)``."""
        best = np.zeros((self.queries, depth))
        order = np.lexsort((-self.gain, self.query))
        place = np.arange(len(order)) - self.starts[self.query[order]]
        inside = place < depth
        best[self.query[order][inside], place[inside]] = self.gain[order][inside]
        return best


def hit(gains: Values, k: int) -> Values:
    """1 where any right document is among the first k: Success@k; "R@k" of Radford et al. (2021) and CLIP_benchmark."""
    return np.asarray((gains[:, :k] > 0).any(axis=1), np.float64)


def recall(gains: Values, totals: IdArray, k: int) -> Values:
    """The share of the right documents that are among the first k [IIR 8.3]."""
    return np.asarray((gains[:, :k] > 0).sum(axis=1) / np.maximum(totals, 1))


def precision(gains: Values, k: int) -> Values:
    """The share of the first k that is right; a run shorter than k is filled up with wrong ones [IIR 8.4]."""
    return np.asarray((gains[:, :k] > 0).sum(axis=1) / k)


def average_precision(gains: Values, totals: IdArray, k: int) -> Values:
    """AP@k: precision at each right one of the first k, over *all* right documents (trec_eval's map_cut) [IIR 8.4]."""
    right = gains[:, :k] > 0
    at = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    return np.asarray((at * right).sum(axis=1) / np.maximum(totals, 1))


def ndcg(gains: Values, ideal: Values, k: int) -> Values:
    """nDCG@k: gains over log2(rank + 1), beside those of the best order [JK]. Gains are linear, as in trec_eval."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ours, best = gains[:, :k] @ discounts[: gains.shape[1]], ideal[:, :k] @ discounts[: ideal.shape[1]]
    return np.divide(ours, best, out=np.zeros_like(ours), where=best > 0)


def first_rank(gains: Values) -> Values:
    """The rank, from 1, of the first right document; infinite for a miss."""
    right = gains > 0
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1.0, np.inf)


def reciprocal_rank(gains: Values) -> Values:
    """1 over the rank of the first right document, 0 for a miss; its mean is MRR (Voorhees, TREC-8, 1999)."""
    return np.asarray(1 / first_rank(gains))


def measure(run: IdArray, qrels: Qrels, ks: Sequence[int] = KS) -> dict[str, Values]:
    """Every measure of a run int64 ``(q, depth)`` by name, one value a query; ``AP@k`` for each k, mean it for mAP."""
    names = [f"{name}@{k}" for k in ks for name in ("hit", "recall", "precision", "AP", "nDCG")]
    values = {name: np.empty(len(run)) for name in [*names, "RR"]}
    ideal = qrels.ideal(max(ks))
    for start in range(0, len(run), BLOCK):
        rows = slice(start, start + BLOCK)
        gains, totals = _rows_of(qrels, run, rows), qrels.totals[rows]
        for k in ks:
            values[f"hit@{k}"][rows] = hit(gains, k)
            values[f"recall@{k}"][rows] = recall(gains, totals, k)
            values[f"precision@{k}"][rows] = precision(gains, k)
            values[f"AP@{k}"][rows] = average_precision(gains, totals, k)
            values[f"nDCG@{k}"][rows] = ndcg(gains, ideal[rows], k)
        values["RR"][rows] = reciprocal_rank(gains)
    return values


def _rows_of(qrels: Qrels, run: IdArray, rows: slice) -> Values:
    first, last = np.searchsorted(qrels.query, (rows.start, rows.stop))
    part = slice(int(first), int(last))
    block = run[rows]
    return Qrels(qrels.query[part] - rows.start, qrels.document[part], qrels.gain[part], len(block)).gains(block)


def mean_per_class_recall(right: Values, labels: IdArray) -> float:
    """The mean over classes of the share of a class's items that were named right: ``hit@1`` as ``right``.

    It is accuracy with every class counted alike (scikit-learn's balanced accuracy; CLIP_benchmark's key of this name).
    """
    _, numbers, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return float(np.mean(np.bincount(numbers, weights=right) / sizes))


def f1(matches_above: float, others_above: float, matches: float) -> float:
    """F1 of "score at or above the cut" as a yes, from counts of pairs [IIR 8.3]."""
    return 2 * matches_above / (matches_above + others_above + matches) if matches else 0.0


@dataclass(frozen=True, slots=True)
class Scores:
    """What the scores of *all* pairs say, whatever an index found: made block by block by ``score_all``."""

    ranks: Values
    """The rank of each query's first right document, from 1; ties go against it. A miss has rank documents + 1."""
    nearest: IdArray
    """The first documents of each query by exact scores, int64 ``(q, depth)``."""
    edges: Values
    matches: IdArray
    """Pairs that are right, counted by score into the bins between ``edges``."""
    others: IdArray
    pairs: int
    """How many pairs are right, those with documents that could not be indexed among them."""

    def best_f1(self) -> tuple[float, float]:
        """The greatest F1 over all pairs that a cut can give, and that cut."""
        found, wrong = self.matches[::-1].cumsum()[::-1], self.others[::-1].cumsum()[::-1]
        values = [f1(float(a), float(b), self.pairs) for a, b in zip(found, wrong, strict=True)]
        best = int(np.argmax(values))
        return values[best], float(self.edges[best])


def score_all(
    queries: FloatArray,
    documents: FloatArray,
    owners: IdArray,
    qrels: Qrels,
    depth: int = 10,
) -> Scores:
    """Score every query against every document, one block of queries in memory at a time.

    ``documents`` float32 ``(s, d)`` are segments; ``owners`` int64 ``(s,)``, ascending, says whose; a document scores
    by its best segment. ``queries`` float32 ``(q, d)``; a zero row is a question that could not be encoded: a miss.
    """
    numbers, starts = np.unique(owners, return_index=True)
    ranks = np.full(len(queries), len(numbers) + 1.0)
    nearest = np.full((len(queries), depth), -1, np.int64)
    matches, everything = np.zeros(BINS, np.int64), np.zeros(BINS, np.int64)
    for start in range(0, len(queries) if len(numbers) else 0, BLOCK):
        rows = slice(start, min(start + BLOCK, len(queries)))
        scores = queries[rows] @ documents.T
        if len(starts) < len(owners):
            scores = np.maximum.reduceat(scores, starts, axis=1)
        everything += _counted(scores)
        nearest[rows, : scores.shape[1]] = numbers[_first(scores, depth)]
        query, column = _right_pairs(qrels, rows, numbers)
        matches += _counted(scores[query, column])
        found = exact_ranks(scores, query, column)
        ranks[rows] = np.where(queries[rows].any(axis=1) & np.isfinite(found), found, ranks[rows])
    edges, others = np.linspace(-1, 1, BINS + 1), everything - matches
    return Scores(ranks, nearest, edges, matches, others, len(qrels.query))


def _right_pairs(qrels: Qrels, rows: slice, numbers: IdArray) -> tuple[IdArray, IdArray]:
    """Row and column in a block of scores of every right pair whose document is there."""
    pairs = slice(int(qrels.starts[rows.start]), int(qrels.starts[rows.stop]))
    query, column = qrels.query[pairs] - rows.start, np.searchsorted(numbers, qrels.document[pairs])
    there = numbers[np.minimum(column, len(numbers) - 1)] == qrels.document[pairs]
    return query[there], column[there]


def ranks_in(run: IdArray, qrels: Qrels) -> Values:
    """The rank, from 1, of each query's first right document in a run int64 ``(q, depth)``; depth + 1 without one."""
    ranks = np.full(len(run), run.shape[1] + 1.0)
    for row in range(len(run)):
        right = np.isin(run[row], qrels.document[int(qrels.starts[row]) : int(qrels.starts[row + 1])])
        if right.any():
            ranks[row] = 1 + int(np.argmax(right))
    return ranks


def exact_ranks(scores: FloatArray, query: IdArray, column: IdArray) -> Values:
    """The rank, from 1, of each row's best right column, ties against it; infinite without one.

    ``scores`` float32 ``(q, n)``; ``query`` and ``column`` int64 ``(p,)`` say which are right.
    """
    best = np.full(len(scores), -np.inf, np.float32)
    right = scores[query, column]
    np.maximum.at(best, query, right)
    ahead = (scores >= best[:, None]).sum(axis=1)
    own = np.bincount(query[right >= best[query]], minlength=len(scores))
    return np.where(np.isfinite(best), 1.0 + ahead - own, np.inf)


def _first(scores: FloatArray, depth: int) -> IdArray:
    """Columns of the greatest scores, best first, ties by smaller column, int64 ``(q, min(depth, n))``."""
    depth = min(depth, scores.shape[1])
    some = np.sort(np.argpartition(-scores, depth - 1, axis=1)[:, :depth], axis=1)
    order = np.argsort(-np.take_along_axis(scores, some, axis=1), axis=1, kind="stable")
    return np.take_along_axis(some, order, axis=1).astype(np.int64)


def _counted(scores: FloatArray) -> IdArray:
    """Scores in [-1, 1], counted into ``BINS`` bins of equal width."""
    bins = ((scores.ravel() + np.float32(1)) * np.float32(BINS / 2)).astype(np.int32)
    return np.bincount(np.clip(bins, 0, BINS - 1, out=bins), minlength=BINS).astype(np.int64)
