"""What the towers learn from: photos with captions, sounds, and text that has no picture.

Everything is read from the data folder (``$MMSEARCH_DATA``, else ``../shared/data`` beside the repository). Flickr8k
val, the COCO photos and the ImageNet photos are for measuring only: no function here returns them for training.
"""

from __future__ import annotations

import csv
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmsearch.training.prompts import PHOTO_PROMPTS, PHOTO_PROMPTS_ZH, SOUND_PROMPTS

ROOT = Path(__file__).parents[2]
GLOSSARY = Path(__file__).with_name("glossary.tsv")
SYNONYMS = Path(__file__).with_name("synonyms.tsv")


def data_folder() -> Path:
    return Path(os.environ.get("MMSEARCH_DATA", ROOT.parent / "shared" / "data"))


@dataclass(frozen=True)
class Captioned:
    """One photo with its English and Chinese captions."""

    path: Path
    en: list[str]
    zh: list[str]


def flickr8k(split: str) -> list[Captioned]:
    """The photos of ``train`` (6,000) or ``val`` (1,000) with five English and about five Chinese captions each."""
    folder = data_folder() / "flickr8k"
    rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text("utf-8").splitlines()]
    return [Captioned(folder / "images" / row["image"], row["en"], row["zh"]) for row in rows]


def coco_photos() -> list[Captioned]:
    """76 photos of another collection, for measuring only."""
    folder = data_folder() / "coco"
    rows = [json.loads(line) for line in (folder / "captions.jsonl").read_text("utf-8").splitlines()]
    return [Captioned(folder / "images" / row["image"], row["en"], []) for row in rows]


def coco_text() -> list[str]:
    return (data_folder() / "coco" / "captions_text_only.txt").read_text("utf-8").splitlines()


def imagenet_photos() -> list[tuple[Path, int]]:
    """200 photos with the index of their class among the 1,000, for measuring only.

    Two names stand for two classes each (crane, maillot): the file's own name is all there is, so the first that
    has it is taken.
    """
    first = {}
    for index, names in enumerate(imagenet_names()):
        for name in names:
            first.setdefault(name.lower(), index)
    files = sorted((data_folder() / "imagenet").glob("*.JPEG"))
    return [(file, first[file.stem.split("_", 1)[1].replace("_", " ").lower()]) for file in files]


def imagenet_names() -> list[list[str]]:
    """The synonyms of each of the 1,000 classes, in the classifier's order without its background class."""
    lines = (data_folder() / "teachers" / "imagenet_labels.txt").read_text("utf-8").splitlines()[1:]
    return [[name.strip() for name in line.split(",")] for line in lines]


def audioset_names() -> list[list[str]]:
    """The parts of each of the 521 class names: ``"Dog"``, or ``"Chicken"`` and ``"rooster"``."""
    with open(data_folder() / "teachers" / "yamnet_class_map.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [[re.sub(r"\s*\(.*\)", "", part).strip() for part in row["display_name"].split(",")] for row in rows]


def glossary() -> list[tuple[str, str]]:
    """Pairs of an English and a Chinese name of the same thing, written for this recipe."""
    lines = GLOSSARY.read_text("utf-8").splitlines()
    return [(en, zh) for line in lines if line for en, zh in [line.split("\t")]]


def synonyms() -> tuple[list[tuple[str, str]], list[str]]:
    """100 pairs of words for one thing, and 2,000 names to find them among; for measuring only."""
    pairs = [(a, b) for line in SYNONYMS.read_text("utf-8").splitlines() for a, b in [line.split("\t")]]
    names = [b for _, b in pairs] + [a for a, _ in pairs] + [group[0] for group in imagenet_names()]
    names += [en for en, _ in glossary()] + [name for group in audioset_names() for name in group]
    unique = dict.fromkeys(name.lower() for name in names)
    return [(a.lower(), b.lower()) for a, b in pairs], list(unique)[:2000]


def esc10() -> list[tuple[Path, str, int]]:
    """Every clip with its class (``"Dog bark"``) and fold (1 to 3)."""
    files = sorted((data_folder() / "esc10").glob("*/*.ogg"))
    return [(file, file.parent.name.split("_", 1)[1].replace("_", " "), int(file.name[0])) for file in files]


def read_pixels(paths: list[Path]) -> npt.NDArray[np.uint8]:
    """Flickr8k photos as they are stored: uint8 ``(n, 224, 224, 3)``."""
    from PIL import Image

    out = np.empty((len(paths), 224, 224, 3), np.uint8)
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            out[i] = np.asarray(image.convert("RGB"))
    return out


def read_sound(path: Path, rate: int = 16_000) -> npt.NDArray[np.float32]:
    """Mono samples at ``rate``, float32 in -1..1, resampled by cutting the spectrum."""
    import soundfile

    samples, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    length = round(len(mono) * rate / source_rate)
    spectrum = np.fft.rfft(mono)[: length // 2 + 1]
    return (np.fft.irfft(spectrum, length) * (length / len(mono))).astype(np.float32)


def teacher_sentences(words: list[str]) -> list[tuple[str, list[str]]]:
    """Pairs of a text and the English texts whose mean MiniLM vector it should have.

    An English text stands for itself. A Chinese caption stands for the five English captions of its photo, a Chinese
    name for its English one: no translation is needed.
    """
    pairs = []
    for photo in flickr8k("train"):
        pairs += [(en, [en]) for en in photo.en] + [(zh, photo.en) for zh in photo.zh]
    pairs += [(line, [line]) for line in coco_text()]
    names = [name for group in imagenet_names() for name in group]
    sounds = [name for group in audioset_names() for name in group]
    pairs += [(text, [text]) for text in [*words, *names, *sounds]]
    pairs += [(text, [text]) for name in names for text in (PHOTO_PROMPTS[0].format(name),)]
    pairs += [(text, [text]) for name in sounds for text in (SOUND_PROMPTS[0].format(name.lower()),)]
    for en, zh in glossary():
        pairs += [(zh, [en]), (PHOTO_PROMPTS_ZH[0].format(zh), [PHOTO_PROMPTS[0].format(en)])]
    return pairs
