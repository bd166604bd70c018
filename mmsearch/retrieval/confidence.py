"""How likely a hit shows what was asked: what it says of the question beside two thousand other words.

A cosine means little by itself. A hit is trusted as far as the question's words stand out of what other words score
against it, ``t``, in units of their deviation; a long question also has to stand out of its own level against the whole
library, a single word has not, as a fifth of a library, or all of it, may show that:

    t = (q.v - mean(w.v) - (1 - 1/n) (q.mu - mean(w).mu)) / deviation(w.v)

Words that mean nearly the same as the question are left out. docs/figures/answers.md has the figures, and says what
they do not say.
"""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.retrieval.evidence import Evidence, Match
from mmsearch.retrieval.scale import Question, Scale
from mmsearch.types import FloatArray, Modality

Values: TypeAlias = npt.NDArray[np.float64]

ALIKE = 0.5
"""The cosine from which a word of the bank says the same as the question."""
FEWEST = 100
"""So few words of the bank left, and all are taken."""
EVEN, STEP = 6.11, 0.42
"""For a question that is no words: the excess, in spreads of a random direction, that is as likely right as not."""


UNSEEN = 1.0
"""What a single word has less ahead for a sound or a text, where it is near many things that it does not name."""


FITTED_ON = 2000
"""Files of the libraries that the constants come from."""
BY_CHANCE = 0.4
"""What each e-fold more files takes off the logit: the best of many is near by chance. A tenfold library takes 0.9."""


class Fit(NamedTuple):
    """The logistic function of ``t``: its slope, what a single word has ahead, its start; from `bench.confidence`."""

    slope: float
    terse: float
    start: float


FITS: dict[str, Fit] = {"mini": Fit(1.6, 3.05, -10.5)}
"""By model."""
GUESS = FITS["mini"]
"""For models without labels to fit with: ``t`` has no unit."""


class Confidence:
    """How sure hits are in one space of a library of so many files."""

    def __init__(self, scale: Scale, model: str, files: int = 0) -> None:
        self._scale, self._fit = scale, FITS.get(model, GUESS)
        self._chance = BY_CHANCE * math.log(max(files, FITTED_ON) / FITTED_ON)

    def meaning(self, question: Question, kind: Modality, vectors: FloatArray) -> Values:
        """0 to 1 for unit rows float32 ``(n, dim)`` of a kind, float64 ``(n,)``, by the vectors alone."""
        if self._scale.bank is None or question.words is None:
            logit = (self._excess(question, kind, vectors) - EVEN) / STEP
        else:
            fit, terse = self._fit, question.terseness
            ahead = fit.terse - (UNSEEN if kind is not Modality.IMAGE else 0.0)
            logit = fit.slope * self.stands_out(question, kind, vectors) + ahead * terse + fit.start - self._chance
        sure: Values = 1 / (1 + np.exp(-np.clip(logit, -50, 50)))
        return sure

    def stands_out(self, question: Question, kind: Modality, vectors: FloatArray) -> Values:
        """``t`` of unit rows float32 ``(n, dim)``, float64 ``(n,)``."""
        assert self._scale.bank is not None
        words, q, mean = self._scale.bank.words, question.vector, self._scale.level(kind).mean
        others = words @ q < ALIKE
        if others.sum() < FEWEST:
            others[:] = True
        scores = (words @ vectors.T)[others]  # not words[others] @ ...: that would copy them
        level = (1 - question.terseness) * float(q @ mean - (words @ mean)[others].mean())
        above = (vectors @ q - scores.mean(axis=0) - level) / np.maximum(scores.std(axis=0), 1e-6)
        t: Values = above.astype(np.float64)
        return t

    def _excess(self, question: Question, kind: Modality, vectors: FloatArray) -> Values:
        mean = self._scale.level(kind).mean
        spread = math.sqrt(max(1 - float(mean @ mean), 1e-6) / len(mean))
        excess = (vectors @ question.vector - mean @ question.vector) / np.float32(spread)
        values: Values = excess.astype(np.float64)
        return values


def by_words(evidence: Evidence, match: Match) -> float:
    """0 to 1, by the words in name, caption and text; a folder is called after what most of it shows, never surely."""
    if match.whole or evidence.has_all(match):
        return 1.0
    return evidence.coverage(match)[0] ** 3


def either(meaning: float, words: float) -> float:
    """What two independent signs say together."""
    return 1 - (1 - meaning) * (1 - words)
