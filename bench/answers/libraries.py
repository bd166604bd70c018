"""Libraries on disk, made once under a name that says all they depend on, and found again by it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from bench.answers.data import HERE
from bench.answers.make import ARRANGEMENTS, File, Recipe, write
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
