"""Whatever files, models and catalogs are called: no output of any command steers a terminal."""

from __future__ import annotations

import io
import os
import sqlite3
import sys
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.cli import app

EVIL = "\x1b]52;c;ZXZpbA==\x07"
"""Writes to the clipboard."""

NAMES = (
    *(b"\x1b]52;c;ZXZpbA==\x07", b"\x1b[2J\x1b[H", b"\x1b]0;title\x1b\\", b"\x1bP1$r\x1b\\", b"\x1b[?1049h", b"\x1bc"),
    *(b"\xc2\x9b31m", b"\xc2\x9d52;c;eA==\xc2\x9c", b"\x07", b"\x08\x08\x08", b"\rover", b"a\nb", b"a\tb", b"\x7f"),
    *("\u202egpj.exe".encode(), "\u2066x\u2069".encode(), "\ufeff\u200b".encode(), b"\xff\x1b[31m"),
)
assert len(NAMES) == 18


class Screen(io.StringIO):
    """What a terminal, or a pipe, would get."""

    def __init__(self, tty: bool) -> None:
        super().__init__()
        self._tty, self.buffer = tty, io.BytesIO()

    def isatty(self) -> bool:
        return self._tty

    def fileno(self) -> int:
        raise io.UnsupportedOperation


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """A picture and a broken picture of each name."""
    place = tmp_path_factory.mktemp("evil") / "photos"
    place.mkdir()
    for number, name in enumerate(NAMES):
        with open(os.fsencode(place) + b"/" + name + b".png", "wb") as file:
            Image.new("RGB", (20, 20), (10 * number, 255 - 10 * number, 9)).save(file, "PNG")
        with open(os.fsencode(place) + b"/" + name + b"-broken.png", "wb") as file:
            file.write(b"\x89PNG\r\n\x1a\n broken")
    return place


@pytest.fixture
def library(photos, tmp_path) -> str:
    with Library(str(tmp_path / "library")) as library:
        library.index([photos], model="fake", index="exact", device="cpu")
    return str(tmp_path / "library")


def _said(monkeypatch, tty: bool, *arguments: str) -> str:
    out, err = Screen(tty), Screen(False)
    monkeypatch.setattr(sys, "argv", ["mmsearch", *arguments])
    with monkeypatch.context() as screens:
        screens.setattr(sys, "stdout", out)
        screens.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit):
            app.main()
            raise SystemExit(0)
    raw = b"".join(screen.buffer.getvalue() for screen in (out, err))
    return out.getvalue() + err.getvalue() + raw.decode(errors="surrogateescape")


def _steering(text: str) -> list[str]:
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]


def _commands(photos: Path) -> list[tuple[str, ...]]:
    first = os.fsdecode(os.fsencode(photos) + b"/" + NAMES[0] + b".png")
    return [
        ("index", str(photos)),
        ("index", str(photos), "--retry"),
        ("ls",),
        ("errors",),
        ("query", "red", "-k", "40"),
        ("query", "red", "--csv"),
        ("query", EVIL),
        ("query", "red", "--where", EVIL),
        ("query", "--image", first + "-none"),
        ("similar", first),
        ("dedup",),
        ("classify", "red,green" + EVIL, str(photos)),
        ("status",),
        ("check", "--deep"),
        ("repair", "--dry-run"),
        ("prune", "--dry-run"),
        ("gc", "--dry-run"),
        ("relocate", first, first + "2"),
        ("rm", first + "-none"),
        ("models", "show", EVIL),
        ("models", "import", str(photos) + EVIL),
        ("config", "get", EVIL),
        ("index", first + "-none"),
    ]


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipe"])
def test_names_of_files_and_words_of_users(photos, library, monkeypatch, tty) -> None:
    for command in _commands(photos):
        said = _said(monkeypatch, tty, "--library", library, *command)
        assert said and not _steering(said), (command, said)


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize(
    "craft",
    [
        "UPDATE space SET model = ?",
        "UPDATE space SET fingerprint = ?",
        "UPDATE item SET reason = ?, modality = ?1, camera = ?1, taken = ?1, caption = ?1",
        "UPDATE item SET state = ?",
        "UPDATE artifact SET kind = ?",
        "UPDATE setting SET value = ?",
        "UPDATE root SET path = CAST(? AS BLOB)",
        "UPDATE run SET counts = ?, started = ?1, finished = NULL",
    ],
)
def test_catalogs_of_strangers(photos, library, monkeypatch, tty, craft) -> None:
    with sqlite3.connect(os.path.join(library, "catalog.sqlite")) as db:
        db.execute(craft, (f"fake{EVIL}",))
    db.close()
    for command in (
        ("status",),
        ("query", "red"),
        ("ls",),
        ("errors",),
        ("check",),
        ("repair", "--dry-run"),
        ("dedup",),
    ):
        said = _said(monkeypatch, tty, "--library", library, *command)
        assert not _steering(said), (command, said)
