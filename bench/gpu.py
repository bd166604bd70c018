"""What a GPU gives: the encoder beside its limit, `index` beside the slower of its halves, FAISS beside the CPU.

`python -m bench.gpu [--model ViT-B-32] [--photos 5000] [--rows 1000000] [--pairs 5] [--only encoder,index,faiss]`.
Ends at once, with an error, where there is no CUDA device. Random weights, made photos and made vectors: speed does
not depend on them.

encoder  pictures a second over those that one 8192 x 8192 bf16 product's rate allows; the same with `torch.compile`
index    files a second over the slower of decoding alone (an encoder that does nothing) and encoding alone
faiss    milliseconds of 1 and of 64 questions on the GPU and on the CPU, and the flat scan's share of the bandwidth
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile

import numpy as np

from bench.common import pairs, ratios, row, spread
from bench.encoders import make_model, seconds
from bench.index import make_photos
from bench.search import K, blocks, questions
from mmsearch import Library
from mmsearch.encoders import registry
from mmsearch.store import indexes
from mmsearch.types import Modality

PLACE = "cuda:0"
SIDE, PRODUCTS = 8192, 20


def loaded(name: str):
    encoder = registry.load(name, PLACE)
    return encoder.model() if hasattr(encoder, "loaded") else encoder


def noise(encoder, count: int) -> list[np.ndarray]:
    size = encoder.spec.image.size
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8))


def encoder_alone(name: str, case: str, turns: int, batch: int) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    encoder = loaded(name)
    pictures = noise(encoder, batch)
    with FlopCounterMode(display=False) as counter:
        encoder.encode(pictures[:1], Modality.IMAGE)
    work = counter.get_total_flops()
    a, b = (torch.randn(SIDE, SIDE, device=PLACE, dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        for _ in range(PRODUCTS):
            a @ b
        torch.cuda.synchronize()

    plain = encoder.encode(pictures, Modality.IMAGE)
    for way in ("eager", "torch.compile"):
        if way == "torch.compile":
            encoder.model.visual.compile(mode="reduce-overhead")  # CUDA graphs where they can be taken
        for _ in range(3):  # compiles, records, warms up
            rows = encoder.encode(pictures, Modality.IMAGE)
            product()
        ours, theirs = pairs(
            lambda: batch / seconds(encoder.encode, pictures, Modality.IMAGE),
            lambda: PRODUCTS * 2 * SIDE**3 / seconds(product) / work,
            turns,
        )
        cosine = round(float((rows * plain).sum(axis=1).min()), 6)
        figures = {"pictures_s": spread(ours, 0), "limit_s": spread(theirs, 0), "of_limit": ratios(ours, theirs)}
        row("gpu", f"{case}, encoder, {way}", cosine=cosine, **figures)


class Bare:
    """An encoder without what `index` does with torch models besides: it keeps their text towers."""

    device = PLACE

    def __init__(self, spec, encode) -> None:
        self.spec, self.encode = spec, encode


def whole_index(name: str, case: str, count: int, turns: int) -> None:
    encoder = loaded(name)
    pictures = noise(encoder, 2048)
    encoder.encode(pictures, Modality.IMAGE)
    with tempfile.TemporaryDirectory() as scratch:
        photos = f"{scratch}/photos"
        make_photos(photos, count, (500, 375))

        def indexed(with_encoder) -> float:
            with tempfile.TemporaryDirectory() as place, Library(f"{place}/library") as library:
                library._encoders[name, PLACE] = with_encoder
                return count / seconds(lambda: library.index([photos], model=name, device=PLACE))

        def nothing(batch, modality) -> np.ndarray:
            return np.eye(1, encoder.spec.dim, dtype=np.float32).repeat(len(batch), axis=0)

        whole, idle = Bare(encoder.spec, encoder.encode), Bare(encoder.spec, nothing)
        indexed(idle)
        ours, decoded, encoded = [], [], []
        for _ in range(turns):
            ours.append(indexed(whole))
            decoded.append(indexed(idle))
            encoded.append(len(pictures) / seconds(encoder.encode, pictures, Modality.IMAGE))
    slower = [min(pair) for pair in zip(decoded, encoded, strict=True)]
    figures = {"files_s": spread(ours, 0), "decode_s": spread(decoded, 0), "encode_s": spread(encoded, 0)}
    row("gpu", f"{case}, index of {count} photos", of_slower=ratios(ours, slower), **figures)


def bandwidth() -> float:
    """Bytes a second that a copy on the device reads and writes."""
    import torch

    block = torch.empty(1 << 30, dtype=torch.uint8, device=PLACE)

    def copy() -> None:
        for _ in range(10):
            block.clone()
        torch.cuda.synchronize()

    copy()
    return 20 * block.numel() / seconds(copy)


def faiss_kinds(rows: int, dim: int, turns: int) -> None:
    rate = bandwidth()
    for kind in ("flat", "ivfpq"):
        made = indexes.build(kind, lambda: blocks(rows, dim), rows, dim, device=PLACE)
        with tempfile.NamedTemporaryFile() as file:
            for chunk in made.chunks:
                file.write(chunk)
            file.flush()
            on_gpu, on_cpu = (
                indexes.open_index(kind, file.name, rows, dim, made.params, device=place) for place in (PLACE, "cpu")
            )
            for count in (1, 64):
                asked = questions(dim)[:count]
                found, expected = (index.search(asked, K).ids for index in (on_gpu, on_cpu))
                same = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, expected, strict=True)]))
                ours, theirs = pairs(
                    lambda: seconds(on_gpu.search, asked, K) * 1e3,  # noqa: B023
                    lambda: seconds(on_cpu.search, asked, K) * 1e3,  # noqa: B023
                    turns,
                )
                figures = {"gpu_ms": spread(ours), "cpu_ms": spread(theirs), "ratio": ratios(ours, theirs)}
                if kind == "flat":
                    size = 2 * rows * dim  # float16 on the device
                    figures["of_bandwidth"] = spread([size / rate * 1e3 / one for one in ours])
                row("gpu", f"faiss {kind}, {rows} x {dim}, {count} questions", same=round(same, 4), **figures)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="ViT-B-32")
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--photos", type=int, default=5000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", default="encoder,index,faiss")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        sys.exit("bench.gpu: no CUDA device here: nothing was measured")
    parts = options.only.split(",")
    case = f"{torch.cuda.get_device_name()}, {options.model}, random weights"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMSEARCH_CACHE"] = f"{folder}/cache"
        if {"encoder", "index"} & set(parts):
            name = make_model(folder, options.model)
        if "index" in parts:
            whole_index(name, case, options.photos, options.pairs)
        if "encoder" in parts:
            encoder_alone(name, case, options.pairs, options.batch)
        if "faiss" in parts:
            faiss_kinds(options.rows, options.dim, options.pairs)


if __name__ == "__main__":
    main()
