"""A terminal hides weak hits and says so; what is for programs is never cut unasked."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from PIL import Image

from tests.e2e.test_cli import indexed, lines, mmsearch, photos  # noqa: F401


@pytest.fixture
def screen(indexed, photos, tmp_path):  # noqa: F811
    """Run the real program in a terminal: the lines of its table, its stderr, and its exit code."""
    for level in range(20):
        Image.new("RGB", (40, 30), (0, 100 + 5 * level, 0)).save(photos / f"g{level}.png")
    indexed("index", photos)

    def run(*arguments):
        environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "TERM": "dumb", "COLUMNS": "200"}
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
        result = subprocess.run(command, env=environment, stdout=theirs, stderr=subprocess.PIPE, check=False)
        os.close(theirs)
        shown = b""
        while part := _read(ours):
            shown += part
        os.close(ours)
        return shown.decode().splitlines(), result.stderr.decode().splitlines(), result.returncode

    return run


def _read(terminal) -> bytes:
    try:
        return os.read(terminal, 10_000)
    except OSError:  # the other end is closed, and all is read
        return b""


def confidences(run, *arguments) -> list[float]:
    return [hit["confidence"] for hit in json.loads(run("query", *arguments, "--json").stdout)["hits"]]


def test_weak_hits_are_hidden_on_a_terminal(screen, indexed):  # noqa: F811
    known = confidences(indexed, "red")
    weak = sum(confidence < 0.1 for confidence in known)
    assert 0 < weak < len(known) == 10
    table, notes, code = screen("query", "red")
    assert (len(table) - 1, notes, code) == (10 - weak, [f"{weak} weaker hits hidden: --weak"], 0)
    assert table[0].split() == ["rank", "score", "confidence", "path"] and not any(" weak " in row for row in table)
    assert len(lines(indexed("query", "red"))) == len(lines(indexed("query", "red", "--paths"))) == 10
    table, notes, code = screen("query", "red", "--weak")
    assert (sum(" weak " in row for row in table), len(table) - 1, notes, code) == (weak, 10, [], 0)
    assert screen("query", "red", "-q")[1] == []


def test_where_nothing_is_sure_the_closest_are_shown(screen, indexed):  # noqa: F811
    assert max(confidences(indexed, "nonsense")) < 0.1
    table, notes, code = screen("query", "nonsense")
    assert len(table) == 4 and all(" weak " in row for row in table[1:]) and code == 0
    assert notes == ["nothing is surely what you asked for: the closest three", "7 weaker hits hidden: --weak"]
    assert lines(indexed("query", "nonsense", "-k", "3", "--paths")) == [row.split()[-1] for row in table[1:]]


def test_ones_own_cut(screen, indexed):  # noqa: F811
    best, second = sorted(confidences(indexed, "red"))[:-3:-1]
    between = f"{(best + second) / 2:.6f}"
    table, notes, code = screen("query", "red", "--min-confidence", between)
    assert (len(table), notes, code) == (2, ["9 weaker hits hidden: --weak"], 0)
    table, notes, code = screen("query", "nonsense", "--min-confidence", "0.5")
    assert len(table) == 4 and "the closest three" in notes[0] and code == 1
    piped = indexed("query", "nonsense", "--min-confidence", "0.5")
    assert (piped.stdout, piped.stderr, piped.returncode) == (b"", b"nothing found\n", 1)
    assert screen("query", "nonsense", "--min-confidence", "0")[1:] == ([], 0)


def test_a_listing_and_files_are_not_cut(screen, photos):  # noqa: F811
    assert len(screen("query", "--in", photos, "-k", "5")[0]) == 6
    assert len(screen("query", photos / "red.png", "-k", "5")[0]) == 6
