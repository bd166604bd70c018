"""The program under a limit of the size of any file, as a full disk has it: one JSON line for each limit.

    python -m tests.reliability.harness.starve FOLDER SEED LIMITS

Each limit gets an old state (10 pictures), more pictures, a run under the limit, a look at what is left, a run without.
"""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import signal
import sys
from random import Random
from typing import Any

from mmsearch import Library
from mmsearch.cli import app

from . import oracle
from .campaign import warm_up
from .child import ask
from .world import World


def program(arguments: list[str], limit: int | None) -> tuple[int, str]:
    """Exit code and stderr of the program, run in this process."""
    if limit is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    sys.argv = ["mmsearch", *arguments]
    sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
    try:
        app.main()
    except SystemExit as end:
        return int(end.code or 0), sys.stderr.getvalue()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return 0, sys.stderr.getvalue()


class Case:
    """One library that meets one limit."""

    def __init__(self, folder: str, seed: int, limit: int) -> None:
        self.folder, self.limit = os.path.join(folder, str(limit)), limit
        self.library = os.path.join(self.folder, "library")
        self.rng = Random(f"{seed}:{limit}")
        self.world = World(os.fsencode(os.path.join(self.folder, "tree")), self.rng)

    def run(self) -> dict[str, Any]:
        old = self.rng.random() < 0.7
        if old:
            self._add(10)
            self._index(None)
        before = oracle.snapshot(self.library)
        self._add(30)
        code, said = self._index(self.limit)
        found = oracle.snapshot(self.library)
        seen = self._look(found) + oracle.losses(before, found, self.world, 0, None)
        complete = oracle.current(found, self.world) == set(self.world.files)
        if code == 0 and not complete:
            seen.append(("silent", "exit 0, but not all is there"))
        if code and self.library not in said:
            seen.append(("unnamed", said))
        again, said = self._index(None)
        found = oracle.snapshot(self.library)
        seen += self._look(found)
        if again or oracle.current(found, self.world) != set(self.world.files):
            seen.append(("resume", f"{again}: {said}"))
        shutil.rmtree(self.folder)
        return {"limit": self.limit, "code": code, "old": old, "seen": seen}

    def _add(self, count: int) -> None:
        for _ in range(count):
            self.world.add()

    def _index(self, limit: int | None) -> tuple[int, str]:
        arguments = ["--library", self.library, "index", os.fsdecode(self.world.root), "--model", "fake"]
        work = lambda: program([*arguments, "--index", "exact"], limit)  # noqa: E731
        return ask(work, os.path.join(self.folder, "answer"))  # type: ignore[no-any-return]

    def _look(self, found: oracle.Snapshot) -> list[oracle.Violation]:
        if not found.rows:
            return []
        problems = [("check", p.message) for p in Library(self.library).check("data")]
        return problems + oracle.content(found, self.world) + oracle.queries(self.library, found, [])


def main() -> None:
    folder, seed, limits = sys.argv[1], int(sys.argv[2]), [int(limit) for limit in sys.argv[3].split(",")]
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    warm_up(os.path.join(folder, "warm"))
    for limit in limits:
        try:
            figures = Case(folder, seed, limit).run()
        except Exception as error:
            figures = {"limit": limit, "code": None, "seen": [("crash", repr(error))]}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
