"""What an index costs that finds 0.99 of the ten nearest for questions in words; what tuning by pictures would miss.

    python -m bench.tune [--rows 200000] [--dim 512] [--budget 600] [--questions 250] [--target 0.99] [--kinds hnsw,opq]

The vectors are made: pictures lie in a cone, around topics; words lie in another cone, shifted from it by a modality
gap, and each says, with noise, what one picture shows. They are put in a real library, so that what a shortlist costs
to score again is what it costs a query. One row for each setting chosen: by both kinds of question, and by pictures
alone under the same budget (from the same points); one with every point. Settings are asked in turns for latencies.
``--kinds``: beside ``exact`` only trials whose names hold one of these (`hnsw`, `sq16`, `opq`, `bits=8`): in parts.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from functools import partial

import numpy as np

from bench.common import fill, row
from mmsearch.retrieval.tune import IMAGE, TEXT, TRIALS, Corpus, choose, tune
from mmsearch.store.reader import Reader
from mmsearch.types import Embeddings, EncoderSpec, Modality

TOPICS, INNER = 4000, 128


def made(rows, questions, dim, seed=0):
    """Pictures float32 (rows, dim), and questions in words and by picture, (questions, dim) each; unit rows.

    A picture is 1.0 of its cone, 1.0 of what it shows (a topic and its own part, in ``INNER`` of the dimensions) and
    0.3 of noise; words are 1.2 of another cone, 0.6 of what a picture shows, 0.4 of what it does not, 0.4 of noise.
    """
    rng = np.random.default_rng(seed)
    cones = _unit(rng.standard_normal((2, dim), np.float32))
    spread = (rng.standard_normal((INNER, dim), np.float32) / np.sqrt(dim)) * (1 + np.arange(INNER))[:, None] ** -0.25
    topics = rng.standard_normal((TOPICS, INNER), np.float32)
    count = rows + 2 * questions
    shown = topics[rng.integers(TOPICS, size=count)] + rng.standard_normal((count, INNER), np.float32)
    pictures = np.empty((count, dim), np.float32)
    for start in range(0, count, 20_000):
        part = slice(start, start + 20_000)
        some = _unit(shown[part] @ spread)
        pictures[part] = _unit(cones[0] + some + 0.3 * _unit(rng.standard_normal(some.shape, np.float32)))
    said = _unit(shown[-questions:] @ spread)
    other = _unit(rng.standard_normal((questions, INNER), np.float32) @ spread)
    noise = _unit(rng.standard_normal(said.shape, np.float32))
    words = _unit(1.2 * cones[1] + 0.6 * said + 0.4 * other + 0.4 * noise)
    return pictures[:rows], {TEXT: words, IMAGE: pictures[rows : rows + questions]}


def _unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def figures(point):
    recall = {f"{kind}_recall": [round(x, 4) for x in interval] for kind, interval in point.recall.items()}
    cost = {"p50_ms": round(point.p50_ms, 2), "p95_ms": round(point.p95_ms, 2), "build_s": round(point.build_s, 1)}
    return {"setting": point.name, **recall, **cost, "bytes_per_vector": round(point.bytes_per_vector, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--budget", type=float, default=600)
    parser.add_argument("--questions", type=int, default=250)
    parser.add_argument("--target", type=float, default=0.99)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=[""])
    options = parser.parse_args()
    trials = [TRIALS[0], *(t for t in TRIALS[1:] if any(kind in t.name for kind in options.kinds))]
    vectors, asking = made(options.rows, options.questions, options.dim)
    gap = float(np.linalg.norm(vectors[:5000].mean(axis=0) - asking[TEXT].mean(axis=0)))
    with tempfile.TemporaryDirectory() as scratch:
        folder = os.path.join(scratch, "library")
        spec = EncoderSpec(name="made", space="made", dim=options.dim, modalities=frozenset(Modality), licence="none")
        space = fill(folder, spec, vectors)
        del vectors
        reader = Reader(folder)
        blocks = list(reader.blocks(space.id, space.dim))
        sample = Embeddings(np.concatenate([b.ids for b in blocks]), np.concatenate([b.vectors for b in blocks]))
        del blocks
        corpus = Corpus(sample, asking, partial(reader.vectors, space.id, space.dim))
        with reader.snapshot():
            tuning = tune(corpus, target=options.target, budget=options.budget, trials=trials)
        reader.close()
    facts = {"rows": options.rows, "dim": options.dim, "target": options.target, "gap": round(gap, 3)}
    exact = next(point for point in tuning.points if point.setting.kind == "exact")
    for case, kinds in (("chosen by words and pictures", [TEXT, IMAGE]), ("chosen by pictures alone", [IMAGE])):
        point = choose(tuning.points, options.target, kinds)
        row("tune", case, **facts, **figures(point), p50_to_exact=round(point.p50_ms / exact.p50_ms, 3))
    points = [
        {**figures(point), "p50_to_exact": round(point.p50_ms / exact.p50_ms, 3), "pareto": point.pareto}
        for point in tuning.points
    ]
    row("tune", "all points", **facts, seconds=round(tuning.seconds, 1), skipped=tuning.skipped, points=points)


if __name__ == "__main__":
    main()
