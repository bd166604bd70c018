"""One scale for all kinds of media: how far a file stands out of its kind, and out of what any words score against it.

Raw cosines don't compare: a model puts texts nearer to words than pictures, a list of nouns nearer than a letter, and a
picture of everything nearer than one of something. For a question ``q`` and a segment ``v`` of a kind with mean ``mu``
and spread ``s``, with ``m`` the mean of the word bank and ``n`` the question's telling words:

    pictures       z = (q.v - q.mu - (m.v - m.mu) / n^2) / s
    sounds, texts  z = (q.v - q.mu - max(0, m.v - m.mu)) / s   and for texts - 1.5 / n^2

The bank, the means and the spreads are measured (`encoders.bank`, `store.levels`), so nothing here is fitted to a
model. docs/figures/answers.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmsearch.encoders.bank import Bank, Level, bank_of
from mmsearch.store.levels import KINDS, bank_in, kind_of, levels
from mmsearch.store.reader import HOLDS, Reader, Space
from mmsearch.types import Encoder, FloatArray, Modality

TEXT_PENALTY = 1.5
"""In spreads, for a question of one word: a text that is near it need not show it."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A unit vector float32 ``(dim,)``; ``words``: how many telling words it stands for, None for a file or a sum."""

    vector: FloatArray
    words: int | None = None

    @property
    def terseness(self) -> float:
        """1 for a single word, towards 0 for a sentence; 0 for what is no words."""
        return 1 / max(1, self.words) if self.words is not None else 0.0


@dataclass(frozen=True, slots=True)
class Aim:
    """A linear function of a vector that no ``z`` is above: ``factor * (vector . v) + offset``."""

    vector: FloatArray
    factor: float
    offset: float


class Scale:
    """The scale of one space. Without a bank (of an encoder that takes no words) ``z`` is the cosine."""

    def __init__(self, bank: Bank | None, levels: dict[Modality, Level], dim: int) -> None:
        self.bank = bank
        self._mean = np.zeros(dim, np.float32) if bank is None else bank.mean
        self._levels = levels
        self._unknown = Level(np.zeros(dim, np.float32), 1.0)

    def level(self, kind: Modality) -> Level:
        return self._levels.get(kind, self._unknown)

    def aim(self, question: Question, kind: Modality) -> Aim:
        """What to ask an index for: the best by this are the best by ``z``, or come soon after."""
        level, hub = self.level(kind), self._hub(question, kind)
        direction = question.vector - np.float32(hub) * self._mean
        length = max(float(np.linalg.norm(direction)), 1e-6)
        base = self._base(question, level) - hub * float(self._mean @ level.mean)
        offset = -base / level.spread - self._penalty(question, kind)
        return Aim((direction / np.float32(length)).astype(np.float32), length / level.spread, offset)

    def z(self, question: Question, kind: Modality, vectors: FloatArray) -> FloatArray:
        """``z`` of unit rows float32 ``(n, dim)``, float32 ``(n,)``."""
        level, q = self.level(kind), question.vector
        excess: FloatArray = vectors @ q - np.float32(self._base(question, level))
        near_all = vectors @ self._mean - self._mean @ level.mean
        if kind is not Modality.IMAGE:
            near_all = np.maximum(near_all, np.float32(0))
        z = (excess - self._hub(question, kind) * near_all) / level.spread - self._penalty(question, kind)
        return np.asarray(z, np.float32)

    def _base(self, question: Question, level: Level) -> float:
        """What the question scores against the kind: as its mean says, and as far as that tells little, as any word."""
        return float(level.trust * question.vector @ level.mean + (1 - level.trust) * self._mean @ level.mean)

    def _hub(self, question: Question, kind: Modality) -> float:
        """How much of the nearness to all words is taken away."""
        if question.words is None:
            return 0.0
        return question.terseness**2 if kind is Modality.IMAGE else 1.0

    def _penalty(self, question: Question, kind: Modality) -> float:
        return TEXT_PENALTY * question.terseness**2 if kind is Modality.TEXT else 0.0


def scale_of(reader: Reader, space: Space, encoder: Callable[[], Encoder]) -> Scale:
    """The scale of a space: with the bank that was kept beside its vectors, else with the encoder's."""

    def read() -> Scale:
        bank = bank_in(reader, space)
        if bank is None and Modality.TEXT in encoder().spec.modalities:
            bank = bank_of(encoder())
        return Scale(bank, {} if bank is None else levels(reader, space, bank), space.dim)

    return reader.remembered(("scale", space.id), read)


def kinds_of(reader: Reader, space: Space) -> list[Modality]:
    """The kinds of media that a space has vectors of."""
    noted = reader.setting(f"{HOLDS}{space.id}")
    if not noted:
        return list(KINDS)
    held = {kind_of(Modality(name)) for name in noted.split(",")}
    return [kind for kind in KINDS if kind in held]
