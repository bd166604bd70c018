"""Models that change, that do not fit, and that fail: nothing is mixed, nothing bad is stored, one file costs one."""

from __future__ import annotations

import os
import sqlite3

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import EncoderError, MediaError
from mmsearch.indexer.encode import encode_each
from mmsearch.types import Modality

from .conftest import Program
from .harness import oracle
from .harness.pictures import random_pixels
from .harness.world import SIZE, World


def same_vectors(library: Library, world: World) -> None:
    found = oracle.snapshot(library.folder)
    assert oracle.content(found, world) == []
    assert oracle.queries(library.folder, found, []) == []
    assert library.check("data") == []


# -- another model ---------------------------------------------------------------------------------------------------


def test_another_model_is_built_beside_and_used_when_complete(library, world, monkeypatch) -> None:
    library.index([world.root], model="fake:32", device="cpu")
    with monkeypatch.context() as breaks:
        encode, calls = FakeEncoder.encode, [0]

        def killed_later(self, batch, modality):
            calls[0] += 1
            if calls[0] > 2:
                raise KeyboardInterrupt
            return encode(self, batch, modality)

        breaks.setattr(FakeEncoder, "encode", killed_later)
        breaks.setattr("mmsearch.indexer.ingest.BATCH", 4)
        breaks.setattr("mmsearch.indexer.ingest.COMMIT_ROWS", 4)
        with pytest.raises(KeyboardInterrupt):
            library.index([world.root], model="fake:64", device="cpu")
    found = oracle.snapshot(library.folder)
    assert len(found.dims) == 2 and 0 < len(oracle.current(found, world, 2)) < 20
    assert Library(library.folder).search("red", k=100).space.dim == 32
    same_vectors(library, world)
    library.index([world.root], model="fake:64", device="cpu")
    answer = Library(library.folder).search("red", k=100)
    assert (answer.space.dim, len(answer)) == (64, 20)
    assert library.index([world.root], device="cpu").unchanged == 20, "it stays with the new model"
    assert len(library.gc()) == 1
    assert set(oracle.snapshot(library.folder).dims.values()) == {64}
    same_vectors(library, world)


def test_a_model_that_changed_under_its_name(mmsearch: Program, folder, world) -> None:
    """Its vectors are of no use to the old ones: said, with the way out; `index` is the way out."""
    assert mmsearch("index", world.root, "--model", "fake").returncode == 0
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("UPDATE space SET fingerprint = 'of-last-year'")
    db.close()
    refused = mmsearch("query", "red")
    assert refused.returncode == 12 and refused.stdout == ""
    assert "of-last-year" in refused.stderr and "mmsearch index" in refused.stderr
    assert mmsearch("index", world.root).returncode == 0
    assert len(mmsearch("query", "red", "-k", "100").stdout.splitlines()) == 20
    assert oracle.content(oracle.snapshot(folder), world) == []


def test_a_newer_library_and_no_library(mmsearch: Program, folder, world) -> None:
    for command in (("query", "red"), ("status",), ("check",), ("repair",), ("prune",), ("gc",)):
        none = mmsearch(*command)
        assert (none.returncode, none.stdout) == (10, "") and "mmsearch index" in none.stderr
    assert mmsearch("index", world.root, "--model", "fake").returncode == 0
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        db.execute("PRAGMA user_version = 1000")
        db.execute("INSERT INTO migration (number, name) VALUES (1000, 'm1000_future')")
    db.close()
    for command in (("query", "red"), ("index", world.root), ("check",), ("repair",)):
        newer = mmsearch(*command)
        assert newer.returncode == 14 and "pip install -U mmsearch" in newer.stderr, command


# -- models that fail ------------------------------------------------------------------------------------------------


class Broken(FakeEncoder):
    """Fails in one way on pictures whose first pixel is in ``poison``."""

    def __init__(self, how: str, poison: set[bytes]) -> None:
        super().__init__()
        self.how, self.poison = how, poison

    def encode(self, batch, modality):
        vectors = super().encode(batch, modality)
        bad = [i for i, content in enumerate(batch) if not isinstance(content, str) and self._hurts(content)]
        return self._spoilt(vectors, bad) if bad else vectors

    def _spoilt(self, vectors, bad):
        if self.how == "raises":
            raise RuntimeError("an operator failed")
        if self.how == "memory":
            raise MemoryError
        if self.how in VALUES:
            vectors[bad] *= VALUES[self.how]
        shapes = {"fewer": vectors[:-1], "narrow": np.ascontiguousarray(vectors[:, :-1]), "none": None}
        return shapes.get(self.how, vectors.astype(np.float64) if self.how == "double" else vectors)

    def _hurts(self, content: np.ndarray) -> bool:
        return not self.poison or content.tobytes() in self.poison


VALUES = {"nan": np.nan, "infinite": np.inf, "zero": 0.0, "long": 2.0}
WAYS = (*VALUES, "fewer", "narrow", "double", "none", "raises", "memory")


def _use(monkeypatch: pytest.MonkeyPatch, encoder: FakeEncoder) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda name, device="cpu": encoder if name == "fake" else load(name, device))


@pytest.mark.parametrize("how", WAYS)
def test_a_poisoned_file_costs_that_file_alone(folder, world, monkeypatch, how) -> None:
    victim = sorted(world.files)[7]
    with monkeypatch.context() as broken:
        _use(broken, Broken(how, {world.pixels[world.files[victim]].tobytes()}))
        summary = Library(folder).index([world.root], model="fake", device="cpu")
    assert (summary.added, [f.path for f in summary.failures]) == (19, [victim])
    assert summary.failures[0].state == ("transient" if how == "memory" else "rejected")
    assert len(summary.failures[0].reason) > len("fake: ")
    found = oracle.snapshot(folder)
    assert oracle.current(found, world) == set(world.files) - {victim}
    assert Library(folder).check("data") == []
    assert [row.vectors for row in found.rows if row.path == victim] == [{}]


@pytest.mark.parametrize("size", [1, 8, 32])
@pytest.mark.parametrize("how", ["nan", "raises", "memory"])
def test_poison_at_every_place_of_a_batch(how, size, rng) -> None:
    batch = [random_pixels(rng, SIZE) for _ in range(size)]
    right = FakeEncoder().encode(batch, Modality.IMAGE)
    for place in range(size):
        results = encode_each(Broken(how, {batch[place].tobytes()}), batch, Modality.IMAGE)
        assert [i for i, result in enumerate(results) if isinstance(result, MediaError)] == [place]
        for i, result in enumerate(results):
            assert i == place or np.array_equal(result, right[i])


@pytest.mark.parametrize("most", [1, 3, 16])
def test_a_batch_that_does_not_fit_gets_smaller(most, rng) -> None:
    """A device's "out of memory" is no file's fault: the same rows come out."""

    class Small(FakeEncoder):
        def encode(self, batch, modality):
            if len(batch) > most:
                raise MemoryError("out of memory")
            return super().encode(batch, modality)

    batch = [random_pixels(rng, SIZE) for _ in range(32)]
    rows = encode_each(Small(), batch, Modality.IMAGE)
    assert np.array_equal(np.stack(rows), FakeEncoder().encode(batch, Modality.IMAGE))


@pytest.mark.parametrize("how", WAYS)
def test_a_model_that_fails_on_everything_marks_no_file(folder, world, monkeypatch, how) -> None:
    with monkeypatch.context() as broken, pytest.raises(EncoderError, match="fake fails on every input"):
        _use(broken, Broken(how, set()))
        Library(folder).index([world.root], model="fake", device="cpu")
    assert oracle.snapshot(folder).rows == []
    assert Library(folder).index([world.root], model="fake", device="cpu").added == 20


def test_a_failing_model_leaves_an_older_one_in_use(library, world, monkeypatch) -> None:
    library.index([world.root], model="fake:64", device="cpu")
    with monkeypatch.context() as broken, pytest.raises(EncoderError):
        _use(broken, Broken("nan", set()))
        library.index([world.root], model="fake", device="cpu")
    answer = Library(library.folder).search("red", k=100)
    assert (answer.space.dim, len(answer)) == (64, 20)
