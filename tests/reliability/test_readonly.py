"""Libraries that can't be written: on read-only media, in a snapshot, of another user. All is read, nothing is left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.errors import Locked
from mmsearch.store import connection
from mmsearch.store.catalog import Catalog

COMMANDS = (("query", "red"), ("ls",), ("check", "--deep"), ("status",))
WITHOUT_POWER = ("setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all")
"""Root may write everywhere: these powers are put away."""

Look = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def indexed(library, folder, world) -> Path:
    library.index([world.root], model="fake", index="exact", device="cpu")
    library.close()
    return Path(folder)


@pytest.fixture
def look() -> Look:
    def run(folder: Path, *command: str, powerless: bool = True) -> subprocess.CompletedProcess[str]:
        if powerless and os.geteuid() == 0 and not shutil.which("setpriv"):
            pytest.skip("no setpriv to put root's powers away")
        before = WITHOUT_POWER if powerless and os.geteuid() == 0 else ()
        line = [*before, sys.executable, "-m", "mmsearch", "--library", str(folder), *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    return run


@pytest.fixture
def read_only_mount(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    mounted: list[Path] = []

    def mount(folder: Path) -> Path:
        place = tmp_path / "mounted"
        place.mkdir()
        if subprocess.run(["mount", "--bind", folder, place], capture_output=True, check=False).returncode:
            pytest.skip("mounting is not allowed here")
        mounted.append(place)
        if subprocess.run(["mount", "-o", "remount,bind,ro", place], capture_output=True, check=False).returncode:
            pytest.skip("mounting read-only is not allowed here")
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", place], check=True)


def _with_log(folder: Path, keep_shm: bool) -> None:
    """As a snapshot of a library at work: the last change is in the log only."""
    with Catalog(str(folder)) as catalog:
        catalog.set("index_kind", "exact")
        saved = {path: path.read_bytes() for path in folder.glob("catalog.sqlite*")}
    for path, data in saved.items():
        if keep_shm or not path.name.endswith("-shm"):
            path.write_bytes(data)
    assert (folder / "catalog.sqlite-wal").stat().st_size


def _locked_up(folder: Path) -> None:
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            os.chmod(os.path.join(place, name), 0o444)
        os.chmod(place, 0o555)


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _assert_all_answer(look: Look, folder: Path, **how: bool) -> None:
    before = _everything(folder)
    for command in COMMANDS:
        done = look(folder, *command, **how)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert len(look(folder, "ls", **how).stdout.splitlines()) == 20
    assert _everything(folder) == before


@pytest.mark.parametrize("state", ["at rest", "a log", "a log and its index"])
def test_a_read_only_mount_is_read(indexed, look, read_only_mount, state) -> None:
    if state != "at rest":
        _with_log(indexed, keep_shm=state == "a log and its index")
    _assert_all_answer(look, read_only_mount(indexed), powerless=False)


@pytest.mark.parametrize("state", ["at rest", "a log", "a log and its index", "an empty log"])
def test_a_write_protected_folder_is_read(indexed, look, state) -> None:
    if state == "an empty log":
        (indexed / "catalog.sqlite-wal").touch()
    elif state != "at rest":
        _with_log(indexed, keep_shm=state == "a log and its index")
    _locked_up(indexed)
    _assert_all_answer(look, indexed)


def test_a_library_of_another_user_is_read(indexed, look) -> None:
    if os.geteuid():
        pytest.skip("only root can give files away")
    for place, _, files in os.walk(indexed):
        for path in (place, *(os.path.join(place, name) for name in files)):
            os.chmod(path, 0o755 if os.path.isdir(path) else 0o644)
            os.chown(path, 65_534, 65_534)
    _assert_all_answer(look, indexed)


def test_a_journal_that_must_be_rolled_back_is(indexed, look) -> None:
    """A writer on a file system without shared memory was killed: its half-made change is not seen."""
    catalog = indexed / "catalog.sqlite"
    db = sqlite3.connect(catalog, isolation_level=None)
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA cache_size = 1")
    db.execute("BEGIN IMMEDIATE")
    db.execute("DELETE FROM embedding")
    db.execute("UPDATE item SET caption = 'half'")
    saved = {path.name: path.read_bytes() for path in indexed.glob("catalog.sqlite*")}
    db.rollback()
    db.close()
    for name, data in saved.items():
        (indexed / name).write_bytes(data)
    assert (indexed / "catalog.sqlite-journal").stat().st_size
    _locked_up(indexed)
    _assert_all_answer(look, indexed)


def test_what_a_writer_changes_meanwhile_is_no_answer(indexed, world, monkeypatch) -> None:
    """Nothing tells such a reader of writers but the files themselves."""
    with Library(str(indexed)) as reading:
        with monkeypatch.context() as protected:
            protected.setattr(connection.os, "access", lambda *args, **options: False)
            assert len(reading.search("red")) == 10
        world.add()
        Library(str(indexed)).index([world.root], device="cpu")
        with pytest.raises(Locked, match="being written"):
            reading.search("green")
    with Library(str(indexed)) as reading:
        assert len(reading.search("red", k=100)) == 21


def test_commands_that_write_say_so(indexed, look, world) -> None:
    _locked_up(indexed)
    for command in (("repair",), ("gc",), ("prune",), ("rm", os.fsdecode(world.root))):
        done = look(indexed, *command)
        assert done.returncode == 70 and "internal" not in done.stderr, done.stderr
