"""An encoder without weights, for tests and docs: its geometry is known, so exact ranks can be asserted.

Words for colours, pictures of these colours and tones share one space: ``red`` is nearest to the reddest picture, and
``low`` or ``high`` to the lower or the higher tone. It understands nothing else, and is never a default.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from mmsearch.errors import EncoderError, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality

AXES = ("red", "green", "blue", "low", "high")
"""What the first dimensions mean; all others only tell inputs apart."""

SIZE, RATE = 8, 16_000
DETAIL = 0.05
"""How long the part of a vector is that tells inputs of one colour apart."""


class FakeEncoder:
    """Deterministic unit vectors float32 ``(n, dim)``; ``dim`` is at least 8. Equal inputs get equal vectors."""

    def __init__(self, dim: int = 32) -> None:
        if dim < 8:
            raise UsageError(f"the fake model needs at least 8 dimensions, not {dim}")
        self.spec = EncoderSpec(
            name="fake" if dim == 32 else f"fake:{dim}",
            space=f"fake-1-{dim}",
            dim=dim,
            modalities=frozenset({Modality.IMAGE, Modality.TEXT, Modality.AUDIO}),
            licence="Apache-2.0",
            image=ImageInput(size=SIZE, fit="squash", resample="bilinear"),
            audio_rate=RATE,
        )

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Raises ``EncoderError`` for a video."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} takes no {modality}")
        rows = [self._row(content) for content in batch]
        return np.array(rows, np.float32).reshape(len(batch), self.spec.dim)

    def _row(self, content: Media) -> npt.NDArray[np.float64]:
        row = np.full(self.spec.dim, 1e-3)
        meaning, key = _meaning(content)
        row[: len(AXES)] += meaning
        seed = int.from_bytes(hashlib.sha256(key).digest()[:8], "little")
        detail = np.random.default_rng(seed).standard_normal(self.spec.dim - len(AXES))
        row[len(AXES) :] += DETAIL * detail / np.linalg.norm(detail)
        unit: npt.NDArray[np.float64] = row / np.linalg.norm(row)
        return unit


def _meaning(content: Media) -> tuple[npt.NDArray[np.float64], bytes]:
    """Where an input lies on ``AXES``, and the bytes that tell it from others."""
    axes = np.zeros(len(AXES))
    if isinstance(content, str):
        for word in content.lower().split():
            if word in AXES:
                axes[AXES.index(word)] += 1
    elif content.dtype == np.uint8:
        axes[:3] = content.reshape(-1, 3).mean(axis=0) / 255
    elif content.size:
        # Zero crossings tell the pitch: 0 to half the sample rate, on a scale from low to high.
        pitch = float(np.mean(np.diff(np.signbit(content)))) if content.size > 1 else 0.0
        axes[3:] = 1 - pitch, pitch
    return axes, content.encode() if isinstance(content, str) else content.tobytes()


def load(name: str = "fake", device: str = "cpu") -> FakeEncoder:
    """``fake`` or ``fake:DIM``; runs on any device's CPU."""
    _, _, dim = name.partition(":")
    if dim and not dim.isdecimal():
        raise UsageError(f"{name}: the dimension must be a number, as in fake:64")
    return FakeEncoder(int(dim)) if dim else FakeEncoder()
