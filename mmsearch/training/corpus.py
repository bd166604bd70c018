"""The training material as arrays: computed once, kept in the work folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.encoders.mini.runtime import Session
from mmsearch.training import data, minilm
from mmsearch.training.crops import crops
from mmsearch.training.export import EarlyGraph, FeatureGraph, write_onnx
from mmsearch.training.model import Model
from mmsearch.training.prompts import PHOTO_PROMPTS
from mmsearch.training.stages import Captions, Lesson

_COMMON_WORDS = 24_000
"""The teacher's vocabulary is sorted by frequency: its whole words before this one are distilled as bare words."""
_VIEWS, _CROP = 4, 160


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


def lesson(model: Model, known: Sentences, photos: np.ndarray, work: Path, name: str) -> Lesson:
    """The lesson of the train photos by ``model``'s image trunk; its features are cached under ``name``.

    The logits are always those of the original classifier on the original features.
    """
    features = torch.from_numpy(
        np.array(cached(work / f"{name}.npy", lambda: image_features(model, photos, work)))
    ).float()
    logits = cached(work / "logits.npy", lambda: model.classifier(features).detach().half().numpy())
    captions = known.vectors([text for photo in data.flickr8k("train") for text in photo.en]).view(len(photos), 5, -1)
    labels = [
        known.vectors([text for name in names[:3] for text in (name, PHOTO_PROMPTS[0].format(name))])
        for names in data.imagenet_names()
    ]
    return Lesson(features, torch.from_numpy(np.array(logits)).float(), captions, labels)


def captions(known: Sentences, tokenizer: minilm.StudentTokenizer) -> Captions:
    photos = data.flickr8k("train")
    labels = [
        tokenizer.encode([prompt.format(name) for name in names[:3] for prompt in PHOTO_PROMPTS])
        for names in data.imagenet_names()
    ]
    en, zh = ([tokenizer.encode(group) for group in side] for side in zip(*((p.en, p.zh) for p in photos), strict=True))
    return Captions(en, zh, labels, tokenizer.encode(known.texts), known.targets)


def views(model: Model, photos: np.ndarray, work: Path, seed: int) -> np.ndarray:
    """Four random crops of every photo after the early part of the image trunk: float16 ``(4, n, 64, 10, 10)``.

    ONNX Runtime makes them: four times the speed of torch here (measured).
    """

    def make() -> np.ndarray:
        graph = work / "early.onnx"
        write_onnx(EarlyGraph(model.image.trunk), torch.zeros(2, 3, _CROP, _CROP), graph)
        session, rng = Session(str(graph), 0), np.random.default_rng(seed)
        out = np.empty((_VIEWS, len(photos), 64, _CROP // 16, _CROP // 16), np.float16)
        for view in out:
            for start in range(0, len(photos), 50):
                view[start : start + 50] = session(crops(photos[start : start + 50], _CROP, rng).numpy())
        return out

    return cached(work / "views.npy", make)


def val_captions(photos: list[data.Captioned], work: Path) -> Tensor:
    """Unit MiniLM rows of every English caption of val, for measuring only."""
    texts = [text for photo in photos for text in photo.en]
    return torch.from_numpy(np.array(cached(work / "val.minilm.npy", lambda: minilm.teacher_vectors(texts)))).float()


def image_features(model: Model, photos: np.ndarray, work: Path) -> np.ndarray:
    """What the image trunk makes of whole photos: float16 ``(n, 1280)`` of uint8 ``(n, h, w, 3)``."""
    graph = work / "features.onnx"
    write_onnx(FeatureGraph(model.image.trunk), torch.zeros(2, *photos.shape[1:], dtype=torch.uint8), graph)
    session = Session(str(graph), 0)
    return np.concatenate([session(photos[i : i + 32]).astype(np.float16) for i in range(0, len(photos), 32)])
