"""How sure a mean is: percentile bootstrap intervals, and a paired permutation test between two runs.

Queries that belong together (the five captions of one photo) rise and fall together, so it is groups that are drawn,
not queries: drawing captions would promise intervals that are too narrow. Both are reproducible by their seed.

Sources: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13; Smucker, Allan and Carterette, "A
comparison of statistical significance tests for information retrieval evaluation", CIKM 2007 (the randomisation test).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mmsearch.retrieval.metrics import Values
from mmsearch.types import IdArray

RESAMPLES = 1000
FLIPS = 10_000


class Interval(NamedTuple):
    """A mean, and the percentiles between which 95 % of the means of resamples lie."""

    mean: float
    low: float
    high: float


class Difference(NamedTuple):
    """The mean of ``b - a``, and how often chance alone makes one at least as large (two-sided)."""

    mean: float
    p: float


def bootstrap(
    values: dict[str, Values], groups: IdArray | None = None, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """95 % percentile intervals of the means of some measures, float64 ``(q,)`` each, from the same resamples.

    ``groups`` int64 ``(q,)`` numbers what is drawn together; None: every query alone.
    """
    names = list(values)
    table = np.stack([values[name] for name in names], axis=1)
    if not len(table):
        return {name: Interval(0.0, 0.0, 0.0) for name in names}
    sums, sizes = _grouped(table, groups)
    draw = np.random.default_rng(seed)
    means = np.empty((resamples, len(names)))
    for i in range(resamples):
        weights = np.bincount(draw.integers(len(sums), size=len(sums)), minlength=len(sums))
        means[i] = weights @ sums / (weights @ sizes)
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    whole = table.mean(axis=0)
    return {name: Interval(float(whole[i]), float(low[i]), float(high[i])) for i, name in enumerate(names)}


def permutation_test(
    a: Values, b: Values, groups: IdArray | None = None, *, flips: int = FLIPS, seed: int = 0
) -> Difference:
    """Whether two runs over the same queries differ: the signs of paired differences flipped at random.

    ``p`` counts the observed assignment as one of the flips, so it is never 0.
    """
    sums, _ = _grouped((b - a)[:, None], groups)
    differences, count = sums[:, 0], max(len(a), 1)
    observed = abs(differences.sum())
    draw = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, flips, 100):  # 100 at a time: 25,000 queries are 2.5 MB of signs
        signs = draw.integers(0, 2, size=(min(100, flips - start), len(differences)), dtype=np.int8) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= observed - 1e-9).sum())
    return Difference(float(differences.sum() / count), (extreme + 1) / (flips + 1))


def _grouped(table: Values, groups: IdArray | None) -> tuple[Values, Values]:
    """Sums float64 ``(g, m)`` and sizes float64 ``(g,)`` of the groups of rows."""
    if groups is None:
        return table, np.ones(len(table))
    _, number = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(number, weights=column) for column in table.T], axis=1).astype(np.float64)
    return sums, np.bincount(number).astype(np.float64)
