"""No small file costs much: ignore files, captions and documents that were made to hang whoever reads them.

Each case has its own limit of processor time (RLIMIT_CPU), in a process of its own, so that a busy machine fails none.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .hostile import CAPTIONS, DOCUMENTS, RULES

OUTSIDE_S, WORKER_S = 2, 10
"""Seconds of processor time for a file of up to 1 MB: in the program, and in a process that decodes."""


def run(group: str, folder: os.PathLike[str], limit_s: int) -> list[str]:
    """The cases that came to their end, in order; the process is killed in the midst of one that takes longer."""
    command = [sys.executable, "-m", "tests.reliability.hostile", group, os.fspath(folder), str(limit_s)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "cases", "limit_s"),
    [("rules", RULES, OUTSIDE_S), ("captions", CAPTIONS, OUTSIDE_S), ("documents", DOCUMENTS, WORKER_S)],
)
def test_no_small_file_costs_much(tmp_path, group, cases, limit_s) -> None:
    assert run(group, tmp_path, limit_s) == list(cases)


def test_there_are_200_hostile_ignore_files() -> None:
    assert len(RULES) >= 200
