"""`mmsearch evaluate` as a user runs it: a subprocess, exit codes, streams, JSON, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress

import pytest
from PIL import Image

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture
def mmsearch(tmp_path):
    def run(*arguments):
        environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "mine"), "NO_COLOR": "1"}
        command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, timeout=300, check=False, text=True)

    return run


@pytest.fixture
def captions(tmp_path):
    """Three photos; the caption of the blue one says red, and that of a fourth has no photo."""
    (tmp_path / "images").mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / "images" / f"{name}.png")
    path = tmp_path / "set.jsonl"
    texts = {"red": "red", "green": "green", "blue": "red red green", "lost": "blue"}
    path.write_text("".join(json.dumps({"image": f"{n}.png", "en": [t]}) + "\n" for n, t in texts.items()))
    return path


def test_evaluate_in_a_library_to_throw_away(mmsearch, captions, tmp_path):
    out = {name: tmp_path / name for name in ("run", "qrels", "report.md", "failures.html")}
    options = ["--run-out", out["run"], "--qrels-out", out["qrels"], "--markdown", out["report.md"]]
    result = mmsearch("evaluate", captions, "--model", "fake", "--json", *options, "--failures", out["failures.html"])
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["image_retrieval_recall@1"], document["image_retrieval_recall@5"]) == (0.5, 0.75)
    assert document["text_retrieval_recall@1"] == 0.5  # of four photos: blue finds "blue", which is not its own
    hit = document["directions"]["text-to-image"]["hit@1"]
    assert hit["low"] <= hit["mean"] == 0.5 <= hit["high"]
    assert document["facts"]["indexed files per second"] > 0 and document["facts"]["indexed on"] == "cpu"
    assert document["problems"][0]["line"] == 4 and "set.jsonl:4: lost.png" in result.stderr
    assert all(path.stat().st_size for path in out.values())
    assert not (tmp_path / "mine").exists()  # nobody's own library is touched
    same = mmsearch("evaluate", "diff", out["run"], out["run"], "--qrels", out["qrels"], "--json")
    assert json.loads(same.stdout)["measures"]["hit@1"] == {"a": 0.5, "b": 0.5, "difference": 0.0, "p": 1.0}


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--fail-under", "image_retrieval_recall@5=0.75"], 0, ""),
        (["--fail-under", "image_retrieval_recall@5=0.76"], 1, "image_retrieval_recall@5 is 0.7500, below 0.76"),
        (["--fail-under", "recall=0.5"], 2, "not measured; there are"),
        (["--fail-under", "recall"], 2, "write it as"),
        (["--strict"], 2, "set.jsonl:4: lost.png: no such file"),
        (["--split", "test"], 2, "has no splits"),
        (["--images", "/no/such"], 2, "/no/such"),
        (["more"], 2, "one DATASET"),
        (["--mine"], 2, "--mine"),
        (["--markdown", "/no/such/report.md"], 2, "/no/such/report.md: no such folder"),
        (["--run-out", "/"], 2, "is a folder"),
    ],
)
def test_gate_and_usage(mmsearch, captions, options, code, says):
    result = mmsearch("evaluate", captions, "--model", "fake", *options)
    assert result.returncode == code, result.stderr
    assert says in result.stderr


def test_a_photo_that_cannot_be_indexed_is_named(mmsearch, captions, tmp_path):
    (tmp_path / "images" / "green.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    document = json.loads(mmsearch("evaluate", captions, "--model", "fake", "--json").stdout)
    assert [problem["file"].rpartition("/")[2] for problem in document["problems"]] == ["set.jsonl", "green.png"]
    assert document["image_retrieval_recall@5"] == 0.5


def test_evaluate_a_named_library_and_my_own_captions(mmsearch, captions, tmp_path):
    named = tmp_path / "named"
    result = mmsearch("evaluate", captions, "--model", "fake", "--library", named, "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["facts"]["documents"] == 4
    nothing = mmsearch("evaluate", "--mine", "--library", named)
    assert nothing.returncode == 2 and "no captions of your files" in nothing.stderr
    (tmp_path / "images" / "red.txt").write_text("red\n")
    assert mmsearch("index", tmp_path / "images", "--library", named).returncode == 0
    mine = json.loads(mmsearch("evaluate", "--mine", "--library", named, "--json").stdout)
    assert mine["image_retrieval_recall@1"] == 1.0 and mine["facts"]["searched"] == 3


def test_list_names_every_set_with_its_licence(mmsearch):
    text = mmsearch("evaluate", "--list").stdout
    for name in ("flickr8k-cn", "crossmodal-3600", "CC BY", "zenodo.org/record/4783391", "Flickr8k.token.txt", "qrels"):
        assert name in text
    document = json.loads(mmsearch("evaluate", "--list", "--json").stdout)
    assert {"name", "where", "licence", "size"} == set(document["formats"][0]["sets"][0])


@pytest.mark.parametrize("quiet", [False, True])
def test_a_terminal_is_told_what_is_going_on(captions, tmp_path, quiet):
    terminal, ours = os.openpty()
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "mine"), "TERM": "xterm"}
    command = [sys.executable, "-m", "mmsearch", "evaluate", str(captions), "--model", "fake", *["-q"] * quiet]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=ours) as process:
        os.close(ours)
        said = b""
        with suppress(OSError):  # as a terminal ends whose last program is gone
            while part := os.read(terminal, 65536):
                said += part
    os.close(terminal)
    assert process.returncode == 0
    assert (b"4 of 4 questions asked of image files" in said, b"set.jsonl:4" in said) == (not quiet, not quiet)
