"""What the benchmarks share: whole processes measured from outside, pairs that alternate, one JSON line a row."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.store.reader import Space
    from mmsearch.types import EncoderSpec


@dataclass(frozen=True)
class Usage:
    """What a process cost: wall and CPU seconds, peak resident MB."""

    wall: float
    cpu: float
    rss_mb: float
    output: bytes = b""


LAUNCHER = """
import os, sys, time
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
cost = time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
os.write(2, ("%f %f %f" % cost).encode())
sys.exit(os.waitstatus_to_exitcode(status))
"""


def process(arguments: Sequence[str], **environment: str) -> Usage:
    """Run a program to its end at two threads, its stdout kept.

    A small launcher starts it: Linux counts the peak of the process that forked as the new one's own.
    """
    command = [sys.executable, "-I", "-S", "-c", LAUNCHER, *arguments]
    variables = {**os.environ, "OMP_NUM_THREADS": "2", **environment}
    done = subprocess.run(command, env=variables, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {done.stderr.decode()}")
    wall, cpu, rss_mb = map(float, done.stderr.split()[-3:])
    return Usage(wall, cpu, rss_mb, done.stdout)


def pairs(a: Callable[[], float], b: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """Run ``a`` and ``b`` in turns; the values that each returned."""
    results = [(a(), b()) for _ in range(count)]
    return [first for first, _ in results], [second for _, second in results]


def spread(values: Sequence[float], digits: int = 3) -> dict[str, float]:
    """Median, least and most."""
    named = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, digits) for name, value in named.items()}


def ratios(a: Sequence[float], b: Sequence[float]) -> dict[str, float]:
    """The spread of the ratios of pairs that ran one after the other."""
    return spread([x / y for x, y in zip(a, b, strict=True)])


def row(bench: str, case: str, **figures: object) -> None:
    """One JSON line; ``load`` is the system's at that moment: above 0.3, discard wall times and keep ratios."""
    print(json.dumps({"bench": bench, "case": case, "load": round(os.getloadavg()[0], 2), **figures}), flush=True)


def fill(folder: str, spec: EncoderSpec, vectors: Any) -> Space:
    """A library of photos that are not there, with these unit vectors float32 ``(n, dim)``."""
    from mmsearch.store import roots
    from mmsearch.store.catalog import Catalog, Record
    from mmsearch.types import FileStat, Modality, State

    with Catalog(folder) as catalog:
        space, scope = catalog.space(spec), roots.claim(catalog, b"/photos")
        for start in range(0, len(vectors), 5000):
            records = [
                Record(
                    file=FileStat(b"%d.jpg" % i, 1, 1, i),
                    state=State.OK,
                    sha256=hashlib.sha256(b"%d" % i).digest(),
                    modality=Modality.IMAGE,
                    spans=(None,),
                    vectors=vectors[i : i + 1],
                )
                for i in range(start, min(start + 5000, len(vectors)))
            ]
            catalog.write_batch(scope.root_id, space.id, records)
    return space
