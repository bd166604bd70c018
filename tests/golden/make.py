"""Write the golden library of the current format: `python -m tests.golden.make`. Run once for each released format."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from mmsearch import Library
from mmsearch.store.layout import FORMAT

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
FOLDER = Path(__file__).parent / f"format-{FORMAT}"


def paint(folder: Path) -> None:
    """Three pictures of one colour, and a file that is none."""
    folder.mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "empty.jpg").touch()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        paint(Path(scratch) / "photos")
        library = Library(f"{scratch}/library")
        library.index([f"{scratch}/photos"], model="fake", index="exact")
        library.relocate(f"{scratch}/photos", "/golden/photos")
        library.gc()
        library.close()
        os.unlink(f"{scratch}/library/lock")
        shutil.copytree(f"{scratch}/library", FOLDER)
