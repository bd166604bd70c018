"""The training photos and captions as arrays, computed once and kept in the work folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.training import data, minilm
from mmsearch.training.model import Model

_COMMON_WORDS = 24_000
"""The teacher's vocabulary is sorted by frequency: its whole words before this one are distilled as bare words."""


def cached(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array at ``path``, mapped; made first if it is not there."""
    if not path.exists():
        part = path.with_name(f"{path.name}.part")
        with open(part, "wb") as file:
            np.save(file, make())
        part.rename(path)
    return np.load(path, mmap_mode="r")


def common_words() -> list[str]:
    return [word for word in minilm.teacher_pieces()[:_COMMON_WORDS] if re.fullmatch("[a-z]{3,}", word)]


@dataclass(frozen=True)
class Sentences:
    """Every text to distil with the unit MiniLM vector ``(n, 384)`` that it should have."""

    texts: list[str]
    targets: Tensor


def sentences(work: Path) -> Sentences:
    pairs = data.teacher_sentences(common_words())
    english = sorted({text for _, wanted in pairs for text in wanted})
    vectors = cached(work / "minilm.npy", lambda: minilm.teacher_vectors(english))
    rows = {text: i for i, text in enumerate(english)}
    table = torch.from_numpy(np.array(vectors)).float()
    targets = [F.normalize(table[[rows[text] for text in wanted]].mean(0), dim=0) for _, wanted in pairs]
    return Sentences([text for text, _ in pairs], torch.stack(targets))


def vocabulary(work: Path) -> list[bytes]:
    path = work / "vocabulary.json"
    if not path.exists():
        texts = (text for text, _ in data.teacher_sentences(common_words()))
        minilm.save_vocabulary(path, minilm.build_vocabulary(texts))
    return minilm.load_vocabulary(path)


class Photos:
    """One split of Flickr8k: mapped pixels, token rows, and for ``train`` the teachers' opinions.

    ``pixels`` uint8 ``(n, 224, 224, 3)``; ``en`` and ``zh`` token rows for each photo; ``captions`` unit MiniLM rows
    ``(n, 5, 384)``; ``logits`` ``(n, 1000)`` of the original classifier.
    """

    def __init__(self, split: str, work: Path, tokenizer: minilm.StudentTokenizer) -> None:
        photos = data.flickr8k(split)
        self.pixels = cached(work / f"{split}.px.npy", lambda: data.read_pixels([photo.path for photo in photos]))
        self.en = [tokenizer.encode(photo.en) for photo in photos]
        self.zh = [tokenizer.encode(photo.zh) for photo in photos]
        self._texts = [text for photo in photos for text in photo.en]
        self._work, self._split = work, split

    def __len__(self) -> int:
        return len(self.en)

    def captions(self) -> Tensor:
        known = sentences(self._work)
        rows = {text: i for i, text in enumerate(known.texts)}
        return known.targets[[rows[text] for text in self._texts]].view(len(self), 5, -1)

    def features(self, model: Model, name: str) -> Tensor:
        """What ``model``'s image trunk makes of the whole photos ``(n, 1280)``, cached under ``name``."""
        return torch.from_numpy(
            np.array(cached(self._work / f"{self._split}.{name}.npy", lambda: image_features(model, self.pixels)))
        ).float()


@torch.no_grad()
def image_features(model: Model, pixels: np.ndarray, mirrored: bool = False) -> np.ndarray:
    """float16 ``(n, 1280)`` of uint8 ``(n, h, w, 3)``."""
    model.eval()
    device, out = model.log_scale.device, []
    for start in range(0, len(pixels), 50):
        part = torch.from_numpy(np.array(pixels[start : start + 50])).permute(0, 3, 1, 2).to(device)
        out.append(model.image_features(part.flip(3) if mirrored else part).half().cpu().numpy())
    return np.concatenate(out)


@torch.no_grad()
def text_features(model: Model, rows: list[list[int]]) -> np.ndarray:
    """float16 ``(n, 384)`` of token rows, in evaluation mode."""
    model.eval()
    return model.text_features(rows).half().cpu().numpy()
