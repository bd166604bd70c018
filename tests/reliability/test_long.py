"""Long files: committed a thousand segments at a time, whole or not there, and gone on with after a kill."""

from __future__ import annotations

import os
import sqlite3

import pytest

from mmsearch import Library
from mmsearch.encoders.bank import bank_of
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.indexer import ingest
from mmsearch.store import staging
from mmsearch.types import Modality

ROWS = 4_500


class Killed(BaseException):
    """What no handler of the program's takes for an error."""


@pytest.fixture
def texts(monkeypatch):
    """How many texts were encoded, and after how many the run is killed; the most results that were held at once."""
    for model in (FakeEncoder(), FakeEncoder(16)):
        bank_of(model)  # into the cache: its words are no file's
    counts = {"encoded": 0, "killed after": 10**9, "held": 0}
    encode, stage = FakeEncoder.encode, ingest.Ingest._stage

    def counted(self, batch, modality):
        if modality is Modality.TEXT:
            counts["encoded"] += len(batch)
            if counts["encoded"] > counts["killed after"]:
                raise Killed
        return encode(self, batch, modality)

    def staged(self, file):
        counts["held"] = max(counts["held"], len(file.results))
        stage(self, file)

    monkeypatch.setattr(FakeEncoder, "encode", counted)
    monkeypatch.setattr(ingest.Ingest, "_stage", staged)
    return counts


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "long.csv").write_text("".join(f"row number {n} of many\n" for n in range(ROWS)))
    (folder / "short.txt").write_text("A short letter.")
    return folder


def index(folder: str, tree, model: str = "fake"):
    with Library(folder) as library:
        return library.index([str(tree)], model=model, device="cpu")


def rows(folder: str, sql: str) -> list[tuple]:
    db = sqlite3.connect(os.path.join(folder, "catalog.sqlite"))
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


CONTENT = (
    "SELECT i.path, i.state, s.start, s.end, s.text, s.page, e.vector, e.crc32 FROM item i "
    "JOIN segment s ON s.item_id = i.id JOIN embedding e ON e.segment_id = s.id ORDER BY i.path, s.id, e.space_id"
)


def killed(folder, tree, texts, after: int, model: str = "fake") -> None:
    texts.update({"encoded": 0, "killed after": after})
    with pytest.raises(Killed):
        index(folder, tree, model)
    texts.update({"encoded": 0, "killed after": 10**9})


def test_a_kill_costs_at_most_what_was_not_committed(folder, tmp_path, tree, texts) -> None:
    """It cost the whole document, of which all had to be held in memory."""
    fresh = str(tmp_path / "fresh")
    index(fresh, tree)
    assert texts["held"] <= staging.AT_ONCE + ingest.TEXTS
    killed(folder, tree, texts, 3_000)
    assert (
        rows(folder, "SELECT * FROM segment s JOIN item i ON i.id = s.item_id WHERE i.path = x'6c6f6e672e637376'") == []
    )
    with Library(folder) as library:
        assert all(not item.path.endswith(b"long.csv") for item in library.reader.items())
        assert library.check("data") == []
    waiting = rows(folder, "SELECT count(*) FROM staged")[0][0]
    assert waiting >= 2_000
    summary = index(folder, tree)
    assert summary.added + summary.unchanged == 2 and texts["encoded"] <= ROWS + 1 - waiting
    assert rows(folder, CONTENT) == rows(fresh, CONTENT)
    assert rows(folder, "SELECT count(*) FROM staged") == [(0,)]
    with Library(folder) as library:
        assert library.check("deep") == []


def test_another_content_begins_anew(folder, tmp_path, tree, texts) -> None:
    killed(folder, tree, texts, 3_000)
    (tree / "long.csv").write_text("".join(f"another row, number {n}\n" for n in range(ROWS)))
    index(folder, tree)
    assert texts["encoded"] >= ROWS
    index(str(tmp_path / "fresh"), tree)
    assert rows(folder, CONTENT) == rows(str(tmp_path / "fresh"), CONTENT)


def test_a_changed_file_answers_as_it_was_until_its_last_commit(folder, tree, texts) -> None:
    index(folder, tree)
    before = rows(folder, CONTENT)
    (tree / "long.csv").write_text("".join(f"another row, number {n}\n" for n in range(ROWS)))
    killed(folder, tree, texts, 3_000)
    assert rows(folder, CONTENT) == before
    assert index(folder, tree).updated == 1
    assert len(rows(folder, CONTENT)) == ROWS + 1


def test_another_model_goes_on_too(folder, tree, texts) -> None:
    index(folder, tree)
    killed(folder, tree, texts, 3_000, "fake:16")
    segments = rows(folder, "SELECT * FROM segment")
    index(folder, tree, "fake:16")
    assert texts["encoded"] <= ROWS + 1 - 2_000
    assert rows(folder, "SELECT * FROM segment") == segments
    assert rows(folder, "SELECT space_id, count(*) FROM embedding GROUP BY 1") == [(1, ROWS + 1), (2, ROWS + 1)]


def test_what_waits_for_a_file_that_is_gone_is_dropped(folder, tree, texts) -> None:
    killed(folder, tree, texts, 3_000)
    (tree / "long.csv").unlink()
    index(folder, tree)
    assert rows(folder, "SELECT count(*) FROM staged") == [(0,)]


def test_a_long_file_that_decodes_in_another_way_is_as_a_fresh_one(folder, tmp_path, tree, texts) -> None:
    killed(folder, tree, texts, 3_000)
    db = sqlite3.connect(os.path.join(folder, "catalog.sqlite"))
    with db:
        db.execute("UPDATE staged SET text = 'as an older version read it' WHERE number >= 500")
    db.close()
    index(folder, tree)
    index(str(tmp_path / "fresh"), tree)
    assert rows(folder, CONTENT) == rows(str(tmp_path / "fresh"), CONTENT)
