"""What Tab offers, asked as a shell asks: through the program's completion variables."""

from __future__ import annotations

import pytest

from tests.e2e.test_cli import indexed, lines, mmsearch, photos  # noqa: F401


@pytest.fixture
def offered(mmsearch, monkeypatch):  # noqa: F811
    def complete(typed: str) -> list[str]:
        monkeypatch.setenv("_MMSEARCH_COMPLETE", "complete_bash")
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(len(typed.split(" ")) - 1))
        result = mmsearch()
        monkeypatch.delenv("_MMSEARCH_COMPLETE")
        assert result.stderr == b""
        return [line for line in lines(result) if line]

    return complete


def test_commands_and_options(offered):
    assert {"query", "index", "config", "similar"} <= set(offered("mmsearch "))
    assert offered("mmsearch que") == ["query"]
    assert "--copy-to" in offered("mmsearch query --c")
    assert offered("mmsearch config g") == ["get"]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("mmsearch query --sort t", ["taken"]),
        ("mmsearch query --modality image,au", ["image,audio"]),
        ("mmsearch query --group-by ", ["day", "folder", "modality"]),
        ("mmsearch query --preview-as s", ["sixel"]),
        ("mmsearch index --model fas", ["fast"]),
        ("mmsearch models show mul", ["multilingual"]),
        ("mmsearch config set query.to", ["query.top"]),
    ],
)
def test_words_that_an_option_takes(offered, typed, expected):
    assert offered(typed) == expected


def test_models_of_the_library(offered, indexed):  # noqa: F811
    assert "fake" in offered("mmsearch index --model fak")


def test_indexed_folders(offered, indexed, photos):  # noqa: F811
    (photos / "more").mkdir()
    assert offered(f"mmsearch query --in {photos.parent}/pho") == [str(photos)]
    assert offered(f"mmsearch query --in {photos}/") == [
        f"{photos}/blue.png", f"{photos}/green.png", f"{photos}/more/", f"{photos}/red.png",
    ]  # fmt: skip
    assert offered(f"mmsearch --library {photos} query --in {photos}/r") == []
    assert offered(f"mmsearch rm {photos}/r") == [f"{photos}/red.png"]


def test_without_a_library_nothing_is_said(offered, tmp_path):
    assert offered(f"mmsearch query --in {tmp_path}/") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_gets_its_script(mmsearch, monkeypatch, shell):  # noqa: F811
    monkeypatch.setenv("_MMSEARCH_COMPLETE", f"source_{shell}")
    assert b"_MMSEARCH_COMPLETE" in mmsearch().stdout
