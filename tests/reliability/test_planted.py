"""Planted faults of the newer promises: each must turn its harness red, or that is blind (others: `harness.faults`)."""

from __future__ import annotations

import glob
import os
import shutil
from pathlib import Path
from random import Random

from mmsearch import Library
from mmsearch.encoders import kept
from mmsearch.errors import Damaged
from mmsearch.store import catalog, connection, layout, lock, triggers

from .harness import questions, rot
from .test_traps import DEAD


def _codes(library: Library) -> set[str]:
    return {problem.code for problem in library.check("data")}


def test_rows_that_are_not_summed(library, world, monkeypatch) -> None:
    whole = list(triggers.statements())
    monkeypatch.setattr(catalog.triggers, "statements", lambda: [one for one in whole if "item_crc" not in one])
    library.index([world.root], model="fake", device="cpu")
    assert _codes(library) == {"row"}


def test_words_that_do_not_follow_their_rows(library, world, monkeypatch) -> None:
    whole = list(triggers.statements())
    monkeypatch.setattr(catalog.triggers, "statements", lambda: [one for one in whole if "item_text_insert" not in one])
    library.index([world.root], model="fake", device="cpu")
    assert _codes(library) == {"words"}


def test_towers_that_are_believed(tmp_path, rng, monkeypatch) -> None:
    rot.make(str(tmp_path / "library"), Random(1))
    monkeypatch.setattr(kept, "damaged", lambda library: iter(()))
    report = rot.campaign(str(tmp_path / "library"), 40, rng)
    assert report.unseen and all(name.startswith("text/") for name in report.unseen)


def test_a_lock_that_follows_links(library, folder, world, tmp_path, monkeypatch) -> None:
    library.index([world.root], model="fake", device="cpu")
    stranger = tmp_path / "stranger.txt"
    stranger.write_text("precious")
    os.unlink(os.path.join(folder, "lock"))
    os.symlink(stranger, os.path.join(folder, "lock"))
    monkeypatch.setattr(lock.WriterLock, "_open", lambda self, make: os.open(self._path, os.O_RDWR | os.O_CREAT))
    monkeypatch.setattr(lock.WriterLock, "is_held", lambda self: True)
    library.gc()
    assert stranger.read_text() != "precious", "so the traps can spring"


def test_births_told_by_their_name_alone(library, folder, world, monkeypatch) -> None:
    backup = Path(f"{folder}.tmp-{DEAD}")
    backup.mkdir()
    (backup / "a").write_text("precious")
    monkeypatch.setattr(layout, "_left_by_kills", lambda folder: glob.glob(f"{folder}.tmp-*"))
    monkeypatch.setattr(layout, "_remove", shutil.rmtree)
    library.index([world.root], model="fake", device="cpu")
    assert not backup.exists(), "so the traps can spring"


def test_every_error_called_damage(library, world, rng, monkeypatch) -> None:
    library.index([world.root], model="fake", device="cpu")
    monkeypatch.setattr(connection, "explained", lambda error, folder: Damaged(f"{folder}: {error}"))
    library.reader._db.setlimit(9, 1000)  # SQLITE_LIMIT_VARIABLE_NUMBER
    assert [said for said in (questions.ask(library, rng) for _ in range(80)) if said]
