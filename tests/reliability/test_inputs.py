"""What people point the program at by mistake: one line, and the exit code that says which mistake it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

from .conftest import Program
from .harness.pictures import png, random_pixels
from .harness.world import World

USAGE, NOTHING, SOME_FAILED, INTERRUPTED = 2, 1, 3, 130


def test_paths_that_lead_nowhere(mmsearch: Program, folder, tmp_path) -> None:
    nowhere = mmsearch("index", str(tmp_path / "nowhere"), "--model", "fake")
    assert nowhere.returncode == USAGE
    assert nowhere.stderr == f"mmsearch: {tmp_path / 'nowhere'}: no such file or directory\n"
    os.mkfifo(tmp_path / "pipe")
    assert mmsearch("index", str(tmp_path / "pipe"), "--model", "fake").returncode == USAGE
    assert not os.path.exists(folder), "a mistake makes no library"


def test_folders_with_nothing_in_them(mmsearch: Program, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "archive.zip").write_bytes(b"PK\3\4" + bytes(100))
    for name, seen in (("empty", 0), ("words", 1)):
        result = mmsearch("index", str(tmp_path / name), "--model", "fake", "--json")
        assert result.returncode == NOTHING and "nothing to index here" in result.stderr
        assert json.loads(result.stdout)["seen"] == seen


def test_bad_files_have_a_reason_each_and_cost_nobody_else(mmsearch: Program, world: World, rng) -> None:
    big = png(random_pixels(rng, 64))
    bad = {
        b"zero.png": (b"", "rejected"),
        b"cut.png": (big[: len(big) // 2], None),
        b"header only.png": (big[:20], "rejected"),
        b"noise.jpg": (b"\xff\xd8\xff\xe0" + rng.randbytes(500), "rejected"),
        b"words.png": (b"just words", "skipped"),
    }
    for name, (data, _) in bad.items():
        with open(os.path.join(world.root, name), "wb") as file:
            file.write(data)
    renamed = os.path.join(world.root, b"really a png.jpg")
    world.write(renamed, world.files[min(world.files)])
    result = mmsearch("index", world.root, "--model", "fake", "--json")
    assert result.returncode == SOME_FAILED
    document = json.loads(result.stdout)
    assert document["seen"] == len(world.files) + len(bad)
    assert document["added"] + document["reused"] == len(world.files)
    states = {os.path.basename(os.fsencode(f["path"])): f["state"] for f in document["failures"]}
    assert all(f["reason"] for f in document["failures"])
    for name, (_, state) in bad.items():
        if state != "skipped":
            assert states[name] == state or (state is None and states[name] in ("partial", "rejected")), name
    assert document["skipped"] == 1
    errors = mmsearch("errors")
    assert errors.returncode == 0 and len(errors.stdout.splitlines()) == len(states)
    again = json.loads(mmsearch("index", world.root, "--json").stdout)
    assert (again["unchanged"], again["seen"]) == (len(world.files), document["seen"])
    assert again["failures"] == document["failures"], "told again, not read again"


def test_ctrl_c_keeps_what_is_committed(folder, world, tmp_path) -> None:
    """The program is slowed down by its own small batches and an encoder that sleeps, so that it is sure to be busy."""
    while len(world.files) < 200:
        world.add()
    slow = tmp_path / "slow.py"
    slow.write_text(_SLOW)
    command = [sys.executable, str(slow), "--library", folder, "index", os.fsdecode(world.root), "--model", "fake"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None and "encoding" in program.stderr.readline()
        time.sleep(0.5)
        program.send_signal(signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert program.returncode == INTERRUPTED, err
    assert "interrupted" in err and "Traceback" not in err
    done = int(out.split(" seen")[0])
    assert 0 < done < 200
    rest = subprocess.run(
        [sys.executable, "-m", "mmsearch", *command[2:], "--json"], capture_output=True, text=True, check=True
    )
    counts = json.loads(rest.stdout)
    assert counts["unchanged"] >= done and counts["unchanged"] + counts["added"] == 200


_SLOW = """
import sys, time
from mmsearch.cli.app import main
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.indexer import ingest

ingest.BATCH, ingest.COMMIT_ROWS = 4, 4
encode = FakeEncoder.encode

def slowly(self, batch, modality):
    print("encoding", file=sys.stderr, flush=True)
    time.sleep(0.1)
    return encode(self, batch, modality)

FakeEncoder.encode = slowly
main()
"""


def test_a_reader_that_has_seen_enough(mmsearch: Program, folder, world) -> None:
    mmsearch("index", world.root, "--model", "fake")
    shell = f"'{sys.executable}' -m mmsearch --library '{folder}' ls | head -n 1; echo ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True, errors="replace")
    assert result.stderr == "" and result.stdout.splitlines()[-1] == "0"
