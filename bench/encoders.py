"""Real models: ways of running an image tower on the CPU, and a question's text tower. For a GPU see `bench.gpu`.

`python -m bench.encoders [--model ViT-B-32-256] [--pairs 5] [--pictures 16]`: an architecture of open_clip with random
weights; speed does not depend on them. `cpu`: pictures a second of each way that `encoders.probe` may choose, as the
ratio to torch float32 of pairs that ran in turns, with the least cosine. `text`: a question through numpy and through
torch, in this process.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time

import numpy as np

from bench.common import ratios, row, spread
from mmsearch.encoders import export_text, probe, registry, textual
from mmsearch.types import Modality

QUESTION = ["a cat on a sofa beside the window"]


def make_model(folder: str, architecture: str) -> str:
    """A folder in open_clip's layout with random weights; returns its name."""
    import open_clip
    from safetensors.torch import save_file

    config = {"model_cfg": open_clip.get_model_config(architecture), "preprocess_cfg": {}}
    with open(f"{folder}/open_clip_config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    model = open_clip.create_model(architecture, pretrained=None)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, f"{folder}/open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}"


def seconds(call, *arguments) -> float:
    started = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - started


def cpu(encoder, case: str, pictures: list[np.ndarray], pairs: int) -> None:
    own = lambda batch: encoder.encode(batch, Modality.IMAGE)  # noqa: E731
    expected = own(pictures)
    with tempfile.TemporaryDirectory() as folder:
        for name, make in probe.ways(encoder, folder):
            try:
                tower = make()
            except ImportError as error:
                row("encoders", f"{case}, {name}", skipped=str(error))
                continue
            cosine = float((tower(pictures) * expected).sum(axis=1).min())
            times = [(seconds(tower, pictures), seconds(own, pictures)) for _ in range(pairs)]
            ours, theirs = ([len(pictures) / turn[i] for turn in times] for i in (0, 1))
            row(
                "encoders",
                f"{case}, {name}",
                pictures_s=spread(ours, 1),
                torch_float32_s=spread(theirs, 1),
                ratio=ratios(ours, theirs),
                cosine=round(cosine, 6),
            )


def text(encoder, case: str, pairs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        export_text.write(encoder, folder)
        tower = textual.open_tower(folder)
        own = lambda: encoder.encode(QUESTION, Modality.TEXT)  # noqa: E731
        cosine = float((tower(QUESTION) * own()).sum())
        times = [(seconds(textual.open_tower(folder), QUESTION), seconds(own)) for _ in range(pairs)]
        size = sum(entry.stat().st_size for entry in os.scandir(f"{folder}/textual"))
    ours, theirs = ([turn[i] * 1e3 for turn in times] for i in (0, 1))
    row(
        "encoders",
        f"{case}, a question in numpy",
        ms=spread(ours, 1),
        torch_ms=spread(theirs, 1),
        ratio=ratios(ours, theirs),
        cosine=round(cosine, 7),
        disk_mb=round(size / 1e6),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-B-32-256")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--pictures", type=int, default=16)
    arguments = parser.parse_args()
    case = f"{arguments.model}, random weights"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MMSEARCH_CACHE"] = f"{folder}/cache"
        name = make_model(folder, arguments.model)
        encoder = registry.load(name)
        size = encoder.spec.image.size
        pictures = list(np.random.default_rng(0).integers(0, 256, (arguments.pictures, size, size, 3), np.uint8))
        text(encoder, case, arguments.pairs)
        cpu(encoder, case, pictures, arguments.pairs)


if __name__ == "__main__":
    main()
