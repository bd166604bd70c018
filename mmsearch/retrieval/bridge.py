"""Fit the map of a bridge: from the words of an audio-text model to the words of an image-text model.

Both text towers read the same sentences, so no sound and no picture is needed, let alone pairs of them (C-MCR: Wang et
al., "Connecting Multi-modal Contrastive Representations", NeurIPS 2023; as in its successor Ex-MCR, NeurIPS 2024, one
space stays as it is and the other is carried into it). C-MCR trains small networks on vectors with noise; for a linear
map, noise is a ridge (Bishop, "Training with noise is equivalent to Tikhonov regularization", 1995), which has a
closed form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mmsearch.encoders.bridge import Bridge, unit
from mmsearch.errors import EncoderError, UsageError
from mmsearch.types import Encoder, FloatArray, Modality

FEWEST = 200
"""Sentences without which there is nothing to fit."""
FEWEST_PHOTOS = 20
"""With fewer, words stand in for them: a handful says nothing of where photos lie."""
RIDGES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0)
"""Shares of the mean variance; the one that carries unseen sentences best is taken."""
HELD_OUT = 0.2
LEAST_HIT = 0.05
_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Fit:
    """How well words were carried: of ``tested`` unseen sentences, the share ``hit1`` found itself first."""

    sentences: int
    tested: int
    hit1: float
    ridge: float


def fit(image: Encoder, audio: Encoder, sentences: Sequence[str], photos: FloatArray) -> tuple[Bridge, Fit]:
    """The bridge from ``audio``'s space to ``image``'s.

    ``photos`` float32 ``(n, dim)`` are vectors of some photos, for their mean and spread alone. Raises ``UsageError``
    for models that lack a modality and for too few sentences, ``EncoderError`` if the words of one can't be carried to
    the other: then there is no bridge.
    """
    for encoder, needed in ((image, {Modality.IMAGE, Modality.TEXT}), (audio, {Modality.AUDIO, Modality.TEXT})):
        if lacking := needed - encoder.spec.modalities:
            raise UsageError(f"{encoder.spec.name} can't encode {' or '.join(sorted(lacking))}: choose another model")
    sentences = list(dict.fromkeys(sentences))
    if len(sentences) < FEWEST:
        raise UsageError(f"{len(sentences)} different sentences are too few for a bridge: give at least {FEWEST}")
    order = np.random.default_rng(0).permutation(len(sentences))
    texts = [sentences[i] for i in order]
    source, target = _encode(audio, texts), _encode(image, texts)
    test = int(HELD_OUT * len(texts))
    ridge, hit1 = max(
        ((ridge, _hit1(source, target, test, ridge)) for ridge in RIDGES), key=lambda pair: (pair[1], pair[0])
    )
    if hit1 < LEAST_HIT:
        raise EncoderError(
            f"the words of {audio.spec.name} can't be carried to {image.spec.name}: of {test} unseen sentences "
            f"{100 * hit1:.1f} % found themselves: search both spaces instead, results are fused by rank"
        )
    around = photos if len(photos) >= FEWEST_PHOTOS else target
    middle = around.mean(axis=0)
    bridge = Bridge(
        image_model=image.spec.name,
        image_space=image.spec.space,
        audio_model=audio.spec.name,
        audio_space=audio.spec.space,
        weight=_solve(source, target, ridge),
        words=source.mean(axis=0),
        photos=middle,
        spread=float(np.median(np.linalg.norm(around - middle, axis=1))),
        audio_rate=audio.spec.audio_rate or 0,
        audio_window=audio.spec.audio_window,
    )
    return bridge, Fit(len(texts), test, hit1, ridge)


def _encode(encoder: Encoder, texts: Sequence[str]) -> FloatArray:
    parts = [encoder.encode(texts[i : i + _AT_ONCE], Modality.TEXT) for i in range(0, len(texts), _AT_ONCE)]
    return np.concatenate(parts)


def _solve(source: FloatArray, target: FloatArray, ridge: float) -> FloatArray:
    """Ridge regression between centred rows: float32 ``(source dim, target dim)``."""
    x, y = (rows.astype(np.float64) - rows.mean(axis=0) for rows in (source, target))
    gram = x.T @ x
    gram += ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    weight: npt.NDArray[np.float64] = np.linalg.solve(gram, x.T @ y)
    return weight.astype(np.float32)


def _hit1(source: FloatArray, target: FloatArray, test: int, ridge: float) -> float:
    """Fit on all but the first ``test`` rows; the share of these that is nearest to itself on the other side."""
    weight = _solve(source[test:], target[test:], ridge)
    carried = (source[:test] - source[test:].mean(axis=0)) @ weight
    there = target[:test] - target[test:].mean(axis=0)
    return float(((unit(carried) @ unit(there).T).argmax(axis=1) == np.arange(test)).mean())
