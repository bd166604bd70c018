"""A yardstick that every encoder of text can make: a bank of common words, as vectors.

Against it the rules of `retrieval` measure a question, a file and a kind of media, without a label and without a
constant of any one model: how near a file lies to words at large, and how far a word without any meaning for it strays.
It takes a second or two to encode, so it is kept in the library and in this machine's cache.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np

from mmsearch.encoders import known
from mmsearch.types import Encoder, FloatArray, Modality

COMMON = 1000
"""The first so many words are the commonest of everyday captions; names of things follow."""
PROSE = 500
"""Sentences that say what an encoder makes of texts, before a library has many."""
AT_ONCE = 256
VERSION = 1
"""Raise it with any change of the words or of what is made of them."""


@dataclass(frozen=True, slots=True)
class Level:
    """Where a kind of media lies: its mean vector float32 ``(dim,)``, and the deviation of bank words against it.

    ``trust``, 0 to 1: how far the mean tells of its kind; that of a lone file tells only of this file.
    """

    mean: FloatArray
    spread: float
    trust: float = 1.0


@dataclass(frozen=True)
class Bank:
    """The bank's words as questions, unit rows float32 ``(n, dim)``, and where the encoder itself puts its media."""

    words: FloatArray
    own: Mapping[Modality, Level] = field(default_factory=dict)

    @cached_property
    def mean(self) -> FloatArray:
        """Of the common words, float32 ``(dim,)``: what nears it is near everything."""
        mean: FloatArray = self.words[:COMMON].mean(axis=0)
        return mean

    def spread(self, vectors: FloatArray) -> float:
        """The deviation of the common words' scores against unit rows float32 ``(n, dim)``, averaged over the rows."""
        return float((self.words[:COMMON] @ vectors.T).std(axis=0).mean())

    def to_bytes(self) -> bytes:
        """A line of JSON, then the rows in float16."""
        spreads = {str(modality): level.spread for modality, level in self.own.items()}
        head = {"version": VERSION, "dim": self.words.shape[1], "own": spreads}
        rows = np.concatenate([self.words, *(level.mean[None] for level in self.own.values())])
        return json.dumps(head).encode() + b"\n" + rows.astype("<f2").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Bank | None:
        """None for what another version wrote, or is damaged."""
        line, _, rest = data.partition(b"\n")
        try:
            head = json.loads(line)
            rows = np.frombuffer(rest, "<f2").reshape(-1, head["dim"]).astype(np.float32)
            spreads = {Modality(name): float(spread) for name, spread in head["own"].items()}
        except (ValueError, KeyError, TypeError):
            return None
        count = len(rows) - len(spreads)
        if head["version"] != VERSION or count < COMMON or not np.isfinite(rows).all():
            return None
        own = {modality: Level(rows[count + i], spread) for i, (modality, spread) in enumerate(spreads.items())}
        return cls(rows[:count], own)


def bank_of(encoder: Encoder) -> Bank:
    """The bank of an encoder of text: its own, or from this machine's cache, else made and kept there."""
    if (own := getattr(encoder, "bank", lambda: None)()) is not None:
        return cast(Bank, own)
    path = os.path.join(known.cache_folder(), "bank", f"{encoder.spec.space}.{VERSION}")
    try:
        with open(path, "rb") as file:
            kept = Bank.from_bytes(file.read())
    except OSError:
        kept = None
    if kept is None:
        kept = make(encoder)
        _keep(path, kept.to_bytes())
    return kept


def make(encoder: Encoder) -> Bank:
    """Encode the words as questions, and the sentences as documents."""
    from mmsearch.encoders.sentences import sentences

    ask = getattr(encoder, "encode_query", encoder.encode)
    bank = Bank(_encoded(ask, bank_words()))
    # Evenly taken: neighbours in the list are of one pattern.
    every = sentences()
    texts = [*bank_words()[:COMMON], *every[:: max(1, len(every) // PROSE)][:PROSE]]
    prose = _encoded(encoder.encode, texts)
    own = {Modality.TEXT: Level(prose.mean(axis=0), bank.spread(prose[COMMON:]))}
    # Through bytes: what is kept and what was just made must answer alike.
    kept = Bank.from_bytes(Bank(bank.words, own).to_bytes())
    assert kept is not None
    return kept


def bank_words() -> list[str]:
    """The words of the bank, the common ones first."""
    with open(os.path.join(os.path.dirname(__file__), "bank.txt"), encoding="utf-8") as file:
        return [line.strip() for line in file if not line.startswith("#")]


def _encoded(encode: Callable[[list[str], Modality], FloatArray], texts: list[str]) -> FloatArray:
    parts = [encode(texts[start : start + AT_ONCE], Modality.TEXT) for start in range(0, len(texts), AT_ONCE)]
    return np.concatenate(parts)


def _keep(path: str, data: bytes) -> None:
    """A cache that can't be written costs the time to make it again, and nothing else."""
    newborn = f"{path}.tmp-{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(newborn, "wb") as file:
            file.write(data)
        os.replace(newborn, path)
    except OSError:
        return
