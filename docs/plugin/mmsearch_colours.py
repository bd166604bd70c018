"""A whole model for mmsearch in one file: pictures by their colours, asked for by the colours' names.

An encoder is a spec and one verb. The spec says what space the vectors lie in and what inputs the encoder wants;
``encode`` makes unit rows of a batch. Everything else (reading files, resizing, batching, storing, searching) is done.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from mmsearch.errors import EncoderError, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality, Pixels

COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "red": (220, 30, 30),
    "green": (40, 160, 60), "blue": (40, 70, 200), "yellow": (240, 220, 50), "orange": (240, 140, 30),
    "purple": (130, 50, 160), "pink": (245, 160, 190), "brown": (120, 75, 40), "turquoise": (60, 200, 200),
}  # fmt: skip
POINTS = np.array(list(COLOURS.values()), np.float32)
DETAIL = 16
"""Dimensions that only tell inputs apart which have the same colours."""


def load(name: str, device: str = "cpu") -> "ColourEncoder":
    """What the entry point names: it gets the whole model name, and ``auto``, ``cpu`` or ``cuda:N``."""
    if device not in ("cpu", "auto"):
        raise UsageError(f"{name} runs on the CPU, not on {device}: use --device cpu")
    return ColourEncoder()


class ColourEncoder:
    """How much of each named colour there is: float32 ``(n, 28)``."""

    spec = EncoderSpec(
        name="colours",
        # Vectors of one space are comparable: raise the number with any change that alters a vector.
        space="colours-1",
        dim=len(COLOURS) + DETAIL,
        modalities=frozenset({Modality.IMAGE, Modality.TEXT}),
        licence="Apache-2.0",
        image=ImageInput(size=32, fit="squash", resample="bilinear"),
    )

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        if modality not in self.spec.modalities:
            raise EncoderError(f"colours takes no {modality}")
        amounts = _in_text if modality is Modality.TEXT else _in_picture
        rows = [np.concatenate([amounts(one), _detail(one)]) for one in batch]
        rows = np.array(rows, np.float32).reshape(len(batch), self.spec.dim)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _in_picture(pixels: Pixels) -> np.ndarray:
    distances = ((pixels.reshape(-1, 1, 3) - POINTS) ** 2).sum(axis=2)
    return np.bincount(distances.argmin(axis=1), minlength=len(POINTS)) / len(distances)


def _in_text(text: str) -> np.ndarray:
    words = text.lower().split()
    return np.array([float(words.count(colour)) for colour in COLOURS])


def _detail(content: str | Pixels) -> np.ndarray:
    data = content.encode() if isinstance(content, str) else content.tobytes()
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    return 0.02 * np.random.default_rng(seed).standard_normal(DETAIL)
