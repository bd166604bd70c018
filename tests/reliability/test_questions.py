"""Exit 13 says that a library is damaged: never because of what was asked."""

from __future__ import annotations

import os
import sqlite3

import pytest

from mmsearch.errors import UsageError

from .harness.questions import ask

QUESTIONS = int(os.environ.get("MMSEARCH_QUESTIONS", "300"))
"""`make questions` asks 2,000."""


@pytest.fixture
def whole(library, world):
    with open(os.path.join(world.root, b"letter.txt"), "w", encoding="utf-8") as file:
        file.write("dear child, the red house. " * 50)
    library.index([world.root], model="fake", device="cpu")
    assert library.check("data") == []
    return library


def test_no_question_makes_a_library_damaged(whole, rng) -> None:
    assert [said for said in (ask(whole, rng) for _ in range(QUESTIONS)) if said] == []
    assert whole.check("data") == []


@pytest.mark.parametrize("named", ["!!!", "'", '"', "* (", "\0"])
def test_no_name_has_such_words(whole, named) -> None:
    assert whole.reader.items(named=named) == []
    assert len(whole.reader.items(named=" ")) == len(whole.reader.items())


@pytest.mark.parametrize(
    "where",
    [
        f"width in ({','.join(map(str, range(1, 1201)))})",
        " or ".join(["width > 1"] * 1000),
        " and ".join(["width > 1"] * 3000),
    ],
)
def test_long_conditions_work(whole, where) -> None:
    assert len(whole.search("red", where=where)) == 10


def test_what_is_too_long_is_refused_clearly(whole) -> None:
    whole.reader._db.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1000)
    with pytest.raises(UsageError, match="too many SQL variables"):
        whole.search("red", where=f"width in ({','.join(map(str, range(1200)))})")


def test_two_thousand_quoted_words(whole) -> None:
    assert len(whole.search(" ".join(f'"{word}"' for word in ["png", "photo"] * 1000))) <= 10
    with pytest.raises(UsageError, match="2000 quoted phrases"):
        whole.search(" ".join(f'"word{number}"' for number in range(2000)))


def test_the_program_says_so(mmsearch, folder, world) -> None:
    mmsearch("index", world.root, "--model", "fake")
    assert mmsearch("ls", "--named", "!!!").returncode == 1
    assert mmsearch("query", "red", "--where", f"width in ({','.join(map(str, range(1200)))})").returncode in (0, 1)
