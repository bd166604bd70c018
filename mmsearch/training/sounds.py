"""The audio tower: YAMNet's trunk, and a head that puts its features where the words for the sound are.

Two sources teach the head. The classifier of the teacher knows 521 kinds of sound by name: features pushed along a
class's row should land on that class's words (label distillation; no recording is needed). The ESC-10 clips show real
features. Both are matched to the text tower, which does not move, so photos and sounds meet through words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.encoders.mini.audio import patches
from mmsearch.training import data, losses
from mmsearch.training.loops import Schedule, decayed
from mmsearch.training.prompts import PHOTO_PROMPTS, SOUND_PROMPTS
from mmsearch.training.tflite import Layer, read_layers
from mmsearch.training.towers import Head, Tower, YamNet


def audio_teacher() -> list[Layer]:
    """YAMNet's layers; the first is its mel matrix, which the runtime has as a formula."""
    return [layer for layer in read_layers(str(data.data_folder() / "teachers" / "yamnet.tflite"))][1:]


@dataclass(frozen=True)
class Sounds:
    """``features`` ``(n, 1024)`` of the clips (mean over patches), class number and fold of each, class names."""

    features: Tensor
    owner: np.ndarray
    fold: np.ndarray
    names: list[str]


@torch.no_grad()
def clip_features(trunk: YamNet) -> Sounds:
    clips = data.esc10()
    names = sorted({name for _, name, _ in clips})
    rows = [trunk(torch.from_numpy(patches(data.read_sound(path)))).mean(0) for path, _, _ in clips]
    owner = np.array([names.index(name) for _, name, _ in clips])
    return Sounds(torch.stack(rows), owner, np.array([fold for _, _, fold in clips]), names)


def class_phrases() -> list[list[str]]:
    """What each of the 521 classes may be asked for: its names in the prompts for sounds, and as a thing seen.

    The last makes a bark lie near photos of dogs: the class "Bark" alone says nothing of what barks, so the names of
    animals come from the AudioSet hierarchy through ``SEEN``.
    """
    phrases = []
    for group in data.audioset_names():
        seen = [SEEN[name.lower()] for name in group if name.lower() in SEEN]
        phrases.append(
            [prompt.format(name.lower()) for name in group for prompt in SOUND_PROMPTS]
            + [PHOTO_PROMPTS[0].format(name) for name in seen]
            + [prompt.format(f"a {name}") for name in seen for prompt in SOUND_PROMPTS[:1]]
        )
    return phrases


SEEN = {
    "dog": "dog", "bark": "dog", "yip": "dog", "howl": "dog", "bow-wow": "dog", "growling": "dog", "whimper": "dog",
    "cat": "cat", "purr": "cat", "meow": "cat", "hiss": "cat", "horse": "horse", "neigh": "horse", "clip-clop": "horse",
    "cattle": "cow", "moo": "cow", "pig": "pig", "oink": "pig", "goat": "goat", "sheep": "sheep", "bleat": "sheep",
    "fowl": "hen", "chicken": "rooster", "rooster": "rooster", "cluck": "hen", "crowing": "rooster",
    "cock-a-doodle-doo": "rooster", "turkey": "turkey", "duck": "duck", "quack": "duck", "goose": "goose",
    "honk": "goose", "bird": "bird", "bird vocalization": "bird", "pigeon": "pigeon", "crow": "crow", "owl": "owl",
    "insect": "insect", "cricket": "cricket", "bee": "bee", "frog": "frog", "croak": "frog", "snake": "snake",
    "baby cry": "baby", "infant cry": "baby", "helicopter": "helicopter", "chainsaw": "chainsaw", "train": "train",
    "car": "car", "motorcycle": "motorcycle", "bus": "bus", "truck": "truck", "aircraft": "airplane", "boat": "boat",
    "fire engine": "fire engine", "ambulance": "ambulance", "police car": "police car", "clock": "clock",
    "tick": "clock", "tick-tock": "clock", "ocean": "ocean", "waves": "ocean", "rain": "rain", "fire": "fire",
    "guitar": "guitar", "piano": "piano", "drum": "drum", "violin": "violin", "harp": "harp", "trumpet": "trumpet",
}  # fmt: skip


def train_head(
    trunk_rows: Tensor, classifier: Layer, sounds: Sounds, class_texts: list[Tensor], clip_texts: list[Tensor],
    folds: tuple[int, ...], seed: int, steps: int = 1500,
) -> Head:  # fmt: skip
    """A head trained on synthetic features of all classes and the real clips of ``folds``.

    ``class_texts`` unit rows of each class's phrases, ``clip_texts`` of each ESC-10 class's.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    weight = torch.from_numpy(classifier.weight)
    bias = torch.from_numpy(classifier.bias)
    rows = F.normalize(weight - weight.mean(0), dim=1)
    head = Head(trunk_rows.shape[1], hidden=256)
    mine = np.flatnonzero(np.isin(sounds.fold, folds))
    schedule = Schedule(torch.optim.AdamW(decayed(head, 1e-3, 0.05), betas=(0.9, 0.98)), steps)
    head.train()
    strength = sounds.features[mine].norm(dim=1).mean()
    for _ in range(steps):
        classes = rng.choice(len(rows), 256, replace=False)
        base = sounds.features[rng.choice(mine, len(classes))]
        pushed = (
            base * torch.rand(len(classes), 1) + strength * (0.3 + torch.rand(len(classes), 1)) * rows[classes]
        ).clamp(0)
        texts = torch.stack([class_texts[c][rng.integers(len(class_texts[c]))] for c in classes])
        wanted = (pushed @ weight.T + bias)[:, classes]
        vectors = F.normalize(head(pushed), dim=-1)
        loss = losses.label_distillation(20 * vectors @ texts.T, wanted) + 0.5 * (1 - (vectors * texts).sum(1)).mean()
        loss = loss + _clip_loss(head, sounds, mine, clip_texts, rng)
        schedule.step(loss)
    return head.eval()


def _clip_loss(
    head: Head, sounds: Sounds, mine: np.ndarray, clip_texts: list[Tensor], rng: np.random.Generator
) -> Tensor:
    batch = rng.choice(mine, 64)
    features = (
        sounds.features[batch] * (1 + 0.2 * torch.randn(64, 1)) * (1 + 0.1 * torch.randn(64, sounds.features.shape[1]))
    )
    vectors = F.normalize(head(features), dim=-1)
    texts = torch.stack([group[rng.integers(len(group))] for group in clip_texts])
    own = texts[sounds.owner[batch]]
    return (
        F.cross_entropy(20 * vectors @ texts.T, torch.from_numpy(sounds.owner[batch]))
        + 0.5 * (1 - (vectors * own).sum(1)).mean()
    )


def audio_tower(head: nn.Module) -> Tower:
    return Tower(YamNet(audio_teacher()), head)
