"""Damaged files: noticed, answered rightly all the same, named by `check`, mended by `repair`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from importlib.util import find_spec
from random import Random

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.errors import MMSearchError
from mmsearch.store import artifacts, rowsums

from .conftest import Program
from .harness import oracle
from .harness.damage import KINDS, damage, damaged
from .harness.pictures import png, random_pixels
from .harness.world import SIZE

CASES = 84
"""Damages of each kind of index; divisible by the number of ways to damage."""

INDEXES = [
    "exact",
    "hash",
    *(
        pytest.param(kind, marks=pytest.mark.skipif(find_spec("faiss") is None, reason="faiss is not installed"))
        for kind in ("flat", "ivfpq", "hnsw")
    ),
]


@pytest.fixture
def ask(library: Library, folder: str, tmp_path, rng: Random) -> Callable[[], None]:
    """Fails unless every answer is that of brute force over the catalog's rows."""
    picture, pixels = str(tmp_path / "query.png"), random_pixels(rng, SIZE)
    with open(picture, "wb") as file:
        file.write(png(pixels))
    np.save(picture + ".npy", pixels)

    def check_answers() -> None:
        assert oracle.queries(folder, oracle.snapshot(folder), [picture]) == []

    return check_answers


def _content(folder: str) -> dict[str, bytes]:
    names = os.listdir(folder)
    return {name: _read(os.path.join(folder, name)) for name in names}


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _restore(folder: str, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        with open(os.path.join(folder, name), "wb") as file:
            file.write(data)


@pytest.mark.parametrize("kind", INDEXES)
def test_damaged_indexes_are_noticed_and_passed_over(library, folder, world, rng, ask, kind) -> None:
    while len(world.files) < 100:
        world.add()
    library.index([world.root], model="fake", index=kind, device="cpu")
    files = os.path.join(folder, "artifacts")
    whole = _content(files)
    (name,) = whole
    for case in range(CASES):
        way = KINDS[case % len(KINDS)]
        if way == "swap":  # with a file of another library, whole in itself
            _restore(files, {name: whole[name][::-1]})
        else:
            assert damage(files, rng, way)
        answer = library.search("red", k=5)
        assert answer.index == "scan" and name in " ".join(answer.notes), (way, answer.notes)
        assert [p.code for p in library.check("data")] == ["artifact"], way
        ask()
        _restore(files, whole)
    assert library.search("red").index == kind, "restored, it is used again"
    assert library.check("data") == []


def test_two_indexes_with_each_others_files(library, folder, world, monkeypatch, ask) -> None:
    """Each is whole in itself, and of the same kind: only the recorded sha256 tells."""
    monkeypatch.setattr(artifacts, "SCANNED", 0)
    library.index([world.root], model="fake", index="exact", device="cpu")
    for path in list(world.files)[:1]:
        os.unlink(path)
        del world.files[path]
    world.add()
    library.index([world.root], device="cpu")
    files = os.path.join(folder, "artifacts")
    (first, one), (second, two) = sorted(_content(files).items())
    _restore(files, {first: two, second: one})
    answer = library.search("red")
    assert answer.index == "scan" and len(answer.notes) == 2
    assert [p.code for p in library.check("data")] == ["artifact", "artifact"]
    ask()
    assert len(library.repair()) == 2
    assert library.check("deep") == [] and library.search("red").index == "exact"
    ask()


def test_the_older_index_steps_in(library, folder, world, monkeypatch, ask) -> None:
    monkeypatch.setattr(artifacts, "SCANNED", 0)
    library.index([world.root], model="fake", index="exact", device="cpu")
    for _ in range(5):
        world.add()
    library.index([world.root], device="cpu")
    newest = max(os.listdir(os.path.join(folder, "artifacts")))
    os.unlink(os.path.join(folder, "artifacts", newest))
    answer = library.search("red")
    assert answer.index == "exact" and newest in " ".join(answer.notes)
    ask()


def test_rot_that_leaves_no_trace_is_named_by_reading_all_data(library, folder, world, rng) -> None:
    """A bit that flips on the disk changes no time and no size: only the sha256 tells, and `check` computes it."""
    library.index([world.root], model="fake", index="exact", device="cpu")
    files = os.path.join(folder, "artifacts")
    ((name, whole),) = _content(files).items()
    path = os.path.join(files, name)
    for _ in range(100):
        _restore(files, {name: damaged(whole, "flip", rng)})
        with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
            db.create_function("row_crc", -1, rowsums.row_crc)
            db.execute("UPDATE artifact SET stat = ?", (artifacts.signature(path),))
            db.execute(rowsums.fill("artifact"))
        db.close()
        assert [p.code for p in library.check("data")] == ["artifact"]
    library.repair()
    assert library.check("data") == []


def test_the_program_says_so(mmsearch: Program, folder, world, rng) -> None:
    assert mmsearch("index", world.root, "--model", "fake", "--index", "exact").returncode == 0
    assert damage(os.path.join(folder, "artifacts"), rng, "flip")
    query = mmsearch("query", "red")
    assert query.returncode == 0 and "mmsearch repair" in query.stderr and len(query.stdout.splitlines()) == 10
    fast, whole = mmsearch("check"), mmsearch("check", "--read-data")
    assert (fast.returncode, whole.returncode) == (0 if "whole" in fast.stdout else 13, 13)
    assert "mmsearch repair" in whole.stderr and "1.exact" in whole.stdout
    dry = mmsearch("repair", "--dry-run")
    assert dry.returncode == 0 and "1.exact" in dry.stdout
    assert mmsearch("check", "--read-data").returncode == 13, "a dry run mends nothing"
    assert mmsearch("repair").returncode == 0
    assert mmsearch("check", "--deep").returncode == 0
    assert mmsearch("query", "red").stderr == ""


# -- the catalog -----------------------------------------------------------------------------------------------------


def _flip_vectors(folder: str, rng: Random, count: int) -> set[int]:
    """Flip one bit of each of so many stored vectors; returns their segments."""
    db = sqlite3.connect(os.path.join(folder, "catalog.sqlite"))
    rows = rng.sample(db.execute("SELECT segment_id, vector FROM embedding").fetchall(), count)
    for segment, vector in rows:
        db.execute("UPDATE embedding SET vector = ? WHERE segment_id = ?", (damaged(vector, "flip", rng), segment))
    db.commit()
    db.close()
    return {segment for segment, _ in rows}


def test_flipped_vectors_are_named_dropped_and_encoded_again(library, folder, world, rng, ask, encoded) -> None:
    while len(world.files) < 120:
        world.add()
    library.index([world.root], model="fake", index="exact", device="cpu")
    bad = _flip_vectors(folder, rng, 100)
    problems = library.check("data")
    assert {int(p.message.split()[4]) for p in problems if p.code == "vector"} == bad
    assert len(problems) == 100
    (line,) = [line for line in library.repair() if "100 damaged vectors" in line]
    assert "mmsearch index" in line
    assert library.check("data") == []
    ask()
    encoded[0] = 0
    summary = library.index([world.root], device="cpu")
    assert (summary.updated, encoded[0]) == (100, 100)
    assert oracle.content(oracle.snapshot(folder), world) == []
    assert library.check("deep") == []
    ask()


@pytest.mark.parametrize("level", ["page", "bit"])
def test_a_damaged_catalog_never_ends_in_a_crash(library, folder, world, rng, level) -> None:
    """Anything may be wrong in the answers then, but all that comes out is an answer or an error of ours."""
    library.index([world.root], model="fake", index="exact", device="cpu")
    library.close()
    catalog = os.path.join(folder, "catalog.sqlite")
    whole = _read(catalog)
    told = 0
    for _ in range(40):
        broken = bytearray(whole)
        for at in rng.sample(range(0, len(whole), 512), 1 if level == "bit" else 8):
            size = 1 if level == "bit" else 512
            broken[at : at + size] = rng.randbytes(size)
        for suffix in ("-wal", "-shm"):
            if os.path.exists(catalog + suffix):
                os.unlink(catalog + suffix)
        with open(catalog, "wb") as file:
            file.write(broken)
        told += bool(library.check("data"))
        for act in (_search, Library.repair, lambda library: library.index([world.root], model="fake", device="cpu")):
            try:
                with Library(folder) as opened:
                    act(opened)
            except MMSearchError as error:
                assert "mmsearch" in str(error), error
    assert told > 10 or level == "bit"


def _search(library: Library) -> None:
    library.search("red")
