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

from bench.common import pairs, ratios, row, spread
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.indexer.ingest import TEXTS, Options
from mmsearch.media.decode import decode
from mmsearch.media.files import read
from mmsearch.types import Modality

COMMON = """
the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you were all
her she there would their we him been has when who will no more if out so said what up its about into than them dog
snow house water mountain children street morning window garden river yellow small running between letter people
"""
WORDS = COMMON.split()


def prose(chunks):
    pick = random.Random(1)
    sentence = lambda: " ".join(pick.choices(WORDS, k=pick.randint(8, 20))).capitalize() + ". "  # noqa: E731
    return "\n\n".join("".join(sentence() for _ in range(4)) for _ in range(chunks))


def spent():
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


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
                Library(library).index([path], model=model, options=Options(isolate=False))

        def encode():
            for start in range(0, len(texts), TEXTS):
                mini.encode(texts[start : start + TEXTS], Modality.TEXT)

        index("fake"), encode()  # imports and weights
        count = len(texts)
        alone, whole = pairs(lambda: timed(encode, count), lambda: timed(lambda: index("mini"), count), arguments.pairs)
        rest = [timed(lambda: index("fake"), count) for _ in range(arguments.pairs)]
        cut = [timed(lambda: decode(source, mini.spec), count) for _ in range(arguments.pairs)]
    row(
        "documents",
        "one text indexed, mini",
        chunks=count,
        tokens=round(tokens, 1),
        ratio_to_encoder_alone=ratios([1 / wall for wall, _ in whole], [1 / wall for wall, _ in alone]),
    )
    for case, rates in (("mini", whole), ("encoder alone", alone), ("without encoder", rest), ("only cut", cut)):
        wall, cpu = zip(*rates, strict=True)
        row("documents", case, chunks_s=spread(wall, 0), by_cpu=spread(cpu, 0))


if __name__ == "__main__":
    main()
