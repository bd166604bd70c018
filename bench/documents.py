"""Documents: chunks a second with `mini`, against the encoder alone and against no encoder; one JSON line a row.

    python -m bench.documents [--chunks 600] [--pairs 3]

``by_cpu`` divides chunks by processor seconds of this process and its children and multiplies by two: what two idle
cores would do. The text is English prose of common words, in sentences of 8 to 20.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from bench.common import pairs, ratios, row, spread
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.encoders.mini.blas import one_thread
from mmsearch.indexer.ingest import TEXTS, Options
from mmsearch.media.decode import decode, pieces
from mmsearch.media.files import read
from mmsearch.types import Modality

COMMON = """
the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you were all
her she there would their we him been has when who will no more if out so said what up its about into than them dog
snow house water mountain children street morning window garden river yellow small running between letter people
"""
WORDS = COMMON.split()
CORES = os.cpu_count() or 1


def prose(chunks):
    pick = random.Random(1)
    sentence = lambda: " ".join(pick.choices(WORDS, k=pick.randint(8, 20))).capitalize() + ". "  # noqa: E731
    return "\n\n".join("".join(sentence() for _ in range(4)) for _ in range(chunks))


def spent():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def products(texts, tower):
    """The matrix products of so many tokens and nothing else: no tower in float32 can be faster by numpy."""
    tokens = sum(map(tower.count_tokens, texts))
    shapes = [weight.shape for name, weight in tower._tensors.items() if name.startswith("layers") and weight.ndim == 2]
    weights = [np.ones(shape, np.float32) for shape in shapes]
    columns = {width: np.ones((width, 512), np.float32) for _, width in shapes}
    gflop = 2e-9 * tokens * sum(map(len, map(np.ravel, weights)))

    def run(share):
        for _ in range(tokens // 512 // share):
            for weight in weights:
                weight @ columns[weight.shape[1]]

    def both():
        with one_thread(), ThreadPoolExecutor() as pool:
            list(pool.map(run, [CORES] * CORES))

    return both, gflop


def timed(work, count):
    wall, cpu = time.perf_counter(), spent()
    work()
    return count / (time.perf_counter() - wall), 2 * count / (spent() - cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=600)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "text.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write(prose(arguments.chunks))
        mini = registry.load("mini", "cpu")
        source = read(os.fsencode(path), mini.spec)
        texts = [piece.content for piece in decode(source, mini.spec).pieces]
        tokens = sum(map(mini.count_tokens, texts)) / len(texts)

        def index(model):
            with tempfile.TemporaryDirectory() as library:
                # In this process, so that its processor time is counted.
                Library(library).index([path], model=model, options=Options(decode=pieces))

        def encode():
            for start in range(0, len(texts), TEXTS):
                mini.encode(texts[start : start + TEXTS], Modality.TEXT)

        multiply, gflop = products(texts, mini._text())
        index("fake"), encode(), multiply()  # imports and weights
        count = len(texts)
        alone, whole = pairs(lambda: timed(encode, count), lambda: timed(lambda: index("mini"), count), arguments.pairs)
        again, bound = pairs(lambda: timed(encode, count), lambda: timed(multiply, count), arguments.pairs)
        rest = [timed(lambda: index("fake"), count) for _ in range(arguments.pairs)]
        cut = [timed(lambda: decode(source, mini.spec), count) for _ in range(arguments.pairs)]
    row(
        "documents",
        "one text indexed, mini",
        chunks=count,
        tokens=round(tokens, 1),
        ratio_to_encoder_alone=ratios([1 / wall for wall, _ in whole], [1 / wall for wall, _ in alone]),
    )
    row(
        "documents",
        "encoder alone",
        mflop_chunk=round(1000 * gflop / count, 1),
        ratio_to_products_by_cpu=ratios([1 / cpu for _, cpu in again], [1 / cpu for _, cpu in bound]),
    )
    cases = ("products alone", bound), ("mini", whole), ("encoder alone", alone)
    for case, rates in (*cases, ("without encoder", rest), ("only cut", cut)):
        wall, cpu = zip(*rates, strict=True)
        row("documents", case, chunks_s=spread(wall, 0), by_cpu=spread(cpu, 0))


if __name__ == "__main__":
    main()
