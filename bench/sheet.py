"""What `query --html` adds to a query: 60 hits, their pictures decoded and carried in the page; one JSON line a row.

    python -m bench.sheet [--hits 60] [--pairs 5]

Whole processes, the same query without and with the page in turns. ``cpu_s`` is of all processes, decoders included: on
a busy machine it is the steadier figure. Photos are noise that was smoothed, as JPEG; films as in `bench.media`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

import numpy as np
from PIL import Image

from bench.common import pairs, process, ratios, row, spread
from bench.media import film


def photos(folder, count, size):
    random = np.random.default_rng(0)
    for number in range(count):
        small = random.integers(0, 256, (size[1] // 20, size[0] // 20, 3), np.uint8)
        Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(f"{folder}/{number}.jpg", quality=90)


def films(folder, count):
    film(f"{folder}/0.mp4", 20)
    for number in range(1, count):
        with open(f"{folder}/0.mp4", "rb") as first, open(f"{folder}/{number}.mp4", "wb") as other:
            other.write(first.read() + b"\0" * number)  # another file to the library, the same to FFmpeg


def measure(case, make, count, repeats):
    with tempfile.TemporaryDirectory() as folder:
        media, page = f"{folder}/media", f"{folder}/out.html"
        os.mkdir(media)
        make(media)
        program = [sys.executable, "-m", "mmsearch", "--library", f"{folder}/library"]
        process([*program, "index", media, "--model", "fake", "-q"])
        query = [*program, "query", "red", "--dense", "-k", str(count)]
        found = len(process(query).output.splitlines())
        plain, paged = pairs(lambda: process(query), lambda: process([*query, "--html", page]), repeats)
        row(
            "sheet",
            case,
            hits=found,
            added_s=spread([b.wall - a.wall for a, b in zip(plain, paged, strict=True)]),
            added_cpu_s=spread([b.cpu - a.cpu for a, b in zip(plain, paged, strict=True)]),
            whole_s=spread([usage.wall for usage in paged]),
            ratio_to_query=ratios([usage.wall for usage in paged], [usage.wall for usage in plain]),
            page_mb=round(os.path.getsize(page) / 1e6, 2),
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hits", type=int, default=60)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    count = arguments.hits
    measure("photos, 2 megapixels", lambda folder: photos(folder, count, (1600, 1200)), count, arguments.pairs)
    measure("photos, 12 megapixels", lambda folder: photos(folder, count, (4000, 3000)), count, arguments.pairs)
    measure("films, 360p", lambda folder: films(folder, count), count, arguments.pairs)


if __name__ == "__main__":
    main()
