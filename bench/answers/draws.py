"""Library B: val alone, none to all of it captioned, asked by another caption; photos and questions drawn anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.answers.ask import BASE, Asker
from bench.answers.data import Photo, flickr, part_of, share
from bench.answers.libraries import indexed, kept
from bench.answers.make import Recipe
from bench.answers.questions import Question
from bench.answers.rank import Results, measured, report
from mmsearch import Library

ASKED = 400


def library_b(keep: Path, recipe: Recipe, model: str) -> tuple[Path, Path]:
    """Library and tree; the captions beside the photos are whatever was drawn last."""

    def make(folder: Path) -> None:
        tree = folder / "photos"
        tree.mkdir()
        for i, photo in enumerate(flickr("val")):
            shutil.copyfile(photo.source, tree / _name(i))
        indexed(folder / "photos.library", tree, model)

    folder = kept(keep, f"b-{recipe.name}", model, make)
    return folder / "photos.library", folder / "photos"


def _name(i: int) -> str:
    return f"IMG_{i + 1:04}.JPG"


def captioned(library: Path, tree: Path, chosen: Sequence[int]) -> None:
    """Lay the first caption beside these photos alone, and bring the library up to date: nothing is encoded for it."""
    photos = flickr("val")
    lines = [json.dumps({"file_name": _name(i), "caption": photos[i].en[0]}) for i in chosen]
    (tree / "captions.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with Library(str(library)) as opened:
        summary = opened.index([str(tree)])
    assert not summary.added + summary.updated + summary.partial, summary.counts()


def rows(keep: Path, recipe: Recipe, model: str, part: str, modes: Sequence[str], draws: dict[int, int]) -> Results:
    """``draws``: how many for each percentage of captioned photos."""
    library, tree = library_b(keep, recipe, model)
    results: Results = {}
    base = Asker(library, tree)
    for percent, count in draws.items():
        values: dict[tuple[str, str], dict[str, list[float]]] = {}
        means: dict[str, list[float]] = {}
        for draw in range(count):
            seed = f"{recipe.name} {part} {percent} {draw}"
            chosen = _drawn(seed, percent)
            captioned(library, tree, sorted(chosen))
            asked, who = _asked(seed, part, chosen)
            asker = Asker(library, tree)
            for mode in (BASE, *modes):
                answers = (base if mode == BASE else asker)([question.text for question in asked], mode)
                of_each = measured(asked, answers, False)
                means.setdefault(mode, []).append(round(100 * float(np.mean(of_each["hit@10"])), 1))
                for group in ("all", "without", "with"):
                    kept_in = values.setdefault((group, mode), {})
                    for name, numbers in of_each.items():
                        inside = [n for n, has in zip(numbers, who, strict=True) if group == "all" or has == group]
                        kept_in.setdefault(name, []).extend(inside)
        for (group, mode), of_each in values.items():
            if of_each["hit@10"] and (group == "all" or percent not in (0, 100)):
                case = f"{percent} % captioned, {group}"
                results[case, mode] = report(case, part, mode, of_each, values[group, BASE], draws=means[mode])
    return results


def _drawn(seed: str, percent: int) -> set[int]:
    ordered = sorted(range(len(flickr("val"))), key=lambda i: share("captioned", seed, i))
    return set(ordered[: len(ordered) * percent // 100])


def _asked(seed: str, part: str, chosen: set[int]) -> tuple[list[Question], list[str]]:
    """Questions by a caption that is not the stored one; whether their photo is ``with`` a caption or ``without``."""
    photos = flickr("val")
    own = [i for i, photo in enumerate(photos) if part_of(photo.source.name) == part]
    own = sorted(own, key=lambda i: share("asked", seed, i))[:ASKED]
    asked = [Question(_another(photos[i], seed), frozenset([_name(i)]), part) for i in own]
    return asked, ["with" if i in chosen else "without" for i in own]


def _another(photo: Photo, seed: str) -> str:
    return photo.en[1 + int(4 * share("another", seed, photo.source.name))]
