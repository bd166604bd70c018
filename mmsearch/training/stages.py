"""The stages of the recipe, each a function from what came before to a trained model.

distil   the text tower learns what MiniLM says of 108,000 texts in two languages
heads    on cached features of both sides, the projections learn to meet: seconds an epoch
joint    everything learns together on cropped photos
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmsearch.training import losses
from mmsearch.training.corpus import Photos, Sentences
from mmsearch.training.loops import Average, Schedule, decayed, shuffled
from mmsearch.training.minilm import StudentTokenizer
from mmsearch.training.model import CLASSES, LabelTexts, Model, label_loss


@dataclass(frozen=True)
class Distil:
    epochs: float = 1.0
    batch: int = 256
    rate: float = 3e-4


def distil(model: Model, sentences: Sentences, tokenizer: StudentTokenizer, settings: Distil, seed: int) -> None:
    """Feature and relational distillation of the text trunk, in place."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    rows = tokenizer.encode(sentences.texts)
    steps = int(settings.epochs * (len(rows) // settings.batch))
    schedule = Schedule(torch.optim.AdamW(decayed(model.text.trunk, settings.rate, 0.01), betas=(0.9, 0.98)), steps)
    average, log, start = Average(model.text.trunk, 0.995), [], time.time()
    model.train()
    done = 0
    while done < steps:
        for batch in shuffled(len(rows), settings.batch, rng):
            states = F.normalize(model.text_features([rows[i] for i in batch], at_once=64), dim=-1)
            wanted = sentences.targets[batch].to(states.device)
            loss = losses.feature_distillation(states, wanted) + 0.5 * losses.relational_distillation(states, wanted)
            schedule.step(loss)
            average.update(model.text.trunk)
            log.append(loss.item())
            done += 1
            if done % 50 == 0 or done == steps:
                print(f"distil {done}/{steps} loss {np.mean(log[-50:]):.3f} {time.time() - start:.0f} s", flush=True)
            if done == steps:
                break
    model.text.trunk.load_state_dict(average.module.state_dict())


@dataclass(frozen=True)
class Heads:
    epochs: int = 30
    batch: int = 500
    rate: float = 1e-3
    loss: str = "info_nce"
    label: float = 0.5
    soft: float = 0.3
    decay: float = 0.05


@dataclass(frozen=True)
class Frozen:
    """Cached features of the photos and of every caption, and what the loss needs besides.

    ``image`` ``(views, n, 1280)``; ``en`` and ``zh`` ``(captions, 384)`` with ``en_of`` and ``zh_of`` the caption
    rows of each photo; ``meaning`` unit ``(n, 384)``, the mean MiniLM vector of a photo's captions; ``labels``
    ``(1000, v, 384)`` the class names in every prompt.
    """

    image: Tensor
    en: Tensor
    zh: Tensor
    en_of: list[np.ndarray]
    zh_of: list[np.ndarray]
    meaning: Tensor
    logits: Tensor
    labels: list[Tensor]


def pair_loss(kind: str, a: Tensor, b: Tensor, model: Model, soft: Tensor) -> Tensor:
    """One of the compared losses over matching rows."""
    if kind == "info_nce":
        return losses.info_nce(a, b, model.scale)
    if kind == "info_nce soft":
        return losses.info_nce(a, b, model.scale, soft)
    if kind == "sigmoid":
        return losses.sigmoid(a, b, model.scale, -10.0)
    if kind == "triplet":
        return losses.hardest_triplet(a, b)
    raise ValueError(f"no loss {kind}")


def soft_targets(meaning: Tensor, share: float) -> Tensor:
    """Rows of mostly the identity, the rest spread over photos whose captions mean the same to MiniLM."""
    alike = (30 * meaning @ meaning.T).softmax(1)
    return (1 - share) * torch.eye(len(meaning), device=meaning.device) + share * alike


def heads(model: Model, frozen: Frozen, settings: Heads, seed: int) -> None:
    """Train both projections on cached features, in place; the trunks do not move."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = frozen.image.shape[1]
    groups = decayed(model.image.head, settings.rate, settings.decay)
    groups += decayed(model.text.head, settings.rate, settings.decay)
    groups += [{"params": [model.log_scale], "lr": 1e-2, "weight_decay": 0.0}]
    schedule = Schedule(torch.optim.AdamW(groups, betas=(0.9, 0.98)), settings.epochs * (n // settings.batch))
    average = Average(model, 0.98)
    model.train()
    for _ in range(settings.epochs):
        for batch in shuffled(n, settings.batch, rng):
            features = frozen.image[rng.integers(len(frozen.image)), batch]
            features = features * (1 + 0.1 * torch.randn_like(features))
            images = model.image_vectors(features)
            en = model.text_vectors(frozen.en[[rng.choice(frozen.en_of[i]) for i in batch]])
            zh = model.text_vectors(frozen.zh[[rng.choice(frozen.zh_of[i]) for i in batch]])
            soft = soft_targets(frozen.meaning[batch], settings.soft)
            loss = pair_loss(settings.loss, images, en, model, soft)
            loss = loss + 0.7 * pair_loss(settings.loss, images, zh, model, soft)
            if settings.label:
                classes = rng.choice(CLASSES, 500, replace=False)
                names = torch.stack([frozen.labels[c][rng.integers(len(frozen.labels[c]))] for c in classes])
                texts = model.text_vectors(names)
                logits = frozen.logits[batch]
                loss = loss + settings.label * label_loss(model, features, logits, texts, torch.from_numpy(classes))
            schedule.step(loss)
            average.update(model)
    model.load_state_dict(average.module.state_dict())


@dataclass(frozen=True)
class Joint:
    epochs: int = 8
    batch: int = 250
    size: int = 160
    rate_image: float = 2e-4
    rate_text: float = 1e-4
    rate_head: float = 5e-4
    label: float = 0.3
    keep: float = 1.0
    distil: float = 1.0
    soft: float = 0.3
    decay: float = 0.05


def joint(
    model: Model,
    photos: Photos,
    captions: Tensor,
    logits: Tensor,
    labels: LabelTexts,
    settings: Joint,
    seed: int,
    checkpoint: str,
) -> None:
    """Train both towers end to end on random crops, in place.

    ``captions`` unit MiniLM rows ``(n, 5, 384)`` hold the text trunk near its teacher; ``logits`` ``(n, 1000)`` of
    the original classifier hold the image trunk near ImageNet.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    groups = decayed(model.image.trunk, settings.rate_image, settings.decay)
    groups += decayed(model.text.trunk, settings.rate_text, settings.decay)
    for head in (model.image.head, model.text.head):
        groups += decayed(head, settings.rate_head, settings.decay)
    groups += decayed(model.classifier, 1e-4, 0.0) + [{"params": [model.log_scale], "lr": 1e-2, "weight_decay": 0.0}]
    steps = settings.epochs * (len(photos) // settings.batch)
    schedule, average = Schedule(torch.optim.AdamW(groups, betas=(0.9, 0.98)), steps), Average(model, 0.98)
    meaning = F.normalize(captions.mean(1), dim=-1)
    start, log = time.time(), []
    model.train()
    for epoch in range(settings.epochs):
        for batch in shuffled(len(photos), settings.batch, rng):
            batch.sort()
            features = model.image_features(crops(photos.pixels[batch], settings.size, rng))
            images = model.image_vectors(features)
            picks = rng.integers(5, size=len(batch))
            rows = [photos.en[i][pick] for i, pick in zip(batch, picks, strict=True)]
            rows += [photos.zh[i][rng.integers(len(photos.zh[i]))] for i in batch]
            classes = rng.choice(CLASSES, settings.batch // 2, replace=False)
            states = model.text_features(rows + labels.sample(classes, rng))
            texts = model.text_vectors(states)
            en, zh, names = texts.split([len(batch), len(batch), len(classes)])
            soft = soft_targets(meaning[batch], settings.soft)
            loss = losses.info_nce(images, en, model.scale, soft) + 0.7 * losses.info_nce(images, zh, model.scale, soft)
            wanted = torch.cat([captions[batch, picks], meaning[batch]])
            loss = loss + settings.distil * losses.feature_distillation(states[: len(wanted)], wanted)
            loss = loss + settings.label * label_loss(model, features, logits[batch], names, torch.from_numpy(classes))
            loss = loss + settings.keep * losses.label_distillation(model.classifier(features), logits[batch])
            schedule.step(loss)
            average.update(model)
            log.append(loss.item())
        print(
            f"joint {epoch + 1}/{settings.epochs} loss {np.mean(log[-20:]):.3f} {time.time() - start:.0f} s", flush=True
        )
        torch.save(average.module.state_dict(), checkpoint)
    model.load_state_dict(average.module.state_dict())


def crops(pixels: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """Random crops (half to all of the area), mirrored half of the time, other brightness and contrast.

    uint8 ``(n, h, w, 3)`` to float ``(n, 3, size, size)``. Flickr8k comes squashed to squares: crops of other aspect
    ratios show the towers both squashed and natural shapes.
    """
    out = torch.empty(len(pixels), 3, size, size)
    side = pixels.shape[1]
    for i, photo in enumerate(pixels):
        area, ratio = rng.uniform(0.5, 1) * side * side, np.exp(rng.uniform(-0.35, 0.35))
        width, height = (min(side, int(np.sqrt(area * r))) for r in (ratio, 1 / ratio))
        left, top = rng.integers(side - width + 1), rng.integers(side - height + 1)
        patch = torch.from_numpy(np.ascontiguousarray(photo[top : top + height, left : left + width]))
        patch = patch.permute(2, 0, 1)[None].float()
        patch = F.interpolate(patch, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
        if rng.random() < 0.5:
            patch = patch.flip(2)
        mean = patch.mean()
        out[i] = ((patch - mean) * rng.uniform(0.7, 1.3) + mean + rng.uniform(-25, 25)).clamp(0, 255)
    return out
