"""Rot and tampering: every bit that counts is seen by `check --read-data`, and mended or named by `repair`."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from random import Random

import pytest

from mmsearch import Library
from mmsearch.encoders import bridge, kept, sums
from mmsearch.errors import Damaged
from mmsearch.store import rowsums
from mmsearch.store.catalog import Catalog
from mmsearch.store.layout import FORMAT

from .harness import rot

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def rotting(tmp_path_factory) -> str:
    """A library with everything in it, made once; tests work on copies."""
    place = tmp_path_factory.mktemp("rot")
    rot.make(str(place / "library"), Random(1))
    rot.checkpoint(str(place / "library"))
    return str(place / "library")


@pytest.fixture
def copy(rotting, tmp_path) -> str:
    return str(shutil.copytree(rotting, tmp_path / "copy"))


def _sql(folder: str, *statements: str) -> None:
    with sqlite3.connect(os.path.join(folder, "catalog.sqlite")) as db:
        for statement in statements:
            db.execute(statement)
    db.close()


def _codes(folder: str, level: str = "data") -> set[str]:
    return {problem.code for problem in Library(folder).check(level)}


def test_flipped_bits_are_seen(copy, rng) -> None:
    """A small `make rot`."""
    report = rot.campaign(copy, 120, rng, repair_every=24)
    assert report.unseen == [] and report.unmended == []
    assert sum(report.changed.values()) > 30


@pytest.mark.parametrize("table", rowsums.COLUMNS)
def test_every_column_of_every_table_is_summed(copy, table) -> None:
    for name in rowsums.COLUMNS[table][len(rowsums.key_of(table)) :]:
        whole = rot.said(copy)
        _sql(copy, f'CREATE TABLE saved AS SELECT * FROM "{table}"', f'UPDATE {table} SET "{name}" = \'#\' || "{name}"')
        if rot.said(copy) != whole and Library(copy).reader.query(f"SELECT 1 FROM {table} WHERE \"{name}\" LIKE '#%'"):
            assert "row" in _codes(copy), name
        _sql(copy, f'UPDATE {table} SET "{name}" = substr("{name}", 2) WHERE "{name}" LIKE \'#%\'', "DROP TABLE saved")


def test_text_where_a_path_was_is_a_wrong_row(copy) -> None:
    """One bit of a row's header makes text of bytes; all that is wrong is named; a dry run says what would be done."""
    _sql(copy, "UPDATE item SET path = CAST(path AS TEXT) WHERE id = 3")
    assert "row" in _codes(copy) and "catalog" not in _codes(copy)
    assert any("of item" in line for line in Library(copy).repair(dry_run=True))
    Library(copy).repair()
    assert _codes(copy) == set()


def test_a_row_with_one_wrong_bit_is_set_right(copy) -> None:
    with sqlite3.connect(os.path.join(copy, "catalog.sqlite")) as db:
        ((path, camera),) = db.execute("SELECT path, size FROM item WHERE id = 3").fetchall()
        db.execute("UPDATE item SET path = ?, size = size WHERE id = 3", (bytes([path[0] ^ 4]) + path[1:],))
        db.execute("UPDATE space SET dim = dim | 256 WHERE id = 1")
        db.execute("UPDATE setting SET value = 'dxact' WHERE key = 'index_kind'")  # exact
    db.close()
    assert "row" in _codes(copy)
    assert sum("right" in line for line in Library(copy).repair()) == 3
    assert _codes(copy) == set()
    assert Library(copy).reader.query("SELECT path, size FROM item WHERE id = 3") == [(path, camera)]


def test_other_rows_are_given_up_and_their_files_encoded_again(copy) -> None:
    tree = copy.replace("copy", "tree")
    original = Library(copy).reader.roots()[0][1]
    shutil.copytree(os.fsdecode(original), tree)
    Library(copy).relocate(original, tree)
    items = len(Library(copy).reader.items())
    _sql(
        copy,
        "UPDATE item SET size = 1, mtime_ns = 2 WHERE id = 3",
        "UPDATE segment SET item_id = 9, text = 'else' WHERE id = 12",
        "UPDATE folder SET files = 99",
        "UPDATE artifact SET rows = 1, max_seq = 7",
        "DELETE FROM run",
    )
    lines = Library(copy).repair()
    assert any("encodes their files again" in line for line in lines), lines
    assert _codes(copy) == set()
    summary = Library(copy).index([tree], device="cpu")
    assert summary.added + summary.updated > 0
    assert len(Library(copy).reader.items()) == items and _codes(copy, "deep") == set()


@pytest.mark.parametrize(
    "tampering",
    [
        "CREATE TRIGGER evil AFTER INSERT ON item BEGIN DELETE FROM embedding; END",
        "CREATE TRIGGER item_text_insert AFTER INSERT ON item BEGIN SELECT 1; END",
        "CREATE VIEW evil AS SELECT 1",
    ],
)
def test_code_in_the_file_never_runs(copy, tampering) -> None:
    _sql(copy, tampering)
    assert "schema" in _codes(copy, "fast")
    with pytest.raises(Damaged, match="not ours"):
        Catalog(copy)
    assert any("not ours" in line for line in Library(copy).repair(dry_run=True))
    assert "schema" in _codes(copy, "fast"), "a dry run changes nothing"
    assert any("not ours" in line for line in Library(copy).repair())
    assert _codes(copy) == set()


def test_missing_and_foreign_indexes_and_tables(copy) -> None:
    _sql(copy, "DROP INDEX item_content", "DROP INDEX segment_item", "CREATE INDEX evil ON item (camera)")
    assert _codes(copy, "fast") == {"schema"}
    Library(copy).repair()
    assert _codes(copy) == set()
    _sql(copy, "CREATE TABLE mine (x)")
    assert any("left alone" in line for line in Library(copy).repair())
    assert _codes(copy) == {"schema"} and Library(copy).reader.query("SELECT count(*) FROM mine") == [(0,)]


def test_ids_are_never_given_twice(copy) -> None:
    _sql(copy, "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'segment'")
    assert _codes(copy) == {"catalog"}
    Library(copy).repair()
    assert _codes(copy) == set()


def test_a_damaged_tower_is_not_believed_and_is_dropped(copy) -> None:
    (space,) = os.listdir(os.path.join(copy, "text"))
    path = os.path.join(copy, "text", space, "textual", "settings.json")
    with open(path, "r+b") as file:
        file.write(b"?")
    assert [names for _, names in kept.damaged(copy)] == [["textual/settings.json"]]
    assert _codes(copy) == {"tower"}
    assert any("text tower" in line for line in Library(copy).repair(dry_run=True)) and os.path.exists(path)
    assert any("text tower" in line for line in Library(copy).repair())
    assert not os.path.exists(os.path.dirname(path)) and _codes(copy) == set()


def test_a_damaged_bridge_is_named_and_a_damaged_list_mended(copy) -> None:
    listed, path = os.path.join(copy, "bridges", sums.NAME), os.path.join(copy, "bridges", "b.npz")
    with open(listed, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(b"0" if first != b"0" else b"1")
    assert _codes(copy) == {"bridge"}
    Library(copy).repair()
    assert _codes(copy) == set()
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        file.write(b"??")
    assert bridge.damaged(copy) == ["b.npz"]
    assert any("mmsearch bridge" in line for line in Library(copy).repair())
    assert _codes(copy) == {"bridge"}, "what can't be mended is named until it is made again"


# -- dry runs and upgrades ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(1, FORMAT))
def test_dry_runs_leave_an_older_library_as_it_is(tmp_path, number) -> None:
    folder = str(shutil.copytree(GOLDEN / f"format-{number}", tmp_path / "library"))
    before = _read(folder)
    (tmp_path / "photos").mkdir()
    with Library(folder) as library:
        library.repair(dry_run=True)
        library.prune(dry_run=True)
        library.gc(dry_run=True)
        from mmsearch.indexer.options import Options

        library.index([str(tmp_path / "photos")], options=Options(dry_run=True), device="cpu")
        assert library.reader.query("PRAGMA user_version") == [(number,)]
    assert _read(folder) == before
    Library(folder).repair()
    assert Library(folder).reader.query("PRAGMA user_version") == [(FORMAT,)]
    assert _codes(folder, "deep") == set()


def _read(folder: str) -> bytes:
    with open(os.path.join(folder, "catalog.sqlite"), "rb") as file:
        return file.read()


def test_what_an_older_version_skipped_is_looked_at_again(tmp_path) -> None:
    folder = str(shutil.copytree(GOLDEN / "format-1", tmp_path / "library"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "letter.txt").write_text("dear child, " * 30)
    with Library(folder) as library:
        status = os.stat(tmp_path / "photos" / "letter.txt")
        _sql(
            folder,
            f"UPDATE root SET path = CAST('{tmp_path}/photos' AS BLOB)",
            "INSERT INTO item (root_id, path, size, mtime_ns, inode, state, reason, added) VALUES (1, "
            f"CAST('letter.txt' AS BLOB), {status.st_size}, {status.st_mtime_ns}, {status.st_ino}, 'skipped', "
            "'text files (text) are not indexed', '2026-01-01')",
        )
        library.index([str(tmp_path / "photos")], device="cpu")
        assert [item.path for item in library.reader.items(state="ok")] == [os.fsencode(tmp_path / "photos/letter.txt")]
