"""A full disk, at any byte: an exit code and a path, the old state still answers, the next run does the rest."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Engine, event

from mmsearch import Library
from mmsearch.errors import MMSearchError, StorageFull

from .conftest import SEED, Program
from .harness import oracle
from .harness.world import World

REPO = Path(__file__).parents[2]


def _old_state(library: Library, world: World) -> oracle.Snapshot:
    library.index([world.root], model="fake", device="cpu")
    return oracle.snapshot(library.folder)


def _is_as_before(library: Library, world: World, before: oracle.Snapshot) -> None:
    """Nothing lost, nothing marked, nothing left lying about, and answers as brute force gives them."""
    found = oracle.snapshot(library.folder)
    assert oracle.content(found, world) == []
    assert oracle.losses(before, found, world, 0, None) == []
    assert oracle.queries(library.folder, found, []) == []
    assert library.check("data") == []
    assert set(os.listdir(os.path.join(library.folder, "artifacts"))) == set(oracle.artifacts(library.folder))


class FullAfter:
    """``os.write`` on a disk with so many bytes left."""

    def __init__(self, left: int) -> None:
        self.left, self.real = left, os.write

    def __call__(self, descriptor: int, data: bytes) -> int:
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.real(descriptor, memoryview(data)[: self.left])
        self.left -= written
        return written


def test_no_room_for_an_index_at_any_byte(library, world, monkeypatch, rng: Random) -> None:
    before = _old_state(library, world)
    size = 20 * (64 + 8) + 16 + 64  # of the index that is about to be written, at most
    for left in [0, 1, *rng.sample(range(2, 20 * 72), 40)]:
        with monkeypatch.context() as full, pytest.raises(StorageFull) as told:
            full.setattr(os, "write", FullAfter(left))
            library.index([world.root], index="exact", device="cpu")
        assert library.folder in str(told.value)
        _is_as_before(library, world, before)
        assert library.search("red").index == "scan"
    with monkeypatch.context() as just_enough:
        just_enough.setattr(os, "write", FullAfter(size))
        library.index([world.root], index="exact", device="cpu")
    assert library.search("red").index == "exact"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_late(library, world, monkeypatch, call, number) -> None:
    """The file was written, and then could not be made durable, or take its name."""
    before = _old_state(library, world)

    def fails(*args, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as full, pytest.raises(StorageFull, match=os.strerror(number)):
        full.setattr(os, call, fails)
        library.index([world.root], index="exact", device="cpu")
    _is_as_before(library, world, before)
    library.index([world.root], index="exact", device="cpu")
    assert library.search("red").index == "exact"


def test_bytes_that_never_arrive_are_missed(library, world, monkeypatch) -> None:
    """FAISS's own writer returns normally from this (measured: 20 of 60); ours compares sizes."""
    before = _old_state(library, world)
    with monkeypatch.context() as lies, pytest.raises(StorageFull, match="bytes arrived"):
        lies.setattr(os, "write", lambda descriptor, data: len(data))
        library.index([world.root], index="exact", device="cpu")
    _is_as_before(library, world, before)


def test_no_room_for_a_page_of_the_catalog(library, world, rng: Random) -> None:
    before = _old_state(library, world)
    with library.catalog() as catalog:
        catalog.compact()  # a new catalog has free pages, left by its migrations
    pages = Path(library.folder, "catalog.sqlite").stat().st_size // 8192
    for _ in range(60):
        world.add()
    limit = [0]

    def limited(connection, _):
        connection.execute(f"PRAGMA max_page_count = {limit[0]}")

    event.listen(Engine, "connect", limited)
    refused = 0
    try:
        for limit[0] in range(pages, pages + 16):  # fewer than there are is none
            try:
                library.index([world.root], device="cpu")
            except MMSearchError as error:
                assert library.folder in str(error)
                refused += 1
            _is_as_before(library, world, before)
    finally:
        event.remove(Engine, "connect", limited)
    assert refused
    library.index([world.root], device="cpu")
    assert oracle.current(oracle.snapshot(library.folder), world) == set(world.files)


def test_no_room_at_any_size_of_any_file(tmp_path: Path) -> None:
    """The whole program under RLIMIT_FSIZE: catalog, write-ahead log, shared memory, lock and index meet it in turn."""
    rng = Random(SEED)
    limits = [0, 1, 511, 512, 4095, 4096, *sorted(rng.sample(range(4097, 260_000), 20))]
    command = [sys.executable, "-m", "tests.reliability.harness.starve", str(tmp_path), str(SEED)]
    done = subprocess.run(
        [*command, ",".join(map(str, limits))], cwd=REPO, capture_output=True, text=True, timeout=600, check=True
    )
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) == len(limits)
    assert [case for case in cases if case["seen"]] == []
    assert {0, 70} == {case["code"] for case in cases}, "some limits must bite, and some must not"


def test_a_disk_that_is_full_for_real(tmp_path: Path, world: World, mmsearch: Program, folder: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs can't be mounted without root")
    try:
        small = ["--library", str(disk / "library"), "index", "--model", "fake"]
        assert mmsearch(*small, world.root).returncode == 0
        before = oracle.snapshot(str(disk / "library"))
        (disk / "ballast").write_bytes(bytes(os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize - 8192))
        for _ in range(60):
            world.add()
        full = mmsearch(*small, world.root)
        assert full.returncode == 70 and str(disk) in full.stderr and "Traceback" not in full.stderr
        library = Library(str(disk / "library"))
        _is_as_before(library, world, before)
        (disk / "ballast").unlink()
        assert mmsearch(*small, world.root).returncode == 0
        assert oracle.current(oracle.snapshot(library.folder), world) == set(world.files)
        library.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)
