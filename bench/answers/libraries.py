"""Libraries on disk, made once under a name that says all they depend on, and found again by it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.answers.data import HERE, coco_captions, shuffled
from bench.answers.make import ARRANGEMENTS, File, Recipe, write
from bench.answers.texts import TINY
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.store import layout

NARROW = "narrow"
registry.BUILTIN[NARROW] = "bench.answers.narrow:load"
RECIPES = ("data.py", "make.py", "texts.py", "nouns.txt", "absent_nouns.txt", "libraries.py")


def kept(keep: Path, name: str, model: str, make: Callable[[Path], None]) -> Path:
    """The folder of this name below ``keep``; ``make`` fills it if it is not there, or was not filled to the end."""
    facts = [registry.load(model).spec.space, layout.FORMAT, *((HERE / file).read_bytes() for file in RECIPES)]
    digest = hashlib.sha256(repr(facts).encode()).hexdigest()[:8]
    folder, unfinished = keep / f"{name}-{model}-{digest}", keep / f"{name}-{model}-{digest}.tmp"
    if not folder.is_dir():
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        # Paths stand in the library: it is made where it stays, and a mark says that it is whole.
        make(unfinished)
        unfinished.rename(folder)
        _moved(folder, unfinished)
    return folder


def _moved(folder: Path, before: Path) -> None:
    for library in folder.glob("*.library"):
        with_tree = folder / library.stem
        if with_tree.is_dir():
            Library(str(library)).relocate(str(before / library.stem), str(with_tree))


def indexed(library: Path, tree: Path, model: str) -> None:
    """Index a tree into a library; a file that could not be is an error of this bench."""
    with Library(str(library)) as opened:
        summary = opened.index([str(tree)], model=model)
    assert not summary.failures, summary.failures


def library_a(keep: Path, recipe: Recipe, files: list[File], model: str, name: str) -> dict[str, tuple[Path, Path]]:
    """Library and tree of both arrangements. The second takes over the vectors of the first: nothing is encoded."""

    def make(folder: Path) -> None:
        first, second = ARRANGEMENTS
        write(files, folder / first, first)
        indexed(folder / f"{first}.library", folder / first, model)
        write(files, folder / second, second, folder / first)
        shutil.copytree(folder / f"{first}.library", folder / f"{second}.library")
        with Library(str(folder / f"{second}.library")) as library:
            summary = library.index([str(folder / second)], model=model)
            assert not summary.added + summary.updated + summary.partial, summary.counts()
            library.forget(str(folder / first))

    folder = kept(keep, f"{name}-{recipe.name}", model, make)
    return {one: (folder / f"{one}.library", folder / one) for one in ARRANGEMENTS}


def with_tiny_texts(keep: Path, recipe: Recipe, files: list[File], model: str, name: str) -> Path:
    """Library A by number with five tiny texts and no other."""
    library, tree = library_a(keep, recipe, files, model, name)["number"]

    def make(folder: Path) -> None:
        shutil.copytree(library, folder / "tiny.library")
        with Library(str(folder / "tiny.library")) as opened:
            for file in files:
                if file.kind == "text" and file.name not in list(TINY)[:5]:
                    opened.forget(str(tree / file.path("number")))

    return kept(keep, f"{name}-tiny-{recipe.name}", model, make) / "tiny.library"


def with_notes(
    keep: Path, recipe: Recipe, files: list[File], model: str, name: str, count: int
) -> tuple[Path, dict[str, str]]:
    """Library A by number beside so many notes that describe scenes, and the notes by path below A's tree."""
    library, tree = library_a(keep, recipe, files, model, name)["number"]
    notes = shuffled(coco_captions(), f"notes {recipe.name}")[:count]
    names = [f"notebook/{i // 100:02}/{i:04}.txt" for i in range(len(notes))]

    def make(folder: Path) -> None:
        for path, note in zip(names, notes, strict=True):
            (folder / "notes" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "notes" / path).write_text(f"{note}\n", encoding="utf-8")
        shutil.copytree(library, folder / "notes.library")
        indexed(folder / "notes.library", folder / "notes", model)

    folder = kept(keep, f"{name}-notes-{count}-{recipe.name}", model, make)
    below = [os.path.relpath(folder / "notes" / path, tree) for path in names]
    return folder / "notes.library", dict(zip(below, notes, strict=True))
