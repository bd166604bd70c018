"""A run that finds nothing to do, seen by reading alone: it says what the run would, and leaves all else to it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.indexer import run
from mmsearch.indexer.options import Options
from mmsearch.store.lock import WriterLock

PROGRAM = """
import json, sys
from mmsearch import Library
summary = Library(sys.argv[1]).index([sys.argv[2]])
print(json.dumps([summary.counts(), sorted({"sqlalchemy", "PIL", "importlib.metadata"} & set(sys.modules))]))
"""


def photo(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for i in range(6):
        photo(folder / ("below" if i > 3 else "") / f"{i}.png", i)
    return folder


@pytest.fixture
def library(tmp_path, photos):
    found = Library(str(tmp_path / "library"))
    found.index([str(photos)], model="fake")
    return found


@pytest.fixture
def ran(monkeypatch):
    """Whether the run itself was asked."""
    asked = []
    index_paths = run.index_paths
    monkeypatch.setattr(run, "index_paths", lambda *a, **more: asked.append(1) or index_paths(*a, **more))
    return asked


def test_it_costs_no_sqlalchemy(library, photos):
    command = [sys.executable, "-c", PROGRAM, library.folder, str(photos)]
    counts, heavy = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {name: count for name, count in counts.items() if count} == {"unchanged": 6}
    assert heavy == []


def test_it_counts_what_the_run_counts(library, photos, ran):
    (photos / "notes.xyz").write_bytes(b"\x00\x01nothing that is indexed")
    (photos / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    os.remove(photos / "0.png")
    library.index([str(photos)])
    library.index([str(photos)])
    ran.clear()
    seen = library.index([str(photos)])
    assert not ran
    whole = library.index([str(photos)], index="auto")  # a kind is asked for: the run itself
    assert ran
    assert (
        seen.counts() == whole.counts() == {**seen.counts(), "unchanged": 5, "missing": 1, "rejected": 1, "skipped": 1}
    )
    assert (seen.failures, seen.skip_reasons, seen.model) == (whole.failures, whole.skip_reasons, whole.model)


def test_part_of_a_root(library, photos, ran):
    assert library.index([str(photos / "below")]).unchanged == 2
    assert library.index([str(photos)], options=Options(exclude=["nothing*"])).unchanged == 6
    assert not ran


CHANGES = {
    "a new file": (lambda photos: photo(photos / "new.png", 9), "added"),
    "another content": (lambda photos: photo(photos / "1.png", 9), "updated"),
    "a renamed file": (lambda photos: os.rename(photos / "1.png", photos / "one.png"), "reused"),
    "a file that is gone": (lambda photos: os.remove(photos / "1.png"), "missing"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changed_is_left_to_the_run(library, photos, ran, change):
    make, name = CHANGES[change]
    make(photos)
    assert getattr(library.index([str(photos)]), name) == 1
    assert ran


def test_so_is_everything_that_is_not_plain(library, photos, ran, tmp_path):
    def runs(**how):
        ran.clear()
        library.index([str(how.pop("path", photos))], **how)
        return bool(ran)

    other = tmp_path / "other"
    other.mkdir()
    photo(other / "o.png", 7)
    assert runs(path=other)
    assert runs(model="fake:16")
    assert runs(options=Options(dry_run=True))
    assert runs(path=photos / "1.png"), "one file"
    os.rename(photos, tmp_path / "away")
    assert runs() and library.index([str(photos)]).offline
    os.rename(tmp_path / "away", photos)
    assert runs(), "the root was offline"
    assert not runs()


def test_a_file_given_to_be_ignored_goes_on_being_known(library, photos, ran):
    """It is there and was not listed: only the run can tell that from a file that is gone."""
    (photos / ".mmsearchignore").write_text("1.png\n")
    assert (library.index([str(photos)]).missing, bool(ran)) == (0, True)


def test_while_another_writes_the_run_waits_or_refuses(library, photos):
    from mmsearch.errors import Locked

    with WriterLock(library.folder), pytest.raises(Locked):
        library.index([str(photos)])


def test_an_interrupted_run_is_finished_by_a_run(library, photos, ran):
    import sqlite3

    with sqlite3.connect(os.path.join(library.folder, "catalog.sqlite")) as db:
        db.execute("UPDATE run SET finished = NULL")
    db.close()
    library.index([str(photos)])
    assert ran
