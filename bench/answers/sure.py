"""Rows on confidence: libraries are asked for what they show and for what they do not.

Present are everyday nouns that captions of at least 20 photos name, and captions, in a library of photos alone, so that
no word helps; absent is what nothing there names, in that library and in library A with its texts, sounds and captions.
What is absent is asked again beside many more files that show nothing of it: photos of train and crops of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.answers.ask import Asker, Found
from bench.answers.data import Photo, absent_things, flickr, noun_part, nouns, part_of, share, telling, tokens
from bench.answers.libraries import indexed, kept
from bench.answers.make import File, Recipe, train_for
from bench.answers.score import area, interval
from bench.common import fill, row
from mmsearch import Modality
from mmsearch.encoders import registry

TRAIN = 1500
"""Photos of train beside val's 1,000: so many more nouns have the 20 photos."""
ENOUGH = 20
HALF = 0.5
DEEP = 200
SENTENCES = 200
SHOWN = """
rattlesnake shark parrot hamburger frog pumpkin pumpkins billiards cappuccino whale seaweed insect beetle broccoli
cabbage banknotes coins goldfish skyscraper ship submarine wolf
"""
"""What ImageNet's photos show, or nearly show, under another name."""
CASE = "confidence"
ADJECTIVES = """
black white brown red blue green yellow orange pink young old little small large big snowy grassy wooden rocky
"""
Results = dict[tuple[str, str], dict[str, list[float]]]


def photos_of(recipe: Recipe, small: bool) -> list[Photo]:
    chosen = [*flickr("val"), *train_for(recipe)[:TRAIN]]
    return [photo for photo in chosen if not small or share("small", photo.source.name) < 0.25]


def library_c(keep: Path, recipe: Recipe, model: str, name: str, small: bool) -> tuple[Path, Path]:
    """Library and tree of photos in one folder that says nothing."""

    def make(folder: Path) -> None:
        tree = folder / "photos"
        tree.mkdir()
        for i, photo in enumerate(photos_of(recipe, small)):
            shutil.copyfile(photo.source, tree / f"IMG_{i + 1:04}.JPG")
        indexed(folder / "photos.library", tree, model)

    folder = kept(keep, f"{name}-photos-{recipe.name}", model, make)
    return folder / "photos.library", folder / "photos"


def beside(keep: Path, recipe: Recipe, model: str, name: str, library: Path, more: int) -> Path:
    """A copy of a library with so many more photos: others of train, whole and in crops."""

    def vectors(folder: Path) -> None:
        encoder = registry.load(model)
        np.save(folder / "crops.npy", _crops(encoder, train_for(recipe)[TRAIN:], more))

    def make(folder: Path) -> None:
        shutil.copytree(library, folder / "more.library")
        crops = kept(keep, f"crops-{more}-{recipe.name}", model, vectors) / "crops.npy"
        fill(str(folder / "more.library"), registry.load(model).spec, np.load(crops))

    return kept(keep, f"{name}-beside-{more}-{recipe.name}", model, make) / "more.library"


def _crops(encoder, photos: Sequence[Photo], count: int) -> np.ndarray:
    """Vectors of so many pictures: each photo, then its quarters, its middle, and these mirrored."""
    from PIL import Image, ImageOps

    size = encoder.spec.image.size

    def pictures() -> Iterator[np.ndarray]:
        for turn in range(11):
            for photo in photos:
                with Image.open(photo.source) as image:
                    picture = image.convert("RGB")
                if turn:
                    left, top = ((0, 0), (0.4, 0), (0, 0.4), (0.4, 0.4), (0.2, 0.2))[(turn - 1) % 5]
                    box = [round(edge * 224) for edge in (left, top, left + 0.6, top + 0.6)]
                    picture = picture.crop(tuple(box))
                yield np.asarray((ImageOps.mirror(picture) if turn > 5 else picture).resize((size, size)))

    vectors, batch = [], []
    for number, picture in enumerate(pictures(), 1):
        batch.append(picture)
        if len(batch) == 64 or number == count:
            vectors.append(encoder.encode(batch, Modality.IMAGE))
            batch = []
        if number == count:
            break
    return np.concatenate(vectors)


class Absent:
    """What no photo shows, for one part; ``files``: nor any other file of a library."""

    def __init__(self, part: str, files: Sequence[File] = ()) -> None:
        named = set(SHOWN.split()) if files else set()
        for file in files:
            photos = (file.photo, *file.stills) if file.photo is not None else file.stills
            named |= set(tokens(" ".join([file.text, file.sidecar, file.sound, *(photo.label for photo in photos)])))
        mine = {text: words for text, words in absent_things().items() if part_of(f"absent {text}") == part}
        self.nouns = [text for text, words in mine.items() if " " not in text and not words & named]
        self.sentences = [text for text, words in mine.items() if " " in text and not words & named]


class Asked:
    """What is there and what is not, for one part."""

    def __init__(self, recipe: Recipe, part: str, small: bool) -> None:
        photos = photos_of(recipe, small)
        path = {photo.source.name: f"IMG_{i + 1:04}.JPG" for i, photo in enumerate(photos)}
        enough = ENOUGH // 4 if small else ENOUGH
        self.right: dict[str, frozenset[str]] = {}
        for noun, words in nouns().items():
            right = frozenset(path[photo.source.name] for photo in photos if photo.words & words)
            if len(right) >= enough and noun_part(noun) == part:
                self.right[noun] = right
        val = [photo for photo in flickr("val") if photo.source.name in path and part_of(photo.source.name) == part]
        val = sorted(val, key=lambda photo: share("sure", recipe.name, photo.source.name))[:SENTENCES]
        self.sentences = [photo.en[int(5 * share("which", recipe.name, photo.source.name))] for photo in val]
        self.absent = Absent(part)
        self.pairs = dict(_pairs(photos, path, part, enough))


def _pairs(
    photos: Sequence[Photo], path: dict[str, str], part: str, enough: int
) -> Iterator[tuple[str, frozenset[str]]]:
    """An adjective before a noun, as captions have them: right is whatever has both words side by side."""
    found: dict[str, set[str]] = {}
    for photo in photos:
        for caption in photo.en:
            words = telling(caption)
            for one, other in pairwise(words):
                if one in ADJECTIVES.split() and other in nouns():
                    found.setdefault(f"{one} {other}", set()).add(path[photo.source.name])
    for pair, right in found.items():
        if len(right) >= enough // 2 and part_of(f"pair {pair}") == part:
            yield pair, frozenset(right)


def sure(found: Sequence[Found]) -> list[str]:
    return [one.path for one in found if one.confidence is not None and one.confidence >= HALF]


def best(answers: Sequence[Sequence[Found]]) -> list[float]:
    return [max((one.confidence or 0.0 for one in found), default=0.0) for found in answers]


def present(case: str, part: str, mode: str, asker: Asker, right: dict[str, frozenset[str]]) -> Results:
    """How many questions have a hit that is as likely right as not, and how many of such hits are right."""
    answers = asker(list(right), mode, DEEP)
    hits = [sure(found) for found in answers]
    counts = [(len(paths), sum(path in right[noun] for path in paths)) for noun, paths in zip(right, hits, strict=True)]
    figures = {
        "with a hit of 0.5": interval([float(bool(paths)) for paths in hits]),
        "precision of such hits": _ratio(counts),
        "first hit right": interval(
            [float(found[0].path in right[noun]) if found else 0.0 for noun, found in zip(right, answers, strict=True)]
        ),
    }
    row(
        "answers",
        case,
        part=part,
        mode=mode,
        questions=len(right),
        hits=sum(n for n, _ in counts),
        **figures,
        said_and_found=_calibration(right, answers),
    )
    return {(case, mode): figures | {"questions": [len(right)]}}


def _ratio(counts: Sequence[tuple[int, int]]) -> list[float]:
    """Right hits by hits, over all questions together; its interval by drawing questions again."""
    table = np.array(counts, float).reshape(-1, 2)
    if not table[:, 0].sum():
        return [0.0, 0.0, 0.0]
    draws = np.random.default_rng(0).integers(0, len(table), (2000, len(table)))
    sums = table[draws].sum(axis=1)
    low, high = np.quantile(sums[:, 1] / np.maximum(sums[:, 0], 1), (0.025, 0.975))
    return [round(float(100 * value), 1) for value in (table[:, 1].sum() / table[:, 0].sum(), low, high)]


def _calibration(right: dict[str, frozenset[str]], answers: Sequence[Sequence[Found]]) -> list[list[float]]:
    """Of hits by confidence, in steps of a fifth: how many, what was said, what was found."""
    pairs = [
        (one.confidence or 0.0, one.path in right[noun])
        for noun, found in zip(right, answers, strict=True)
        for one in found
    ]
    said, true = (np.array(values, float) for values in zip(*pairs, strict=True))
    rows = []
    for low in (0, 0.2, 0.4, 0.6, 0.8):
        inside = (said >= low) & ((said < low + 0.2) | (low == 0.8))
        if inside.any():
            rows.append([int(inside.sum()), round(float(said[inside].mean()), 2), round(float(true[inside].mean()), 2)])
    return rows


def absent_rows(asked: Absent, part: str, mode: str, asker: Asker, where: str = "") -> Results:
    """What is not there; ``where`` says in which library."""
    results: Results = {}
    for name, texts in (("sentences", asked.sentences), ("nouns", asked.nouns)):
        values = best(asker(texts, mode, 1))
        figures = {"with a hit of 0.5": interval([float(value >= HALF) for value in values])}
        case = f"{CASE}: absent {name}{where}"
        row("answers", case, part=part, mode=mode, questions=len(texts), **figures)
        results[case, mode] = figures
    return results


def rows(asked: Asked, part: str, mode: str, asker: Asker) -> Results:
    """What is there, what is not, and how well the surest hit tells them apart."""
    results = absent_rows(asked.absent, part, mode, asker, ", photos alone")
    results |= present(f"{CASE}: nouns", part, mode, asker, asked.right)
    results |= present(f"{CASE}: pairs of words", part, mode, asker, asked.pairs)
    both = {"sentences": (asked.sentences, asked.absent.sentences), "nouns": (list(asked.right), asked.absent.nouns)}
    for name, texts in both.items():
        there, missing = (best(asker(some, mode, 1)) for some in texts)
        case, value = f"{CASE}: area under the ROC, {name}", round(area(there, missing), 4)
        row("answers", case, part=part, mode=mode, questions=len(there), area=value)
        results[case, mode] = {"area": [value]}
    return results
