"""Bugs that fault injection found, each by its name; every one of these failed before its fix."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np

from mmsearch.encoders import registry
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.indexer import ingest
from mmsearch.indexer.ingest import Options
from mmsearch.store.catalog import Catalog
from mmsearch.store.check import check
from mmsearch.store.lock import WriterLock

from .harness import oracle


def test_killed_before_the_first_batch_the_library_is_whole(tmp_path: Path) -> None:
    """The first space was chosen for queries in a transaction after its own: `check` told of damage in between."""
    library = str(tmp_path / "library")
    with Catalog(library) as catalog:
        catalog.space(registry.load("fake").spec)  # and killed here
    assert check(library) == []


def test_a_damaged_vector_is_not_taken_over_by_a_copy(library, folder, world) -> None:
    """A copy of a file took over the flipped vector, and gave it a checksum that was right."""
    library.index([world.root], model="fake", device="cpu")
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("UPDATE embedding SET vector = (SELECT vector FROM embedding e WHERE e.seq <> embedding.seq)")
    db.close()
    path = min(world.files)
    copy = os.path.join(world.root, b"copy.png")
    world.write(copy, world.files[path])
    library.index([world.root], device="cpu")
    row = oracle.snapshot(folder).by_path()[copy]
    assert [blob for _, blob in row.vectors[1]] == [world.vector(world.files[path], 32)]


def test_an_index_forgets_the_vectors_that_repair_drops(library, folder, world) -> None:
    """The index went on returning segments whose vectors were damaged when it was built."""
    library.index([world.root], model="fake", device="cpu")
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("UPDATE embedding SET crc32 = crc32 + 1 WHERE seq = 1")
    db.close()
    library.index([world.root], index="exact", device="cpu")
    assert len(library.search("red", k=100)) == len(world.files)
    library.repair()
    assert len(library.search("red", k=100)) == len(world.files) - 1
    assert library.search("red").index == "exact"


def test_a_library_that_is_being_born_is_not_swept_away(tmp_path: Path) -> None:
    """Two first runs at once: one took the other's folder, made but not yet locked, for a leftover."""
    other, dead = tmp_path / f"library.tmp-{os.getppid()}", tmp_path / "library.tmp-999999999"
    own = tmp_path / f"library.tmp-{os.getpid()}"
    for left in (other, dead, own):
        left.mkdir()
    for left in (dead, own):  # as a kill leaves them; a folder that was never locked may be anyone's
        WriterLock(str(left)).close()
    Catalog(str(tmp_path / "library")).close()
    assert [left.exists() for left in (other, dead, own)] == [True, False, False]


def test_a_file_that_met_a_full_memory_is_tried_again(library, world, monkeypatch) -> None:
    """It was rejected for good, and without a reason."""
    encode, victim = FakeEncoder.encode, world.pixels[world.files[min(world.files)]]

    def full(self, batch, modality):
        if any(np.array_equal(content, victim) for content in batch):
            raise MemoryError
        return encode(self, batch, modality)

    with monkeypatch.context() as short:
        short.setattr(FakeEncoder, "encode", full)
        (failure,) = library.index([world.root], model="fake", device="cpu").failures
    assert (failure.state, failure.reason) == ("transient", "fake: MemoryError")
    assert library.index([world.root], device="cpu").failures == []


def test_a_dry_run_lets_queries_use_what_they_used(library, folder, world) -> None:
    """With a model that changed under its name, queries went over to its new and empty space."""
    library.index([world.root], model="fake", device="cpu")
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("UPDATE space SET fingerprint = 'of-last-year'")
    db.close()
    library.index([world.root], device="cpu", options=Options(dry_run=True))
    assert library.active_space().fingerprint == "of-last-year"


def test_rows_that_came_later_do_not_hide_what_the_index_knows(library, world) -> None:
    """Where many of an index's best were gone, worse rows that came after it filled up the answer."""
    for _ in range(60):
        world.add()
    library.index([world.root], model="fake", index="exact", device="cpu")
    ranking = [hit.path for hit in library.search("red", k=80)]
    for path in ranking[:30]:
        os.unlink(path)
    late = [world.files[path] for path in ranking[-8:]]
    for path in ranking[-8:]:
        os.unlink(path)
    for sha256 in late:  # the same pictures with another last byte: the least red ones, as new files
        with open(os.path.join(world.root, f"late-{sha256}.png".encode()), "wb") as file:
            file.write(world.data[sha256] + b"\n")
    library.index([world.root], device="cpu")
    answer = library.search("red", k=5)
    assert answer.index == "exact"
    assert [hit.path for hit in answer] == ranking[30:35]


def test_files_that_swap_their_names_are_not_encoded_again(library, world, encoded, monkeypatch) -> None:
    """A commit in the middle of the run overwrote contents whose new names were still to come."""
    for _ in range(130):
        world.add()
    library.index([world.root], model="fake", device="cpu")
    known, paths = encoded[0], sorted(world.files)
    contents = [world.files[path] for path in paths]
    monkeypatch.setattr(ingest, "COMMIT_S", 0.0)
    for path, content in zip(paths, contents[::-1], strict=True):
        world.write(path, content)
    summary = library.index([world.root], device="cpu")
    assert (summary.reused, encoded[0]) == (150, known)
