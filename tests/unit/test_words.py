"""Finding by the letter: words of any writing, kept equal with the rows, in libraries of both formats."""

from __future__ import annotations

import shutil

import pytest

from mmsearch import Library
from mmsearch.store import roots
from mmsearch.store.catalog import Catalog
from mmsearch.store.check import check
from mmsearch.store.layout import FORMAT
from mmsearch.store.repair import repair
from mmsearch.store.words import Bag, all_of, split_quoted, telling, without, words
from mmsearch.types import Detail, MediaFacts, Modality
from tests.conftest import REPOSITORY
from tests.unit.test_store import catalog, fill, folder, record, vectors  # noqa: F401

FORMAT_1 = REPOSITORY / "tests" / "golden" / "format-1"


def found(catalog, expression: str, table: str = "item_text") -> list[int]:  # noqa: F811
    return [row for (row,) in catalog.reader.query(f"SELECT rowid FROM {table} WHERE {table} MATCH ?", (expression,))]


@pytest.fixture
def filled(catalog):  # noqa: F811
    return stock(catalog)


def stock(catalog):  # noqa: F811
    shot = MediaFacts(camera="FUJIFILM X100V", taken="2024-06-01T12:30:00")
    text = {
        "modality": Modality.TEXT,
        "details": (Detail(None, "旧金山的金门大桥，雾中"), Detail(None, "A Café in Ōsaka")),
    }
    fill(
        catalog,
        [
            record(b"Holiday/red_boat-7.jpg", facts=shot, caption="我家的猫在沙发上"),
            record("朋友/咖啡店.jpg".encode(), caption='"quoted" AND (odd*)'),
            record(b"notes.txt", vectors(2), spans=(None, None), **text),
        ],
    )
    return catalog


@pytest.mark.parametrize(
    ("question", "items"),
    [
        ("red boat", [1]),
        ("BOAT 7", [1]),
        ("boat red", []),
        ("猫", [1]),  # one character, in the middle of a clause
        ("沙发", [1]),
        ("沙上", []),
        ("咖啡", [2]),
        ("朋友", [2]),
        ("x100v", [1]),
        ("2024-06", [1]),
        ("quoted", [2]),
        ("AND", [2]),
        ("nothing", []),
    ],
)
def test_a_phrase_is_found_as_it_stands(filled, question, items):
    assert found(filled, all_of([question])) == items


@pytest.mark.parametrize(("question", "segment"), [("金门大桥", 3), ("雾", 3), ("cafe", 4), ("OSAKA", 4)])
def test_chunks_are_found_by_their_text(filled, question, segment):
    assert found(filled, all_of([question]), "segment_text") == [segment]


def test_several_phrases_must_all_occur(filled):
    assert found(filled, all_of(["red", "X100V"])) == [1]
    assert found(filled, all_of(["red", "咖啡"])) == []


def test_what_tells_which_file_is_meant():
    assert telling("A boat in the 咖啡店") == ["boat", "咖啡", "啡店"]
    assert telling("IMG_0711.JPG") == ["img", "0711", "jpg"]
    assert telling("The Who") == ["the", "who"] and telling("who is the tall one") == ["tall", "one"]
    assert telling(" ?! ") == []
    assert telling("Café café CAFE\u0301") == ["cafe"]
    assert all_of(['"']) == ""


def test_a_question_is_left_without_the_words_of_a_folder():
    assert without("a dog at Christmas, running", {"christmas"}) == "a dog at , running"
    assert without("东京的猫", {"东京"}) == "的猫"


@pytest.mark.parametrize(
    ("term", "there"),
    [("boat", True), ("boats", False), ("red", True), ("7", True), ("猫", True), ("沙发", True), ("发沙", False)],
)
def test_a_bag_has_the_words_that_full_text_finds(term, there):
    assert (term in Bag("Red_boat-7.jpg 猫在沙发上")) is there


@pytest.mark.parametrize(
    "hostile", ['"', 'a" OR "b', "a*", "NEAR(a b)", "name: a", "^a", "-a", "a\0b", "\\", "{a} : b"]
)
def test_nothing_typed_is_taken_for_fts_syntax(filled, hostile):
    for expression in filter(None, map(all_of, ([hostile], telling(hostile)))):
        assert found(filled, expression) == []


def test_quoted_words_are_told_apart():
    assert split_quoted('a "red boat" on “蓝色” water') == ("a red boat on 蓝色 water", ["red boat", "蓝色"])
    assert split_quoted('5" nails') == ('5" nails', [])


def test_names_follow_when_items_move(filled):
    roots.relocate(filled, b"/data/Holiday", b"/elsewhere")
    assert found(filled, all_of(["holiday"])) == []
    assert found(filled, all_of(["red boat"])) == [1]
    assert check(filled.folder, "data") == []


def test_words_go_with_their_rows(filled):
    filled.remove_items([1, 3])
    assert filled.reader.query("SELECT count(*) FROM item_text") == [(1,)]
    assert filled.reader.query("SELECT count(*) FROM segment_text") == [(0,)]
    assert check(filled.folder, "deep") == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM item_text WHERE rowid = 2",
        "UPDATE item_text SET caption = 'else' WHERE rowid = 1",
        "INSERT INTO item_text (rowid, name) VALUES (99, 'ghost')",
        "DELETE FROM segment_text WHERE rowid = 3",
        "UPDATE item_text_data SET block = zeroblob(length(block)) WHERE id > 10",
    ],
)
def test_check_finds_damaged_words_and_repair_makes_them_again(folder, damage):  # noqa: F811
    with Catalog(folder) as catalog, stock(catalog).transaction() as connection:  # noqa: F811
        connection.exec_driver_sql(damage)
    assert {problem.code for problem in check(folder, "data")} <= {"words", "catalog"} != set()
    assert check(folder, "data") != []
    assert any("full-text" in line for line in repair(folder))
    assert check(folder, "deep") == []


def test_a_library_of_format_1_is_answered_without_being_touched(tmp_path):
    shutil.copytree(FORMAT_1, tmp_path / "library")
    before = (tmp_path / "library" / "catalog.sqlite").read_bytes()
    with Library(str(tmp_path / "library")) as library:
        assert library.search("red", k=1).hits[0].path == b"/golden/photos/red.png"
        assert [item.path for item in library.reader.items(named="red")] == [b"/golden/photos/red.png"]
        assert library.reader.query("SELECT count(*) FROM segment_text") == [(0,)]
        assert library.check("deep") == []
    assert (tmp_path / "library" / "catalog.sqlite").read_bytes() == before


def test_a_library_of_format_1_is_brought_up_to_date_by_the_next_writer(tmp_path):
    shutil.copytree(FORMAT_1, tmp_path / "library")
    with Library(str(tmp_path / "library")) as library:
        library.catalog().close()
        assert library.reader.query("PRAGMA user_version") == [(FORMAT,)]
        assert library.reader.setting("holds:1") == "image"
        names = library.reader.query("SELECT name, folder FROM item_text ORDER BY rowid")
        assert names == [
            (path, None) for (path,) in library.reader.query("SELECT CAST(path AS TEXT) FROM item ORDER BY id")
        ]
        assert library.check("deep") == []


def test_words_of_names_that_are_not_utf8():
    assert words(b"a\xff\xe7\x8c\xab.jpg") == "a\ufffd 猫 .jpg"
    assert words(None, None) is None
