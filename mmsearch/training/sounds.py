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
from mmsearch.training.towers import Head, YamNet, pool


def audio_teacher() -> list[Layer]:
    """YAMNet's layers; the first is its mel matrix, which the runtime has as a formula."""
    return read_layers(str(data.data_folder() / "teachers" / "yamnet.tflite"))[1:]


_SCALE = 20.0


@dataclass(frozen=True)
class Sounds:
    """``features`` ``(n, 1024)`` of the clips, pooled, class number and fold of each, class names."""

    features: Tensor
    owner: np.ndarray
    fold: np.ndarray
    names: list[str]


@torch.no_grad()
def clip_features(trunk: YamNet) -> Sounds:
    clips = data.esc10()
    names = sorted({name for _, name, _ in clips})
    inputs = (torch.from_numpy(patches(data.read_sound(path))) for path, _, _ in clips)
    rows = [pool(trunk(clip), clip)[0] for clip in inputs]
    owner = np.array([names.index(name) for _, name, _ in clips])
    return Sounds(torch.stack(rows), owner, np.array([fold for _, _, fold in clips]), names)


def clip_phrases(names: list[str]) -> list[list[str]]:
    """The words for each ESC-10 class, and for the animals among them their photos."""
    return [
        [prompt.format(name.lower()) for prompt in SOUND_PROMPTS]
        + [PHOTO_PROMPTS[0].format(SEEN[word]) for word in name.lower().split() if word in SEEN]
        for name in names
    ]


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


@dataclass(frozen=True)
class SoundLesson:
    """``clips`` are real features; ``phrases`` unit text rows ``(v, dim)`` of each of the 521 classes, ``names`` of
    each class of the clips."""

    clips: Sounds
    phrases: list[Tensor]
    names: list[Tensor]
    classifier: Layer


def train_head(lesson: SoundLesson, folds: tuple[int, ...], seed: int, steps: int = 1000) -> Head:
    """A head from synthetic features of all classes and the real clips of ``folds``; the texts do not move."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    head = Head(YamNet.width, nn.LayerNorm(YamNet.width), hidden=256)
    mine = np.flatnonzero(np.isin(lesson.clips.fold, folds))
    schedule = Schedule(torch.optim.AdamW(decayed(head, 1e-3, 0.05), betas=(0.9, 0.98)), steps)
    head.train()
    for _ in range(steps):
        schedule.step(_class_loss(head, lesson, mine, rng) + _clip_loss(head, lesson, mine, rng))
    return head.eval()


@torch.no_grad()
def centre(head: Head, features: Tensor) -> Tensor:
    """What the vectors of all sounds share, ``(dim,)``: their mean.

    The head learns words for sounds, never words for photos: its vectors lie together, nearer to any words than any
    photo does, and a search over both would list all sounds first. With their mean (length 0.7) taken away, sounds and
    photos compete on equal terms ("Mind the Gap": Liang et al., NeurIPS 2022).
    """
    return F.normalize(head(features), dim=1).mean(0)


def _class_loss(head: Head, lesson: SoundLesson, mine: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Real features, faded and pushed along a class's row, land on the class's words as the teacher grades them."""
    weight, bias = torch.from_numpy(lesson.classifier.weight), torch.from_numpy(lesson.classifier.bias)
    features = lesson.clips.features
    classes = rng.choice(len(weight), 256, replace=False)
    rows = F.normalize(weight - weight.mean(0), dim=1)[classes] * features[mine].norm(dim=1).mean()
    faded = features[rng.choice(mine, len(classes))] * torch.rand(len(classes), 1)
    pushed = (faded + (0.3 + torch.rand(len(classes), 1)) * rows).clamp(0)
    texts = _draw([lesson.phrases[c] for c in classes], rng)
    vectors = F.normalize(head(pushed), dim=-1)
    graded = losses.label_distillation(_SCALE * vectors @ texts.T, (pushed @ weight.T + bias)[:, classes])
    return graded + 0.5 * losses.feature_distillation(vectors, texts)


def _clip_loss(head: Head, lesson: SoundLesson, mine: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Real clips land on their class's words and not on another's."""
    batch = rng.choice(mine, 64)
    features = lesson.clips.features[batch]
    features = features * (1 + 0.2 * torch.randn(len(batch), 1)) * (1 + 0.1 * torch.randn_like(features))
    vectors, texts = F.normalize(head(features), dim=-1), _draw(lesson.names, rng)
    owner = torch.from_numpy(lesson.clips.owner[batch])
    own = losses.feature_distillation(vectors, texts[owner])
    return F.cross_entropy(_SCALE * vectors @ texts.T, owner) + 0.5 * own


def _draw(groups: list[Tensor], rng: np.random.Generator) -> Tensor:
    """One row of each group."""
    return torch.stack([group[int(rng.integers(len(group)))] for group in groups])
