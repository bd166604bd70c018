"""A catalog from elsewhere is looked at once, before it is used; one made here never."""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from mmsearch import Library
from mmsearch.errors import Damaged
from mmsearch.store import check, first_use
from mmsearch.store.catalog import Catalog
from mmsearch.store.reader import Reader

from .conftest import Program
from .harness import rot


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def looks(monkeypatch) -> list[str]:
    """The catalogs looked at in this process."""
    done: list[str] = []
    wrong = first_use._wrong

    def counted(reader: Reader) -> str | None:
        done.append(reader.query("PRAGMA database_list")[0][2])
        return wrong(reader)

    monkeypatch.setattr(first_use, "_wrong", counted)
    return done


@pytest.fixture
def indexed(library, folder, world) -> str:
    library.index([world.root], model="fake", index="exact", device="cpu")
    library.close()
    rot.checkpoint(folder)
    return folder


@pytest.fixture
def copy(indexed, tmp_path) -> str:
    return str(shutil.copytree(indexed, tmp_path / "copy"))


def _flip_page_header(folder: str) -> None:
    """Of a page that no question reads."""
    path = os.path.join(folder, "catalog.sqlite")
    with sqlite3.connect(path) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'sqlite_autoindex_space_1'")
    db.close()
    with open(path, "r+b") as file:
        (size,) = struct.unpack(">16xH", file.read(18))
        file.seek((page - 1) * size)
        kind = file.read(1)[0]
        file.seek((page - 1) * size)
        file.write(bytes([kind ^ 4]))


def test_a_damaged_copy_is_refused_at_first_use(copy, mmsearch: Program) -> None:
    _flip_page_header(copy)
    for command in (("query", "red"), ("ls",), ("gc",)):
        done = mmsearch("--library", copy, *command)
        assert done.returncode == 13 and "mmsearch repair" in done.stderr, (command, done.stderr)
    assert mmsearch("--library", copy, "check").returncode == 13


@pytest.mark.parametrize(
    "tampering",
    [
        "CREATE VIEW evil AS SELECT 1",
        "CREATE TRIGGER evil AFTER INSERT ON item BEGIN DELETE FROM embedding; END",
        "DROP INDEX segment_item",
        "ALTER TABLE item ADD COLUMN more",
    ],
)
@pytest.mark.parametrize("use", [Reader, Catalog])
def test_another_schema_is_refused(copy, tampering, use: Callable[[str], object]) -> None:
    db = sqlite3.connect(os.path.join(copy, "catalog.sqlite"))
    db.execute(tampering)
    db.close()
    for _ in range(2):
        with pytest.raises(Damaged, match="mmsearch repair"):
            use(copy)
    assert {problem.code for problem in Library(copy).check("fast")} == {"schema"}


def test_what_is_mended_is_used(copy) -> None:
    db = sqlite3.connect(os.path.join(copy, "catalog.sqlite"))
    db.execute("DROP INDEX segment_item")
    db.execute("CREATE TABLE mine (x)")  # which `repair` leaves alone, and which nothing reads
    db.close()
    with pytest.raises(Damaged, match="segment_item"):
        Library(copy).search("red")
    Library(copy).repair()
    assert len(Library(copy).search("red")) == 10


def test_the_writer_looks_before_it_migrates(tmp_path) -> None:
    golden = Path(__file__).parent.parent / "golden" / "format-1"
    copy = str(shutil.copytree(golden, tmp_path / "copy"))
    db = sqlite3.connect(os.path.join(copy, "catalog.sqlite"))
    db.execute("CREATE INDEX evil ON item (camera)")
    db.close()
    before = Path(copy, "catalog.sqlite").read_bytes()
    with pytest.raises(Damaged, match="evil"):
        Catalog(copy)
    assert Path(copy, "catalog.sqlite").read_bytes() == before


def test_a_copy_is_looked_at_once(copy, looks) -> None:
    Reader(copy).close()
    Catalog(copy).close()
    Reader(copy).close()
    assert looks == [os.path.join(copy, "catalog.sqlite")]
    other = os.path.join(copy, "catalog.other")
    shutil.copyfile(looks[0], other)
    os.replace(other, looks[0])
    for _ in range(2):
        Catalog(copy).close()
    assert len(looks) == 2, "another file under the same name is another catalog"


def test_a_library_made_here_is_never_looked_at(indexed, library, world, looks) -> None:
    assert len(library.search("red")) == 10
    world.add()
    library.index([world.root], device="cpu")
    library.gc()
    assert looks == []


def test_what_is_known_costs_one_small_file(indexed, cache, monkeypatch) -> None:
    read: list[str] = []
    note = first_use.known.read_note
    monkeypatch.setattr(first_use.known, "read_note", lambda kind, key: read.append(kind) or note(kind, key))
    monkeypatch.setattr(check, "wrong_schema", None)
    Reader(indexed).close()
    assert read == ["catalogs"]
    assert sum(path.stat().st_size for path in (cache / "catalogs").iterdir()) < 1000


def test_the_cache_does_not_grow_with_libraries(tmp_path, monkeypatch, looks) -> None:
    monkeypatch.setattr(first_use, "KEPT", 2)
    for name in ("a", "b", "c"):
        Catalog(str(tmp_path / name)).close()
    for name in ("c", "b", "a"):
        Reader(str(tmp_path / name)).close()
    assert looks == [str(tmp_path / "a" / "catalog.sqlite")]


@pytest.mark.parametrize("note", ["", "[]", '{"x": 1}', '{"x": [1, "2"]}'])
def test_a_damaged_note_is_no_note(copy, cache, looks, note) -> None:
    Reader(copy).close()
    (path,) = (cache / "catalogs").iterdir()
    path.write_text(note)
    Reader(copy).close()
    Reader(copy).close()
    assert len(looks) == 2


@pytest.mark.parametrize(("owner", "expected"), [("ours", 0), ("another's", 3)])
def test_without_a_cache_those_of_others_are_looked_at(copy, tmp_path, monkeypatch, looks, owner, expected) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "file" / "below"))
    if owner != "ours":
        user = os.geteuid()
        monkeypatch.setattr(first_use.os, "geteuid", lambda: user + 1)
    for _ in range(3):
        Reader(copy).close()
    assert len(looks) == expected
