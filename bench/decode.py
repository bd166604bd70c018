"""Lean decode against open_clip's own preprocessing: interleaved pairs, median of ratios, one JSON line a row.

    python bench/decode.py [--pairs 9] [--photos 4]

Photos are made on the fly: soft shapes, upscaled, with sensor noise. How much a reduced-scale decode saves depends on
the grain, because every coefficient is read from the file either way: two kinds of 12-megapixel files are timed. Both
sides start from the file's bytes in memory and run on one thread, as one worker of the index does. The lean side ends
with uint8 pixels, open_clip's with its normalised float tensor: each hands over what its encoder takes.
"""

import argparse
import io
import json
import os
import statistics
import time

import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image

from mmsearch.media.files import Source
from mmsearch.media.image import decode_image
from mmsearch.types import ImageInput


def photo(width, height, seed, grain=6, quality=90):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 40, width // 40, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = random.normal(0, grain, (height, width, 1)).astype(np.int16)
    buffer = io.BytesIO()
    Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=quality)
    return Source(buffer.getvalue(), bytes(32), buffer.tell(), 0, 0)


def seconds(work, sources):
    """Wall and CPU seconds; on a machine that is not idle the CPU seconds are the steadier."""
    wall, cpu = time.perf_counter(), time.thread_time()
    for source in sources:
        work(source)
    return time.perf_counter() - wall, time.thread_time() - cpu


def row(name, sources, want, pairs):
    transform = image_transform(want.size, is_train=False)
    raw = image_transform(want.size, is_train=False, mean=(0, 0, 0), std=(1, 1, 1))

    def reference(source, transform=transform):
        return transform(Image.open(io.BytesIO(source.content())))

    def lean(source):
        return decode_image(source, want).pixels

    errors = [np.abs(lean(s) - reference(s, raw).permute(1, 2, 0).numpy() * 255).mean() for s in sources]
    load = os.getloadavg()[0]
    times = [(seconds(reference, sources), seconds(lean, sources)) for _ in range(pairs)]
    ratios = [a[0] / b[0] for a, b in times]
    return {
        "bench": "decode",
        "row": name,
        "size": want.size,
        "pairs": pairs,
        "photos": len(sources),
        "file_mb": round(statistics.mean(source.size for source in sources) / 1e6, 2),
        "open_clip_ms": round(1000 * statistics.median(a[0] for a, _ in times) / len(sources), 2),
        "lean_ms": round(1000 * statistics.median(b[0] for _, b in times) / len(sources), 2),
        "ratio": round(statistics.median(ratios), 2),
        "ratio_min": round(min(ratios), 2),
        "ratio_max": round(max(ratios), 2),
        "cpu_ratio": round(statistics.median(a[1] / b[1] for a, b in times), 2),
        "mean_error": round(float(np.mean(errors)), 3),
        "load": round(load, 2),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--photos", type=int, default=4)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, size, look, repeat in (
        ("500 px", (500, 375), {}, 10),
        ("12 MP, fine grain", (4000, 3000), {"grain": 6, "quality": 90}, 1),
        ("12 MP, little grain", (4000, 3000), {"grain": 3, "quality": 85}, 1),
    ):
        sources = [photo(*size, seed, **look) for seed in range(args.photos)] * repeat
        print(json.dumps(row(name, sources, ImageInput(size=224), args.pairs)), flush=True)


if __name__ == "__main__":
    main()
