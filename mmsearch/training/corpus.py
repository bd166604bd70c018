"""The training material as arrays: computed once, kept in the work folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.encoders.mini.runtime import Session
from mmsearch.training import data, minilm
from mmsearch.training.crops import crops
from mmsearch.training.export import FeatureGraph, write_onnx
from mmsearch.training.model import Model
from mmsearch.training.prompts import PHOTO_PROMPTS
from mmsearch.training.stages import Captions, Lesson

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {text: i for i, text in enumerate(self.texts)})

    def vectors(self, texts: list[str]) -> Tensor:
        rows: dict[str, int] = self._rows  # type: ignore[attr-defined]
        return self.targets[[rows[text] for text in texts]]


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


def pixels(split: str, work: Path) -> np.ndarray:
    """uint8 ``(n, 224, 224, 3)``, mapped."""
    paths = [photo.path for photo in data.flickr8k(split)]
    return cached(work / f"{split}.px.npy", lambda: data.read_pixels(paths))


def lesson(model: Model, known: Sentences, photos: np.ndarray, work: Path, name: str, views: int = 1) -> Lesson:
    """The lesson of the train photos by ``model``'s image trunk; its features are cached under ``name``.

    ``views`` of each photo: the whole one, its mirror image, then random crops. The logits are always those of the
    original classifier on the original features.
    """
    features = torch.from_numpy(
        np.array(cached(work / f"{name}.npy", lambda: np.stack(list(_views(model, photos, work, views)))))
    ).float()
    logits = cached(work / "logits.npy", lambda: model.classifier(features[0]).detach().half().numpy())
    captions = known.vectors([text for photo in data.flickr8k("train") for text in photo.en]).view(len(photos), 5, -1)
    labels = [
        known.vectors([text for name in names[:3] for text in (name, PHOTO_PROMPTS[0].format(name))])
        for names in data.imagenet_names()
    ]
    return Lesson(features, torch.from_numpy(np.array(logits)).float(), captions, labels)


def _views(model: Model, photos: np.ndarray, work: Path, count: int) -> Iterator[np.ndarray]:
    """Features float16 ``(n, 1280)`` of one view of every photo after the other."""
    yield image_features(model, photos, work)
    if count > 1:
        yield image_features(model, photos[:, :, ::-1], work)
    rng = np.random.default_rng(0)
    for _ in range(2, count):
        parts = (crops(photos[i : i + 50], photos.shape[1], rng) for i in range(0, len(photos), 50))
        yield image_features(model, (part.permute(0, 2, 3, 1).byte().numpy() for part in parts), work)


def captions(known: Sentences, tokenizer: minilm.StudentTokenizer) -> Captions:
    photos = data.flickr8k("train")
    labels = [
        tokenizer.encode([prompt.format(name) for name in names[:3] for prompt in PHOTO_PROMPTS])
        for names in data.imagenet_names()
    ]
    en, zh = ([tokenizer.encode(group) for group in side] for side in zip(*((p.en, p.zh) for p in photos), strict=True))
    return Captions(en, zh, labels, tokenizer.encode(known.texts), known.targets)


def val_captions(photos: list[data.Captioned], work: Path) -> Tensor:
    """Unit MiniLM rows of every English caption of val, for measuring only."""
    texts = [text for photo in photos for text in photo.en]
    return torch.from_numpy(np.array(cached(work / "val.minilm.npy", lambda: minilm.teacher_vectors(texts)))).float()


def image_features(model: Model, photos: np.ndarray | Iterable[np.ndarray], work: Path) -> np.ndarray:
    """What the image trunk makes of uint8 ``(n, 224, 224, 3)``, given whole or in parts: float16 ``(n, 1280)``."""
    graph = work / "features.onnx"
    write_onnx(FeatureGraph(model.image.trunk), torch.zeros(2, 224, 224, 3, dtype=torch.uint8), graph)
    session = Session(str(graph), 0)
    parts = (photos[i : i + 32] for i in range(0, len(photos), 32)) if isinstance(photos, np.ndarray) else photos
    return np.concatenate([session(np.ascontiguousarray(part)).astype(np.float16) for part in parts])
