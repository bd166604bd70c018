"""`mmsearch tune` as a user runs it: a subprocess, exit codes, JSON, and the index that `index --index auto` builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mmsearch.encoders.fake import FakeEncoder
from mmsearch.store import roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.types import FileStat, Modality, State

ROWS = 400


@pytest.fixture
def mmsearch(tmp_path):
    folder = str(tmp_path / "library")
    encoder = FakeEncoder()
    pixels = [np.full((8, 8, 3), (i % 256, i // 2 % 256, 99), np.uint8) for i in range(ROWS)]
    vectors = encoder.encode(pixels, Modality.IMAGE)
    with Catalog(folder) as catalog:
        space, scope = catalog.space(encoder.spec), roots.claim(catalog, b"/photos")
        records = [
            Record(
                file=FileStat(b"%d.png" % i, 1, 1, i),
                state=State.OK,
                modality=Modality.IMAGE,
                spans=(None,),
                vectors=vectors[i : i + 1],
            )
            for i in range(ROWS)
        ]
        catalog.write_batch(scope.root_id, space.id, records)

    def run(*arguments):
        environment = {**os.environ, "MMSEARCH_LIBRARY": folder, "NO_COLOR": "1"}
        command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False, text=True)

    return run


def test_a_library_is_tuned_and_says_what_it_costs(mmsearch):
    dry = mmsearch("tune", "--dry-run", "--budget", 1, "--questions", 20, "--json")
    assert dry.returncode == 0, dry.stderr
    document = json.loads(dry.stdout)
    assert not document["kept"] and document["asked"] == {"text": 20, "image": 20}
    chosen = next(point for point in document["points"] if point["name"] == document["chosen"])
    assert min(interval["low"] for interval in chosen["recall"].values()) >= document["target"] == 0.99
    table = mmsearch("tune", "--budget", 1, "--questions", 20, "--target-recall", 0.5)
    assert table.returncode == 0, table.stderr
    assert "chosen: " in table.stdout and "20 sentences of our own" in table.stdout
    assert "FAISS takes longer to load than 400 vectors" in table.stderr
    assert mmsearch("query", "red").returncode == 0


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--plots", "tune.bmp"], "ends in"),
        (["--target-recall", "1.5"], "target-recall"),
        (["--budget", "0"], "budget"),
    ],
)
def test_usage(mmsearch, options, says):
    result = mmsearch("tune", *options)
    if says == "ends in":
        pytest.importorskip("matplotlib", reason="no matplotlib: plots are not drawn here")
    assert result.returncode == 2 and says in result.stderr


def test_without_a_library_nothing_is_tuned(mmsearch, tmp_path):
    assert mmsearch("tune", "--library", tmp_path / "none").returncode == 10
