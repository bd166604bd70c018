"""A tree of tiny pictures, the program as a process, and the count of what gets encoded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.types import Modality

from .harness.world import World

SEED = int(os.environ.get("MMSEARCH_SEED", "1"))

Program = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> Random:
    """Each test has its own; the seed is printed when the test fails."""
    print(f"MMSEARCH_SEED={SEED}")
    return Random(f"{SEED}:{request.node.name}")


@pytest.fixture
def world(tmp_path: Path, rng: Random) -> World:
    """A tree of 20 pictures."""
    world = World(os.fsencode(tmp_path / "tree"), rng)
    for _ in range(20):
        world.add()
    return world


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "library")


@pytest.fixture
def library(folder: str) -> Library:
    return Library(folder)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were encoded in this process, as a list of one number."""
    count, encode = [0], FakeEncoder.encode

    def counted(self, batch, modality):
        count[0] += len(batch) if modality is Modality.IMAGE else 0
        return encode(self, batch, modality)

    monkeypatch.setattr(FakeEncoder, "encode", counted)
    return count


@pytest.fixture
def mmsearch(folder: str) -> Program:
    """Run the real program on the test's library."""
    environment = {**os.environ, "MMSEARCH_LIBRARY": folder, "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}

    def run(*arguments: str | bytes, **more) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mmsearch", *map(os.fsdecode, arguments)]
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=120,
            check=False,
            **more,
        )

    return run
