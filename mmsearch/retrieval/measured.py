"""What was measured: one direction of questions with its answers and figures, and the report over all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np

from mmsearch.retrieval.datasets.base import Dataset
from mmsearch.retrieval.metrics import KS, Qrels, Scores, Values, f1, mean_per_class_recall, measure, ranks_in
from mmsearch.retrieval.significance import Interval, bootstrap
from mmsearch.types import FloatArray, IdArray, Modality


class Sure(NamedTuple):
    """Of the questions that were asked again: right and wrong hits of confidence 0.5 or more, and all right answers."""

    right: int
    wrong: int
    wanted: int


@dataclass(frozen=True)
class Direction:
    """One direction, asked and measured: ``source`` finds ``target``."""

    source: Modality
    target: Modality
    queries: list[str]
    """Names of the questions."""
    asked: list[str]
    """What they said: a text, or a file's name."""
    documents: list[str]
    """Names of what was searched, by number."""
    run: IdArray
    """Documents of each question, best first, int64 ``(q, depth)``, padded with -1."""
    scores: FloatArray
    """Their scores, float32 ``(q, depth)``."""
    qrels: Qrels
    exact: Scores
    labels: IdArray | None = None
    """The class of each question, in a set of classes."""
    seed: int = 0
    sure: Sure | None = None
    by_cosine: bool = True
    """Whether the answers were ordered by what ``exact`` has."""

    @property
    def name(self) -> str:
        return f"{self.source}-to-{self.target}"

    @cached_property
    def values(self) -> dict[str, Values]:
        """Every measure, one value a question."""
        return measure(self.run, self.qrels)

    @cached_property
    def ranks(self) -> Values:
        """The rank of each question's first right answer, one more than the depth where it is not among the answers."""
        if self.by_cosine:
            return self.exact.ranks
        return ranks_in(self.run, self.qrels)

    @cached_property
    def groups(self) -> IdArray:
        """Questions about the same document belong together."""
        return self.qrels.document[np.minimum(self.qrels.starts[:-1], max(len(self.qrels.document) - 1, 0))]

    @cached_property
    def figures(self) -> dict[str, Interval]:
        """The means, with their 95 % intervals."""
        return bootstrap(self.values, self.groups, seed=self.seed)

    def more(self) -> dict[str, float]:
        """What has no value a question: ranks by exact scores, F1 at cuts, what the index lost, classes."""
        more = {"median rank": float(np.median(self.ranks))}
        if self.by_cosine:
            best, cut = self.exact.best_f1()
            more |= {
                "mean rank": float(np.mean(self.exact.ranks)),
                "best F1": best,
                "cut of best F1": cut,
                "index recall@10": _agreement(self.run[:, :10], self.exact.nearest[:, :10]),
            }
        if self.sure is not None:
            more["F1 at confidence 0.5"] = f1(*self.sure)
        if self.labels is not None:
            more["mean per-class recall"] = mean_per_class_recall(self.values["hit@1"], self.labels)
        return more


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, on what, with what."""

    dataset: Dataset
    directions: list[Direction]
    facts: dict[str, object]
    notes: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Every mean by a flat name: CLIP_benchmark's (``image_retrieval_recall@5``, ``acc1``), and ours.

        Ours begin with the direction. Theirs are hit@k; ``text_retrieval_recall`` is from photos, if there are photos.
        """
        flat: dict[str, float] = {}
        for direction in self.directions:
            means = {name: interval.mean for name, interval in direction.figures.items()} | direction.more()
            flat |= {f"{direction.name}/{name}": value for name, value in means.items()}
            for k in KS:
                flat.setdefault(f"{direction.target}_retrieval_recall@{k}", means[f"hit@{k}"])
            if direction.labels is not None and direction.target is Modality.TEXT:
                flat.setdefault("acc1", means["hit@1"])
                flat.setdefault("acc5", means["hit@5"])
                flat.setdefault("mean_per_class_recall", means["mean per-class recall"])
        return flat


def _agreement(run: IdArray, exact: IdArray) -> float:
    """The share of the exact nearest that the index found too."""
    there = exact >= 0
    found = (exact[:, :, None] == run[:, None, :]).any(axis=2) & there
    return float(found.sum() / max(there.sum(), 1))
