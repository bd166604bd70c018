"""Indexing: the whole run beside its two halves alone, unchanged runs, and memory against the number of files.

    python -m bench.index [--photos 400] [--pairs 5] [--many 1000 100000]

`throughput`: files a second of `Library.index` with `mini`, beside the encoder alone on decoded input and decoding
alone on two threads; the goal is 0.90 of the slower half. On two cores the halves share the processors: when each alone
keeps both busy, the most that any arrangement can reach is 1 / (1 / encode + 1 / decode), given as `bound`.
`unchanged`: microseconds a file of a run that finds nothing to do (goal 15). `memory`: peak MB of `mmsearch index` in a
process of its own, on hard links of small pictures with the fake model (goal: at most 100 MB more at 100,000 files).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from bench.common import process, ratios, row, spread
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.indexer.ingest import BATCH
from mmsearch.media.decode import decode
from mmsearch.media.files import read
from mmsearch.types import Modality


def make_photos(folder: str, count: int, size: tuple[int, int]) -> list[bytes]:
    """JPEG files with soft shapes and some noise, all different."""
    os.makedirs(folder)
    random = np.random.default_rng(0)
    paths = []
    for i in range(count):
        coarse = Image.fromarray(random.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        noisy = np.asarray(coarse).astype(np.int16) + random.normal(0, 3, (size[1], size[0], 1)).astype(np.int16)
        path = f"{folder}/{i:05}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=88)
        paths.append(os.fsencode(path))
    return paths


def whole(photos: str) -> float:
    with tempfile.TemporaryDirectory() as scratch:
        started = time.perf_counter()
        summary = Library(f"{scratch}/library").index([photos], model="mini")
        return summary.added / (time.perf_counter() - started)


def decoding(paths: list[bytes]) -> float:
    spec = registry.load("mini").spec
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda path: decode(read(path), spec), paths))
    return len(paths) / (time.perf_counter() - started)


def encoding(paths: list[bytes]) -> float:
    encoder = registry.load("mini")
    pixels = [decode(read(path), encoder.spec).pieces[0].content for path in paths[: 4 * BATCH]]
    encoder.encode(pixels[:1], Modality.IMAGE)  # starts the runtime
    started = time.perf_counter()
    for start in range(0, len(pixels), BATCH):
        encoder.encode(pixels[start : start + BATCH], Modality.IMAGE)
    return len(pixels) / (time.perf_counter() - started)


def throughput(case: str, count: int, size: tuple[int, int], runs: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        paths = make_photos(f"{scratch}/photos", count, size)
        whole(f"{scratch}/photos")
        rates = [(whole(f"{scratch}/photos"), decoding(paths), encoding(paths)) for _ in range(runs)]
    ours, decode_alone, encode_alone = (list(column) for column in zip(*rates, strict=True))
    slower = [min(pair) for pair in zip(decode_alone, encode_alone, strict=True)]
    bound = [1 / (1 / d + 1 / e) for d, e in zip(decode_alone, encode_alone, strict=True)]
    row(
        "index",
        case,
        files_s=spread(ours, 1),
        decode_alone_s=spread(decode_alone, 1),
        encode_alone_s=spread(encode_alone, 1),
        of_slower=ratios(ours, slower),
        of_bound=ratios(ours, bound),
    )


def many(count: int, model: str) -> None:
    """Memory of a first run, and time of a second one, over hard links to a thousand tiny pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        photos, library = f"{scratch}/photos", f"{scratch}/library"
        os.makedirs(photos)
        for i in range(count):
            if i < 1000:
                Image.new("RGB", (16, 16), (i % 256, i // 256, 7)).save(f"{photos}/{i:07}.png")
            else:
                os.link(f"{photos}/{i % 1000:07}.png", f"{photos}/{i:07}.png")
        command = [sys.executable, "-m", "mmsearch", "--library", library, "index", photos, "--model", model]
        first = process(command)
        started = time.perf_counter()
        summary = Library(library).index([photos])
        seconds = time.perf_counter() - started
    row(
        "index",
        f"{count} small files, {model}",
        rss_mb=round(first.rss_mb),
        files_s=round(count / first.wall),
        unchanged=summary.unchanged,
        unchanged_us_a_file=round(seconds / count * 1e6, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--many", type=int, nargs="*", default=[1000, 100_000])
    arguments = parser.parse_args()
    throughput("500 px", arguments.photos, (500, 375), arguments.pairs)
    throughput("12 MP", max(arguments.photos // 8, 8), (4000, 3000), arguments.pairs)
    many(1000, "mini")
    for count in arguments.many:
        many(count, "fake")


if __name__ == "__main__":
    main()
