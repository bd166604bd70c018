"""The stages of the recipe; each moves some towers of a `Model`, in place, and leaves the others alone.

distil    the text trunk learns what MiniLM says of 108,000 texts in two languages
meet      on cached features, the projections learn to meet: how the losses are compared, and how `finetune` starts
finetune  the image trunk learns from crops, against MiniLM's vectors of the captions: the text side costs nothing
align     the text trunk takes MiniLM's place: captions in both languages against the features of the whole photos
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.training import losses
from mmsearch.training.crops import crops
from mmsearch.training.loops import Average, Schedule, decayed, shuffled
from mmsearch.training.model import CLASSES, Model, label_loss

_CROP, _BATCH = 160, 250
_SOFT = 0.3
"""Share of an InfoNCE target that goes to photos whose captions mean the same."""
_ORDER_MARGIN = 0.05
_CLASSES_AT_ONCE = 400
"""Names among which a step of `align` sorts photos."""


@dataclass(frozen=True)
class Lesson:
    """What a stage learns from, as arrays.

    ``features`` ``(v, n, 1280)`` by some image trunk: of the whole photos first, then of other views of them;
    ``logits`` ``(n, 1000)`` of the original classifier; ``captions`` unit ``(n, 5, 384)`` by MiniLM; ``labels`` unit
    ``(p, 384)`` by MiniLM for each class.
    """

    features: Tensor
    logits: Tensor
    captions: Tensor
    labels: list[Tensor]

    def __len__(self) -> int:
        return self.features.shape[1]

    def seen(self, batch: np.ndarray, rng: np.random.Generator) -> Tensor:
        """Features ``(len(batch), 1280)``, each of a random view of its photo."""
        return self.features[rng.integers(len(self.features), size=len(batch)), batch]

    def meaning(self, batch: np.ndarray) -> Tensor:
        return F.normalize(self.captions[batch].mean(1), dim=-1)


def soft_targets(meaning: Tensor) -> Tensor:
    """Rows of mostly the identity, the rest spread over photos whose captions mean the same to MiniLM."""
    alike = (30 * meaning @ meaning.T).softmax(1)
    return (1 - _SOFT) * torch.eye(len(meaning)) + _SOFT * alike


def info_nce(a: Tensor, b: Tensor, model: Model, meaning: Tensor) -> Tensor:
    return losses.info_nce(a, b, model.scale)


def soft_info_nce(a: Tensor, b: Tensor, model: Model, meaning: Tensor) -> Tensor:
    return losses.info_nce(a, b, model.scale, soft_targets(meaning))


def sigmoid(a: Tensor, b: Tensor, model: Model, meaning: Tensor) -> Tensor:
    return losses.sigmoid(a, b, model.scale, -10.0)


def triplet(a: Tensor, b: Tensor, model: Model, meaning: Tensor) -> Tensor:
    return losses.hardest_triplet(a, b)


PairLoss = Callable[[Tensor, Tensor, Model, Tensor], Tensor]
PAIR_LOSSES: dict[str, PairLoss] = {
    "InfoNCE": info_nce, "InfoNCE, soft targets": soft_info_nce, "sigmoid": sigmoid, "hardest triplet": triplet,
}  # fmt: skip


def distil(model: Model, rows: list[list[int]], targets: Tensor, epochs: float, seed: int) -> None:
    """Feature and relational distillation of the text trunk: token rows to unit ``targets`` ``(n, 384)``."""
    rng, batch_size = _seeded(seed), 512
    steps = int(epochs * (len(rows) // batch_size))
    trunk = model.text.trunk
    schedule = Schedule(torch.optim.AdamW(decayed(trunk, 5e-4, 0.01), betas=(0.9, 0.98)), steps)
    average, clock = Average(trunk, 0.99), _Clock("distil", steps)
    model.train()
    while clock.running:
        for batch in shuffled(len(rows), batch_size, rng):
            states = F.normalize(model.text_features([rows[i] for i in batch], at_once=128), dim=-1)
            wanted = targets[batch]
            loss = losses.feature_distillation(states, wanted) + 0.5 * losses.relational_distillation(states, wanted)
            schedule.step(loss)
            average.update(trunk)
            if not clock.tick(loss):
                break
    trunk.load_state_dict(average.module.state_dict())


def meet(model: Model, lesson: Lesson, epochs: int, seed: int, pair: PairLoss = sigmoid, label: float = 0.4) -> None:
    """Train both heads on cached features, photos against MiniLM's captions."""
    rng, batch_size, n = _seeded(seed), 500, len(lesson)
    schedule = Schedule(torch.optim.AdamW(_head_groups(model, 1e-3), betas=(0.9, 0.98)), epochs * (n // batch_size))
    model.train()
    for _ in range(epochs):
        for batch in shuffled(n, batch_size, rng):
            schedule.step(_teacher_loss(model, lesson, lesson.seen(batch, rng), batch, rng, pair, label))


def finetune(model: Model, lesson: Lesson, photos: np.ndarray, epochs: int, seed: int) -> None:
    """Train the image trunk and both heads on random crops of ``photos`` uint8 ``(n, 224, 224, 3)``.

    Crops of 160 pixels cost half as much as whole photos, and the trunk reads whole ones better for it.
    """
    rng = _seeded(seed)
    groups = decayed(model.image.trunk, 2e-4, 0.05) + _head_groups(model, 5e-4) + decayed(model.classifier, 1e-4, 0.0)

    def loss_of(batch: np.ndarray) -> Tensor:
        features = model.image_features(crops(photos[batch], _CROP, rng))
        loss = _teacher_loss(model, lesson, features, batch, rng, sigmoid, 0.4)
        return loss + losses.label_distillation(model.classifier(features), lesson.logits[batch])

    _fit(model, "finetune", groups, len(photos), epochs, rng, loss_of)


@torch.no_grad()
def step_back(model: Model, original: dict[str, Tensor], share: float) -> None:
    """Mix ``share`` of the ``original`` weights into the image trunk and its classifier.

    WiSE-FT (Wortsman et al., CVPR 2022): 6,000 photos of everyday life make it forget what they do not show; a mean
    with what it was brings that back and costs the photos nothing (measured).
    """
    for name, value in model.state_dict().items():
        if name.startswith(("image.trunk.", "classifier.")):
            value.lerp_(original[name], share)


@dataclass(frozen=True)
class Captions:
    """Token rows: five English and about five Chinese captions of each photo, the prompts of each ImageNet class,
    and texts without a photo with their unit MiniLM ``targets``."""

    en: list[list[list[int]]]
    zh: list[list[list[int]]]
    labels: list[list[list[int]]]
    other: list[list[int]]
    targets: Tensor


def align(
    model: Model, lesson: Lesson, captions: Captions, epochs: int, seed: int, zh: float = 1.0, label: float = 1.0
) -> None:
    """Train the text trunk and both heads on the features of photos, which stay as they are.

    ``zh`` and ``label`` weigh the losses of Chinese captions and of class names. Each step also distils 64 texts that
    have no photo, so that words outside the captions keep their meaning.
    """
    rng = _seeded(seed)
    groups = decayed(model.text.trunk, 3e-4, 0.05) + _head_groups(model, 5e-4)

    def loss_of(batch: np.ndarray) -> Tensor:
        features = lesson.seen(batch, rng)
        features = features * (1 + 0.1 * torch.randn_like(features))
        return _align_loss(model, lesson, features, captions, batch, rng, zh, label)

    _fit(model, "align", groups, len(lesson), epochs, rng, loss_of)


def join(
    model: Model, lesson: Lesson, photos: np.ndarray, captions: Captions, epochs: int, seed: int
) -> None:  # fmt: skip
    """Train both towers together on random crops of ``photos``, at a quarter of the rates.

    Here word order begins to count: to a contrastive loss alone, a caption and its shuffled words are the same.
    """
    rng = _seeded(seed)
    groups = decayed(model.image.trunk, 5e-5, 0.05) + decayed(model.text.trunk, 7e-5, 0.05)
    groups += _head_groups(model, 1e-4) + decayed(model.classifier, 5e-5, 0.0)

    def loss_of(batch: np.ndarray) -> Tensor:
        features = model.image_features(crops(photos[batch], _CROP, rng))
        loss = _align_loss(model, lesson, features, captions, batch, rng)
        loss = loss + losses.label_distillation(model.classifier(features), lesson.logits[batch])
        return loss + 2 * _order_loss(model, features, captions, batch, rng)

    _fit(model, "join", groups, len(photos), epochs, rng, loss_of)


def _fit(
    model: Model, name: str, groups: list[dict[str, object]], n: int, epochs: int, rng: np.random.Generator,
    loss_of: Callable[[np.ndarray], Tensor],
) -> None:  # fmt: skip
    """Train ``groups`` over ``n`` photos; the model ends as the average of its way."""
    steps = epochs * (n // _BATCH)
    schedule = Schedule(torch.optim.AdamW(groups, betas=(0.9, 0.98)), steps)
    average, clock = Average(model, 0.98), _Clock(name, steps)
    model.train()
    for _ in range(epochs):
        for batch in shuffled(n, _BATCH, rng):
            loss = loss_of(batch)
            schedule.step(loss)
            average.update(model)
            clock.tick(loss)
    model.load_state_dict(average.module.state_dict())


def _align_loss(
    model: Model, lesson: Lesson, features: Tensor, captions: Captions, batch: np.ndarray, rng: np.random.Generator,
    zh: float = 1.0, label: float = 1.0,
) -> Tensor:  # fmt: skip
    picks = rng.integers(5, size=len(batch))
    classes = rng.choice(CLASSES, _CLASSES_AT_ONCE, replace=False)
    others = rng.choice(len(captions.other), 64, replace=False)
    rows = [captions.en[i][pick] for i, pick in zip(batch, picks, strict=True)]
    rows += [_any(captions.zh[i], rng) for i in batch]
    rows += [captions.other[i] for i in others]
    rows += [_any(captions.labels[c], rng) for c in classes]
    states = model.text_features(rows)
    english, chinese, _, names = model.text_vectors(states).split([len(batch), len(batch), len(others), len(classes)])
    images, meaning = model.image_vectors(features), lesson.meaning(batch)
    loss = soft_info_nce(images, english, model, meaning) + zh * soft_info_nce(images, chinese, model, meaning)
    wanted = torch.cat([lesson.captions[batch, picks], meaning, captions.targets[others]])
    loss = loss + losses.feature_distillation(states[: len(wanted)], wanted)
    return loss + label * label_loss(model, features, lesson.logits[batch], names, torch.from_numpy(classes))


def _order_loss(
    model: Model, features: Tensor, captions: Captions, batch: np.ndarray, rng: np.random.Generator
) -> Tensor:
    """A caption beats the same words shuffled by a margin, seen from its photo, which does not move."""
    true = [_any(captions.en[i], rng) for i in batch]
    shuffled = [[row[0], *(int(piece) for piece in rng.permutation(row[1:-1])), row[-1]] for row in true]
    right, wrong = model.text_vectors(model.text_features(true + shuffled)).chunk(2)
    images = model.image_vectors(features).detach()
    return F.relu(_ORDER_MARGIN + (images * (wrong - right)).sum(1)).mean()


def _teacher_loss(
    model: Model, lesson: Lesson, features: Tensor, batch: np.ndarray, rng: np.random.Generator, pair: PairLoss,
    label: float,
) -> Tensor:  # fmt: skip
    """Photos against two of their captions and against the names of 250 classes, all as MiniLM sees them."""
    images, meaning = model.image_vectors(features), lesson.meaning(batch)
    picks = np.stack([rng.choice(5, 2, replace=False) for _ in batch])
    pairs = [pair(images, model.text_vectors(lesson.captions[batch, picks[:, k]]), model, meaning) for k in range(2)]
    if not label:
        return (pairs[0] + pairs[1]) / 2
    classes = rng.choice(CLASSES, 250, replace=False)
    names = model.text_vectors(torch.stack([_any(lesson.labels[c], rng) for c in classes]))
    labels = label_loss(model, features, lesson.logits[batch], names, torch.from_numpy(classes))
    return (pairs[0] + pairs[1]) / 2 + label * labels


def _head_groups(model: Model, rate: float) -> list[dict[str, object]]:
    groups = decayed(model.image.head, rate, 0.05) + decayed(model.text.head, rate, 0.05)
    return [*groups, {"params": [model.log_scale], "lr": 1e-3, "weight_decay": 0.0}]


def _any(items: list[list[int]] | Tensor, rng: np.random.Generator) -> list[int] | Tensor:
    return items[int(rng.integers(len(items)))]


def _seeded(seed: int) -> np.random.Generator:
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


class _Clock:
    """Counts steps and prints the mean loss now and then."""

    def __init__(self, name: str, steps: int) -> None:
        self._name, self._steps, self._losses, self._start = name, steps, list[float](), time.time()

    @property
    def running(self) -> bool:
        return len(self._losses) < self._steps

    def tick(self, loss: Tensor) -> bool:
        """Note one step; False when it was the last."""
        self._losses.append(loss.item())
        done = len(self._losses)
        if done % 24 == 0 or not self.running:
            mean, seconds = np.mean(self._losses[-24:]), time.time() - self._start
            print(f"{self._name} {done}/{self._steps}: loss {mean:.3f}, {seconds:.0f} s", flush=True)
        return self.running
