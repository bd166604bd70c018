"""The grammar of questions: what is words, what is a file, what is a weight."""

from __future__ import annotations

import pytest
from PIL import Image

from mmsearch.errors import UsageError
from mmsearch.retrieval.parse import parse
from mmsearch.types import Asked


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (4, 4)).save(tmp_path / "pool.jpg")
    Image.new("RGB", (4, 4)).save(tmp_path / "cat", "PNG")
    (tmp_path / "diary").write_text("words in a file")
    Image.new("RGB", (4, 4)).save(tmp_path / "me@12", "PNG")


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["a", "cat", "on", "a", "sofa"], [Asked("text", "a cat on a sofa")]),
        (["一只猫"], [Asked("text", "一只猫")]),
        (
            ["2:golden retriever", "+", "./pool.jpg", "-", "fruit"],
            [Asked("text", "golden retriever", 2), Asked("file", "./pool.jpg"), Asked("text", "fruit", -1)],
        ),
        (["dog", "-", "0.5:./pool.jpg"], [Asked("text", "dog"), Asked("file", "./pool.jpg", -0.5)]),
        (["-", "fruit", "+", ".25:red"], [Asked("text", "fruit", -1), Asked("text", "red", 0.25)]),
        (["+", "fruit"], [Asked("text", "fruit")]),
        (["pool.jpg"], [Asked("file", "pool.jpg")]),
        (["cat"], [Asked("file", "cat")]),  # by content, whatever its name
        (["cat", "sofa"], [Asked("text", "cat sofa")]),
        (["diary"], [Asked("text", "diary")]),  # a text is no question's picture
        (["https://example.org/a.jpg"], [Asked("url", "https://example.org/a.jpg")]),
        (["12:30"], [Asked("text", "30", 12)]),
        (["./pool.jpg@1:05"], [Asked("file", "./pool.jpg@1:05")]),
        (["0.5:./pool.jpg@12.5-14s"], [Asked("file", "./pool.jpg@12.5-14s", 0.5)]),
        (["cat@0:38-1:02:03"], [Asked("file", "cat@0:38-1:02:03")]),
        (["me@12"], [Asked("file", "me@12")]),
        (["sofa@5"], [Asked("text", "sofa@5")]),
        (["cat@home"], [Asked("text", "cat@home")]),
        (["diary@5-3"], [Asked("text", "diary@5-3")]),
        (["well-known", "semi - final"], [Asked("text", "well-known semi - final")]),
        ([], []),
    ],
)
def test_parts(arguments, parts):
    assert list(parse(arguments)) == parts


def test_a_last_dash_stands_for_the_parts_on_stdin():
    lines = ["2:a cat\n", "\n", "- ./pool.jpg\n", "+ 一只狗\n"]
    assert parse(["sofa", "-"], lines) == (
        Asked("text", "sofa"),
        Asked("text", "a cat", 2),
        Asked("file", "./pool.jpg", -1),
        Asked("text", "一只狗"),
    )
    assert parse(["-"], ["dog"]) == (Asked("text", "dog"),)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["./nothing.jpg"], "--text"),
        (["./nothing.jpg@0:05"], "no such file"),
        (["./pool.jpg@1:75"], "no such file"),
        (["a", "+", "+", "b"], "between"),
        (["a", "+"], "last"),
        (["0:a"], "weight of 0"),
        (["9" * 400 + ":a"], "weight above 1,000,000"),
    ],
)
def test_what_makes_no_sense_is_named(arguments, says):
    with pytest.raises(UsageError, match=says):
        parse(arguments)
