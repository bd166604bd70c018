"""A cold question from the shell: wall, CPU and memory of the whole process, beside `import numpy, sqlite3`.

    python -m bench.query [--rows 500 100000] [--runs 9]

The library is filled with random vectors in `mini`'s space: what is timed does not depend on what they mean. Goals,
where the import alone takes 0.13 s: 0.35 s at 500 files, 0.45 s at 100,000, 200 MB; `--help` 0.12 s.
"""

from __future__ import annotations

import argparse
import sys
import tempfile

import numpy as np

from bench.common import Usage, fill, process, ratios, row, spread
from mmsearch.encoders import registry
from mmsearch.store import artifacts
from mmsearch.store.catalog import Catalog

QUESTION = "a cat on a sofa"


def library(folder: str, count: int) -> None:
    spec = registry.load("mini").spec
    vectors = np.random.default_rng(0).standard_normal((count, spec.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    space = fill(folder, spec, vectors)
    with Catalog(folder) as catalog:
        artifacts.refresh(catalog, space)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 100_000])
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    floor = [sys.executable, "-c", "import numpy, sqlite3"]
    program = [sys.executable, "-m", "mmsearch"]
    compare("help", floor, [*program, "--help"], arguments.runs)
    for count in arguments.rows:
        with tempfile.TemporaryDirectory() as scratch:
            library(f"{scratch}/library", count)
            compare(
                f"{count} files",
                floor,
                [*program, "--library", f"{scratch}/library", "query", QUESTION],
                arguments.runs,
            )


def compare(case: str, floor: list[str], command: list[str], runs: int) -> None:
    results: list[tuple[Usage, Usage]] = [(process(command), process(floor)) for _ in range(runs)]
    ours, base = zip(*results, strict=True)
    row(
        "query",
        case,
        wall_s=spread([u.wall for u in ours]),
        floor_s=spread([u.wall for u in base]),
        wall_ratio=ratios([u.wall for u in ours], [u.wall for u in base]),
        cpu_ratio=ratios([u.cpu for u in ours], [u.cpu for u in base]),
        rss_mb=spread([u.rss_mb for u in ours], 0),
    )


if __name__ == "__main__":
    main()
