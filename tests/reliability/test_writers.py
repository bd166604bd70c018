"""Several processes on one library: one writes, the others wait or are told who does; readers never notice."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.errors import Locked
from mmsearch.store.catalog import Catalog

from .conftest import Program
from .harness import oracle
from .harness.world import World

ROUNDS = 3


def start(folder: str, *arguments: str | bytes) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmsearch", "--library", folder, *map(os.fsdecode, arguments)]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )


@contextmanager
def readers(folder: str, count: int, wrong: list[str]) -> Iterator[list[int]]:
    """Ask without pause on threads; whatever is not as it should be goes to ``wrong``. Yields the number of answers."""
    stop, asked = threading.Event(), [0]

    def ask() -> None:
        seen: set[bytes] = set()
        while not stop.is_set():
            if not os.path.exists(os.path.join(folder, "catalog.sqlite")):
                continue
            try:
                with Library(folder) as library:
                    now = {hit.path for hit in library.search("red", k=10_000)}
                if seen - now:
                    wrong.append(f"{len(seen - now)} files were found before, and then not")
                seen, asked[0] = now, asked[0] + 1
                _no_half_batch(folder, wrong)
            except Exception as error:
                if "nothing is indexed" not in str(error):  # the first run has not come so far
                    wrong.append(repr(error))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield asked
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _no_half_batch(folder: str, wrong: list[str]) -> None:
    db = sqlite3.connect(f"file:{folder}/catalog.sqlite?mode=ro", uri=True)
    try:
        counts = db.execute(
            "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM segment), (SELECT count(*) FROM embedding)"
        ).fetchone()
    finally:
        db.close()
    if len(set(counts)) != 1:
        wrong.append(f"half a batch: {counts} items, segments, vectors")


def test_two_writers_and_their_readers(tmp_path: Path, rng) -> None:
    """Born twice at once, then written twice at once: every file of both is there, every answer was whole."""
    wrong: list[str] = []
    for number in range(ROUNDS):
        folder = str(tmp_path / f"library{number}")
        trees = [World(os.fsencode(tmp_path / f"tree{number}{name}"), rng) for name in "ab"]
        for tree in trees:
            for _ in range(300):
                tree.add()
        with readers(folder, 2, wrong) as asked:
            writers = [
                start(folder, "index", tree.root, "--model", "fake", "--index", "exact", "--lock-timeout", "100")
                for tree in trees
            ]
            for writer in writers:
                out, err = writer.communicate(timeout=200)
                assert writer.returncode == 0, out + err
        found = oracle.snapshot(folder)
        for tree in trees:
            assert oracle.current(found, tree) == set(tree.files)
        assert oracle.queries(folder, found, []) == []
        assert Library(folder).check("data") == []
        assert asked[0]
    assert wrong == []


def test_the_second_is_told_who_writes(mmsearch: Program, folder, world) -> None:
    mmsearch("index", world.root, "--model", "fake")
    with Catalog(folder):
        for command in (("index", world.root), ("repair",), ("prune",), ("gc",), ("rm", world.root)):
            second = mmsearch(*command)
            assert second.returncode == 11 and f"process {os.getpid()} on " in second.stderr, command
            assert second.stdout == ""
        assert mmsearch("query", "red").returncode == 0, "who only reads needs no lock"
        waiting = start(folder, "index", world.root, "--lock-timeout", "100")
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(timeout=2)
    out, err = waiting.communicate(timeout=100)
    assert waiting.returncode == 0 and "20 unchanged" in out, err


def test_a_killed_writer_leaves_no_lock(folder, world) -> None:
    library = Library(folder)
    library.index([world.root], model="fake", device="cpu")
    hold = "import sys, time; from mmsearch.store.catalog import Catalog; Catalog(sys.argv[1]); print(1, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", f"{hold}; time.sleep(100)", folder], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(Locked, match=f"process {holder.pid} "):
            library.index([world.root], device="cpu")
        holder.kill()
    assert library.index([world.root], device="cpu").unchanged == 20
