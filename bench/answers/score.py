"""Measures of a question's hits, their means with 95 % intervals by resampling questions, paired differences."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

RESAMPLES = 2000


def hit(paths: Sequence[str], right: Collection[str], k: int) -> float:
    """1 where one of the first ``k`` is right."""
    return float(any(path in right for path in paths[:k]))


def precision(paths: Sequence[str], right: Collection[str], k: int) -> float:
    """The share of the first ``k`` places, or of as many as can be right, that a right file has."""
    return sum(path in right for path in paths[:k]) / min(k, len(right))


def average_precision(paths: Sequence[str], right: Collection[str]) -> float:
    """Of the files that were found; files beyond them count as never found, unless more are right than were asked."""
    places = [place for place, path in enumerate(paths, 1) if path in right]
    found = sum(count / place for count, place in enumerate(places, 1))
    return found / min(len(right), max(len(paths), 1))


def interval(values: Sequence[float], scale: float = 100, digits: int = 1) -> list[float]:
    """Mean, and the ends of its 95 % interval over questions drawn again; ``scale`` 100 for percent."""
    numbers = np.asarray(values, float)
    if not len(numbers):
        return [0.0, 0.0, 0.0]
    draws = np.random.default_rng(0).integers(0, len(numbers), (RESAMPLES, len(numbers)))
    low, high = np.quantile(numbers[draws].mean(axis=1), (0.025, 0.975))
    return [round(scale * float(value), digits) for value in (numbers.mean(), low, high)]


def area(present: Sequence[float], absent: Sequence[float]) -> float:
    """How often a present one beats an absent one, ties counted half: the area under the ROC curve."""
    one, other = np.asarray(present, float)[:, None], np.asarray(absent, float)
    return float((one > other).mean() + (one == other).mean() / 2)
