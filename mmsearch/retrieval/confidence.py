"""How far a score stands out of what the question scores against the library at large.

A cosine means little by itself: each question has its own level against everything. What counts is the ``excess`` over
that level, measured on a sample of the library's own vectors, in units of the spread that a question without any
meaning would have. `docs/questions.md` has the figures, and what they do not say.
"""

from __future__ import annotations

import numpy as np

from mmsearch.types import FloatArray

SAMPLE = 512
FEWEST = 30
"""Below this many vectors a level can't be told."""

EVEN, STEP = 6.11, 0.42
"""The excess at which a hit is as likely there as not, and how fast that changes; `bench.confidence` fits them."""


class Background:
    """What a sample of a space, float32 ``(n, dim)``, says of any question's level."""

    def __init__(self, sample: FloatArray) -> None:
        self._tells = len(sample) >= FEWEST
        self._mean = sample.mean(axis=0) if len(sample) else np.zeros(sample.shape[1], np.float32)
        # The variance in a direction, averaged over all directions: every vector has length 1.
        self._spread = float(np.sqrt(max(1 - float(self._mean @ self._mean), 1e-6) / sample.shape[1]))

    def confidence(self, vector: FloatArray, score: float) -> float | None:
        """0 to 1 for a hit of this score; None where the library is too small to tell."""
        excess = self.excess(vector, score)
        return None if excess is None else float(1 / (1 + np.exp(-(excess - EVEN) / STEP)))

    def cuts(self, vectors: FloatArray) -> FloatArray | None:
        """The scores float32 ``(q,)`` that have a confidence of one half for float32 ``(q, dim)`` questions."""
        return vectors @ self._mean + np.float32(EVEN * self._spread) if self._tells else None

    def excess(self, vector: FloatArray, score: float) -> float | None:
        """How many spreads a score lies above the mean of the question's scores against the sample."""
        return (score - float(self._mean @ vector)) / self._spread if self._tells else None
