"""Write the golden library of the current format: `python -m tests.golden.make`. Run once for each released format."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from mmsearch import Library
from mmsearch.store import roots
from mmsearch.store.catalog import Record
from mmsearch.store.layout import FORMAT
from mmsearch.types import Detail, FileStat, Modality, Span, State

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}
FOLDER = Path(__file__).parent / f"format-{FORMAT}"


def paint(folder: Path) -> None:
    """Three pictures of one colour, and a file that is none."""
    folder.mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "empty.jpg").touch()


def add_document(library: Library, folder: str) -> None:
    """A document of two chunks with a caption, written as an indexer writes it."""
    chunks = ("dear child, ", "这是一封信 yours")
    with library.catalog() as catalog:
        encoder, scope = library.encoder("fake"), roots.claim(catalog, folder.encode())
        written = Record(
            file=FileStat(b"letter.txt", 40, 1, 1),
            state=State.OK,
            sha256=b"letter".ljust(32),
            modality=Modality.TEXT,
            spans=(Span(0, 12, "char"), Span(12, 23, "char")),
            details=tuple(Detail(None, chunk, page) for page, chunk in enumerate(chunks, 1)),
            caption="from grandmother",
            vectors=encoder.encode(chunks, Modality.TEXT),
        )
        catalog.write_batch(scope.root_id, catalog.space(encoder.spec).id, [written])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        paint(Path(scratch) / "photos")
        library = Library(f"{scratch}/library")
        library.index([f"{scratch}/photos"], model="fake", index="exact")
        add_document(library, f"{scratch}/photos")
        library.relocate(f"{scratch}/photos", "/golden/photos")
        library.gc()
        library.close()
        os.unlink(f"{scratch}/library/lock")
        shutil.copytree(f"{scratch}/library", FOLDER)
