"""Export a torch encoder as a two-tower ONNX folder, which `onnx:PATH` runs without torch."""

from __future__ import annotations

import json
import os
import shutil
from typing import Any, cast

import numpy as np

from mmsearch.encoders import export_text, onnx, registry
from mmsearch.encoders.hf import HfEncoder
from mmsearch.encoders.lazy import LazyEncoder
from mmsearch.encoders.open_clip import OpenClipEncoder
from mmsearch.encoders.torch_base import TorchEncoder
from mmsearch.errors import EncoderError, UsageError
from mmsearch.types import ImageInput, Modality


def export(model: str, folder: str) -> str:
    """Write ``model`` to a new folder, compare it with the model, and return the name that runs it, ``onnx:PATH``.

    Raises ``UsageError`` for a model that has no torch towers or a folder that is not empty, ``EncoderError`` for one
    that can't be exported or whose export is not close (a cosine below 0.9999); the folder is then not there.
    """
    folder = os.path.abspath(os.path.expanduser(folder))
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{folder} is not empty: give another folder")
    encoder = registry.load(model, "cpu")
    if isinstance(encoder, LazyEncoder):
        encoder = encoder.model()
    if not isinstance(encoder, TorchEncoder) or encoder.spec.image is None:
        why = "it has no tower for pictures" if isinstance(encoder, TorchEncoder) else "it does not run in torch"
        raise UsageError(f"{model} can't be exported as one tower for pictures and one for words: {why}")
    newborn = f"{folder}.tmp-{os.getpid()}"
    try:
        os.makedirs(newborn)
        _write_visual(encoder, newborn)
        export_text.write(encoder, newborn)
        _write_json(os.path.join(newborn, onnx.CONFIG), {
            "name": encoder.spec.name, "space": encoder.spec.space, "dim": encoder.spec.dim,
            "licence": encoder.spec.licence,
        })  # fmt: skip
        _compare(encoder, newborn)
        if os.path.isdir(folder):
            os.rmdir(folder)
        os.rename(newborn, folder)
    finally:
        shutil.rmtree(newborn, ignore_errors=True)
    return f"onnx:{folder}"


def _write_visual(encoder: TorchEncoder, folder: str) -> None:
    import torch

    place = os.path.join(folder, onnx.VISUAL)
    os.makedirs(place)
    image = cast(ImageInput, encoder.spec.image)
    mean, std = _normalisation(encoder)

    class Pictures(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = cast(Any, encoder).model

        def forward(self, pixels: Any) -> Any:
            if isinstance(encoder, OpenClipEncoder):
                rows = self.model.encode_image(pixels)
            else:
                found = self.model.get_image_features(pixel_values=pixels)
                rows = getattr(found, "pooler_output", found)
            return torch.nn.functional.normalize(rows, dim=-1)

    modes = {fit: mode for mode, fit in onnx.FITS.items()}
    _write_json(os.path.join(place, onnx.PREPROCESS), {
        "size": [image.size, image.size], "mode": "RGB", "mean": list(mean), "std": list(std),
        "interpolation": image.resample, "resize_mode": modes[image.fit], "fill_color": image.fill,
    })  # fmt: skip
    example = torch.zeros(2, 3, image.size, image.size)
    several = ({0: torch.export.Dim.DYNAMIC},)
    export_text.write_onnx(Pictures(), (example,), os.path.join(place, "model.onnx"), ["image"], several)


def _normalisation(encoder: TorchEncoder) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of pixels from 0 to 1; raises ``EncoderError`` for a model that needs more."""
    if isinstance(encoder, OpenClipEncoder):
        cfg = encoder.model.visual.preprocess_cfg
        return list(cfg["mean"]), list(cfg["std"])
    if not isinstance(encoder, HfEncoder):
        raise UsageError(f"{encoder.spec.name} can't be exported")
    size = cast(ImageInput, encoder.spec.image).size
    black, white = (np.full((size, size, 3), value, np.uint8) for value in (0, 255))
    found = encoder.inputs[Modality.IMAGE]([black, white]).get("pixel_values")
    if found is None or tuple(found.shape) != (2, 3, size, size):
        how = "as frames of a video" if found is None else f"to a tensor of {tuple(found.shape)[1:]}"
        raise EncoderError(
            f"{encoder.spec.name} prepares pictures {how}, in a way that ONNX folders can't say: they hold pixels "
            f"(3, {size}, {size}) scaled by a mean and a deviation"
        )
    # What it makes of black and of white says what it subtracts and divides by; `_compare` proves it.
    low, high = (found[i].mean(dim=(1, 2)).double().numpy() for i in (0, 1))
    std = 1 / (high - low)
    return (-low * std).tolist(), std.tolist()


def _compare(encoder: TorchEncoder, folder: str) -> None:
    exported = onnx.load(f"onnx:{folder}")
    size = cast(ImageInput, encoder.spec.image).size
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(3)]
    for batch, modality in ((pictures, Modality.IMAGE), (list(export_text.PROBE), Modality.TEXT)):
        least = float((exported.encode(batch, modality) * encoder.encode(batch, modality)).sum(axis=1).min())
        if not least >= export_text.CLOSE:
            raise EncoderError(f"{encoder.spec.name}: the exported {modality} tower is not the model's ({least:.6f})")


def _write_json(path: str, value: dict[str, Any]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
