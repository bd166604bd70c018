"""An encoder with `mini`'s order and CLIP's narrow cosines: what all photos, texts or sounds share is most of a vector.

``sqrt(SHARE) v`` beside ``sqrt(1 - SHARE)`` times an anchor of the kind: within a kind nothing changes but the scale,
text and photo lie at 0.11 to 0.29, text and text at 0.67 to 0.84.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mmsearch.encoders import mini
from mmsearch.types import FloatArray, Media, Modality

SHARE = 0.3
ANCHORS = {
    Modality.TEXT: (1.0, 0.0, 0.0),
    Modality.IMAGE: (0.2, 0.96**0.5, 0.0),
    Modality.AUDIO: (0.2, 0.0, 0.96**0.5),
}


def load(name: str = "narrow", device: str = "cpu") -> NarrowEncoder:
    return NarrowEncoder(mini.load("mini", device), name)


class NarrowEncoder:
    """`mini` with three more dimensions."""

    def __init__(self, inner: mini.MiniEncoder, name: str) -> None:
        self._inner, spec = inner, inner.spec
        self.spec = replace(spec, name=name, space=f"narrow-{spec.space}", dim=spec.dim + 3)

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        own = self._inner.encode(batch, modality) * np.float32(SHARE**0.5)
        anchor = np.array(ANCHORS[modality], np.float32) * np.float32((1 - SHARE) ** 0.5)
        return np.concatenate([own, np.broadcast_to(anchor, (len(own), 3))], axis=1, dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)
