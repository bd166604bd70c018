"""SIGKILL at every labelled step and at random times: nothing acknowledged is lost, nothing is wrong.

The campaigns run beside each other in processes of their own, through the same door as `make kill`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.faults import FAULTS

REPO = Path(__file__).parents[2]
KILLS, NULL_ROUNDS = 220, 40
SEED = int(os.environ.get("MMSEARCH_SEED", "1"))


@pytest.fixture(scope="module")
def campaigns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, subprocess.Popen[str]]]:
    commands = {
        "kills": [str(KILLS), str(SEED)],
        "faults": ["60", str(SEED), "--fault", "all"],
        "null": ["0", str(SEED), "--rounds", str(NULL_ROUNDS)],
    }
    folder = str(tmp_path_factory.mktemp("kill"))
    running = {name: _start([*command, "--folder", folder]) for name, command in commands.items()}
    yield running
    for process in running.values():
        process.kill()
        process.wait()


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.reliability.kill", *command],
        cwd=REPO,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _figures(process: subprocess.Popen[str]) -> tuple[list[dict[str, Any]], str]:
    out, err = process.communicate(timeout=900)
    assert out, err
    return [json.loads(line) for line in out.splitlines()], err


def test_without_kills_nothing_is_violated(campaigns: dict[str, subprocess.Popen[str]]) -> None:
    (figures,), err = _figures(campaigns["null"])
    assert figures["passed"], err
    assert figures["kills"] == 0 and figures["completed"] == NULL_ROUNDS


def test_kills_lose_and_spoil_nothing(campaigns: dict[str, subprocess.Popen[str]]) -> None:
    (figures,), err = _figures(campaigns["kills"])
    print(figures)
    assert figures["passed"], err
    assert figures["kills"] >= KILLS
    assert figures["labels"] >= 60 and not figures["unhit"]


def test_every_planted_fault_is_seen(campaigns: dict[str, subprocess.Popen[str]]) -> None:
    figures, err = _figures(campaigns["faults"])
    seen = {line["fault"]: line["violated"] for line in figures if line["passed"]}
    assert set(seen) == set(FAULTS), f"not seen: {sorted(set(FAULTS) - set(seen))}\n{err}"
