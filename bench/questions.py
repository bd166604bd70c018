"""What filters, fusion and calibration add to a question at 100,000 segments, in a warm process: pairs in turns.

    python -m bench.questions [--rows 100000] [--pairs 15] [--faiss]

Each row has the median time of a plain dense search and of one with something more, and the median of their ratios and
differences. Goals: 0.1 % selectivity at most 1.5 times a plain search; fusion, filters and calibration under 5 ms more.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from itertools import count

import numpy as np

from bench.common import pairs, ratios, row, spread
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.encoders.bank import bank_of
from mmsearch.store import artifacts, levels, roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.types import FileStat, MediaFacts, Modality, State

CAMERAS = ("FUJIFILM X100V", "Canon EOS R5", "Apple iPhone 15", None)


def fill(folder: str, rows: int) -> None:
    """Photos with facts; one in a thousand is 9,999 pixels wide, and one in a thousand is named after a boat."""
    encoder = registry.load("mini")
    spec = encoder.spec
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((rows, spec.dim), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with Catalog(folder) as catalog:
        space, scope = catalog.space(spec), roots.claim(catalog, b"/photos")
        for start in range(0, rows, 5000):
            catalog.write_batch(
                scope.root_id,
                space.id,
                [
                    Record(
                        file=FileStat(b"%d/%s%d.jpg" % (i // 500, b"boat" if i % 1000 == 7 else b"img", i), 1, i, i),
                        state=State.OK,
                        sha256=hashlib.sha256(b"%d" % i).digest(),
                        modality=Modality.IMAGE,
                        spans=(None,),
                        facts=MediaFacts(
                            width=9999 if i % 1000 == 3 else 4000,
                            taken=f"20{i % 25:02}-{i % 12 + 1:02}-{i % 28 + 1:02}T12:00:00",
                            camera=CAMERAS[i % 4],
                        ),
                        vectors=vectors[i : i + 1],
                    )
                    for i in range(start, min(start + 5000, rows))
                ],
            )
        levels.refresh(catalog, space, bank_of(encoder))
        artifacts.refresh(catalog, space, "exact")


NEW = "size != {turn}"
"""Always true, and another filter each time: the last few are remembered."""
CASES = {
    "where width, 0.1 %": {"where": f"width = 9999 and {NEW}"},
    "where taken and camera, 0.1 %": {"where": f"taken = 2024-01-13 and camera ~ 'X100' and {NEW}"},
    "where camera, 25 %": {"where": f"camera ~ 'X100' and {NEW}"},
    "where camera, 25 %, the same again": {"where": "camera ~ 'X100'"},
    "min confidence (calibration)": {"min_confidence": 0.001},
    "hybrid, no word matches": {"mode": "hybrid"},
    "hybrid, 0.1 % match": {"mode": "hybrid", "text": "a boat on img7"},
    "hybrid, a word that every name has": {"mode": "hybrid", "text": "a cat jpg"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--faiss", action="store_true", help="with FAISS loaded, which scans ten times as fast")
    arguments = parser.parse_args()
    if arguments.faiss:
        import faiss  # noqa: F401
    with tempfile.TemporaryDirectory() as scratch:
        fill(f"{scratch}/library", arguments.rows)
        with Library(f"{scratch}/library") as library:
            turns = count(10)

            def seconds(text: str = "a cat on a sofa", **options) -> float:
                if "where" in options:
                    options["where"] = options["where"].format(turn=next(turns))
                options = {"mode": "dense", **options}
                started = time.perf_counter()
                library.search(text, **options)
                return time.perf_counter() - started

            for case, options in CASES.items():
                text = options.pop("text", "a cat on a sofa")
                seconds(text, **options), seconds(text)
                more, plain = pairs(
                    lambda o=options, t=text: seconds(t, **o), lambda t=text: seconds(t), arguments.pairs
                )
                added = statistics.median(1e3 * (a - b) for a, b in zip(more, plain, strict=True))
                facts = {
                    "rows": arguments.rows,
                    "faiss": arguments.faiss,
                    "added_ms": round(added, 2),
                    "plain_s": spread(plain, 5),
                }
                row("questions", case, ratio=ratios(more, plain), with_s=spread(more, 5), **facts)


if __name__ == "__main__":
    main()
