"""What measuring costs: measures alone for COCO 5k (25,000 questions, 5,000 photos), and all of `mmsearch evaluate`.

    python -m bench.evaluate [--questions 25000] [--documents 5000] [--photos 1000] [--runs 5]

Goals, on two idle cores: measures under 10 s and 1 GB, exact ranks, intervals and 100 answers a question included; a
whole evaluation of 1,000 photos x 5 captions with `mini`, indexing included, under 20 s. The matrix product that any
exact search needs is the pair of the measures; of the whole, to index the same photos: ratios stay where wall times do
not. ``--runs 0`` leaves the measures out.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bench.common import process, ratios, row, spread

DATA = Path(os.environ.get("MMSEARCH_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
PAIR = """
import sys, time
import numpy as np
questions, documents = int(sys.argv[1]), int(sys.argv[2])
draw = np.random.default_rng(0)
def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
photos = unit(draw.standard_normal((documents, 256)))
owner = np.arange(questions) % documents
texts = unit(photos[owner] + 0.1 * draw.standard_normal((questions, 256)))
"""
PRODUCT = (
    PAIR
    + """
started = time.perf_counter()
for start in range(0, questions, 1024):
    texts[start : start + 1024] @ photos.T
print(time.perf_counter() - started)
"""
)
MEASURES = (
    PAIR
    + """
from mmsearch.retrieval.metrics import Qrels, measure, score_all
from mmsearch.retrieval.significance import bootstrap
started = time.perf_counter()
qrels = Qrels.of([(q, int(d), 1.0) for q, d in enumerate(owner)], questions)
scores = score_all(texts, photos, np.arange(documents), qrels, depth=100)
values = measure(scores.nearest, qrels)
bootstrap(values, owner)
print(time.perf_counter() - started)
"""
)


def measures(questions: int, documents: int, runs: int) -> None:
    cost = []
    for _ in range(runs):
        ours = process([sys.executable, "-c", MEASURES, str(questions), str(documents)])
        base = process([sys.executable, "-c", PRODUCT, str(questions), str(documents)])
        cost.append((float(ours.output), float(base.output), ours))
    row(
        "evaluate",
        f"measures, {questions} x {documents}",
        seconds=spread([a for a, _, _ in cost]),
        product_seconds=spread([b for _, b, _ in cost]),
        ratio=ratios([a for a, _, _ in cost], [b for _, b, _ in cost]),
        cpu_s=spread([usage.cpu for _, _, usage in cost], 2),
        rss_mb=spread([usage.rss_mb for _, _, usage in cost], 0),
    )


def whole(photos: int) -> None:
    captions = DATA / "flickr8k" / "val.jsonl"
    if not captions.exists():
        print(f"no data at {captions}: set MMSEARCH_DATA", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch, "part.jsonl")
        part.write_text("".join(captions.read_text(encoding="utf-8").splitlines(keepends=True)[:photos]), "utf-8")
        mmsearch, images = [sys.executable, "-m", "mmsearch"], DATA / "flickr8k" / "images"
        folder = Path(scratch, "photos")
        folder.mkdir()
        for line in part.read_text("utf-8").splitlines():
            name = json.loads(line)["image"]
            (folder / name).symlink_to(images / name)
        index = process([*mmsearch, "index", str(folder), "--follow-links", "--library", str(Path(scratch, "library"))])
        command = [*mmsearch, "evaluate", str(part), "--images", str(images), "--json", "--quiet"]
        usage = process([*command, "--model", "mini"])
    facts = json.loads(usage.output)["facts"]
    row(
        "evaluate",
        f"whole, {photos} photos x 5 captions",
        wall_s=round(usage.wall, 2),
        cpu_s=round(usage.cpu, 2),
        index_wall_s=round(index.wall, 2),
        index_cpu_s=round(index.cpu, 2),
        cpu_to_index=round(usage.cpu / index.cpu, 2),
        rss_mb=round(usage.rss_mb),
        search_ms_p50=facts["search ms p50"],
        query_ms_p50=facts["query ms p50"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=25_000)
    parser.add_argument("--documents", type=int, default=5_000)
    parser.add_argument("--photos", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.runs:
        measures(arguments.questions, arguments.documents, arguments.runs)
    whole(arguments.photos)


if __name__ == "__main__":
    main()
