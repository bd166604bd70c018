"""Vectors a second into the catalog, beside the same blobs into one bare SQLite table with the same durability.

    python -m bench.catalog [--rows 50000] [--pairs 5]

Vectors have 512 float16 numbers, and as many go into a transaction as the indexer commits. `photos`: each vector has a
file of its own, so three rows are written for it (item, segment, embedding). `sounds`: 64 to a file. The goal is 40,000
rows a second.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import tempfile
import time

import numpy as np

from bench.common import pairs, ratios, row, spread
from mmsearch.indexer.ingest import COMMIT_ROWS
from mmsearch.store import roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.types import EncoderSpec, FileStat, Modality, Span, State

DIM, BATCH = 512, COMMIT_ROWS
SPEC = EncoderSpec(name="bench", space="bench", dim=DIM, modalities=frozenset(), licence="")


def catalog_rate(vectors: np.ndarray, per_file: int) -> float:
    with tempfile.TemporaryDirectory() as folder, Catalog(f"{folder}/library") as catalog:
        space, scope = catalog.space(SPEC), roots.claim(catalog, b"/photos")
        spans = tuple(Span(i, i + 1, "s") if per_file > 1 else None for i in range(per_file))
        records = [
            Record(
                file=FileStat(b"2024/IMG_%07d.jpg" % i, 1000, i, i),
                state=State.OK,
                sha256=os.urandom(32),
                modality=Modality.IMAGE,
                spans=spans,
                vectors=vectors[i : i + per_file],
            )
            for i in range(0, len(vectors) // per_file * per_file, per_file)
        ]
        batch = max(1, BATCH // per_file)
        started = time.perf_counter()
        for start in range(0, len(records), batch):
            catalog.write_batch(scope.root_id, space.id, records[start : start + batch])
        return len(records) * per_file / (time.perf_counter() - started)


def bare_rate(vectors: np.ndarray) -> float:
    with tempfile.TemporaryDirectory() as folder:
        db = sqlite3.connect(f"{folder}/bare.sqlite", isolation_level=None)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE embedding (seq INTEGER PRIMARY KEY, vector BLOB)")
        blobs = [row.tobytes() for row in vectors.astype(np.float16)]
        started = time.perf_counter()
        for start in range(0, len(blobs), BATCH):
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO embedding (vector) VALUES (?)", [(b,) for b in blobs[start : start + BATCH]])
            db.execute("COMMIT")
        rate = len(blobs) / (time.perf_counter() - started)
        db.close()
        return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    vectors = np.random.default_rng(0).standard_normal((arguments.rows, DIM), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for case, per_file in (("photos", 1), ("sounds", 64)):
        ours, bare = pairs(
            lambda per_file=per_file: catalog_rate(vectors, per_file), lambda: bare_rate(vectors), arguments.pairs
        )
        row("catalog", case, vectors_s=spread(ours, 0), bare_vectors_s=spread(bare, 0), ratio=ratios(ours, bare))


if __name__ == "__main__":
    main()
