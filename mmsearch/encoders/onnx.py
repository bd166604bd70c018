"""Two-tower models exported to ONNX, in the common layout of a visual and a textual folder.

    config.json                   name, dimension, licence; or a model's configuration, as other exporters write it
    visual/model.onnx             normalised pixels float32 (n, 3, h, w) to vectors
          /preprocess_cfg.json    size, mean, std, interpolation, resize_mode: open_clip's names
    textual/...                   see `textual`; other exporters' tokenizer.json and tokenizer_config.json are read too

``onnx:PATH``. Needs onnxruntime, and neither torch nor transformers. `export` writes such folders.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from mmsearch.encoders import known, runtimes, textual
from mmsearch.encoders.lazy import Tower
from mmsearch.encoders.torch_base import check_pictures, line, need_square
from mmsearch.errors import EncoderError, MissingExtra, MissingModel, MMSearchError, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality

CODE_VERSION = 1
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
CONFIG, VISUAL, PREPROCESS = "config.json", "visual", "preprocess_cfg.json"
FITS: dict[str, Literal["crop", "squash", "pad"]] = {"shortest": "crop", "squash": "squash", "longest": "pad"}
_PICTURES_AT_ONCE = 8


def load(name: str, device: str = "cpu") -> OnnxEncoder:
    """The encoder of an exported folder; its towers start when they are first needed.

    Raises ``MissingExtra`` without onnxruntime, ``UsageError`` for another device than the CPU, ``MissingModel`` for a
    folder that is not there or not whole.
    """
    if device not in ("cpu", "auto"):
        raise UsageError(f"{name} runs on the CPU, not on {device}: use --device cpu")
    folder = os.path.abspath(os.path.expanduser(name.partition(":")[2]))
    name = f"onnx:{folder}"
    try:
        config, picture = read_config(folder), _read(os.path.join(folder, VISUAL, PREPROCESS))
        digest = hashlib.sha256()
        for path in sorted(_files(folder)):
            digest.update(f"{os.path.relpath(path, folder)} {known.sha256(path)}\n".encode())
        return OnnxEncoder(name, folder, config, picture, digest.hexdigest())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingModel(f"{name} is no exported model, or not whole ({line(error)}): check the path") from error


def read_config(folder: str) -> dict[str, Any]:
    """A folder's config.json, with ``dim`` by that name."""
    config = _read(os.path.join(folder, CONFIG))
    return {**config, "dim": int(config.get("dim") or config["embed_dim"])}


def _read(path: str) -> dict[str, Any]:
    with open(path, encoding="utf-8") as file:
        return cast(dict[str, Any], json.load(file))


def _files(folder: str) -> list[str]:
    """The files that make the vectors: what else lies beside them does not count."""
    places = [os.path.join(folder, part) for part in (VISUAL, textual.FOLDER)]
    return [entry.path for place in places for entry in os.scandir(place) if entry.is_file()]


class OnnxEncoder:
    """An exported model behind the ``Encoder`` protocol; safe to call from several threads."""

    device = "cpu"

    def __init__(self, name: str, folder: str, config: dict[str, Any], picture: dict[str, Any], digest: str) -> None:
        self._folder, self._picture = folder, picture
        self._towers: dict[Modality, Tower] = {}
        size = picture["size"]
        height, width = (size, size) if isinstance(size, int) else size
        facts = json.dumps([CODE_VERSION, digest, config["dim"]])
        self.spec = EncoderSpec(
            name=name,
            space=f"onnx-{hashlib.sha256(facts.encode()).hexdigest()[:16]}",
            dim=config["dim"],
            modalities=frozenset({Modality.IMAGE, Modality.TEXT}),
            licence=str(config.get("licence") or "the model's own"),
            image=ImageInput(
                size=need_square(name, height, width),
                fit=FITS[picture["resize_mode"]],
                resample="bilinear" if picture["interpolation"] == "bilinear" else "bicubic",
                fill=int(picture.get("fill_color") or 0),
            ),
        )

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``; raises ``EncoderError`` for a modality it lacks."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if not len(batch):
            return np.empty((0, self.spec.dim), np.float32)
        if modality is Modality.IMAGE:
            check_pictures(batch, self.spec)
        if modality not in self._towers:
            self._towers[modality] = self._open(modality)
        rows = self._towers[modality](batch)
        if rows.shape != (len(batch), self.spec.dim):
            raise EncoderError(f"{self.spec.name} gives {rows.shape} vectors for {len(batch)} inputs")
        return rows

    def _open(self, modality: Modality) -> Tower:
        try:
            if modality is Modality.TEXT:
                return cast(Tower, textual.open_tower(self._folder))
            return _visual(os.path.join(self._folder, VISUAL), self._picture)
        except MMSearchError:
            raise
        except Exception as error:  # onnxruntime and tokenizers raise types of their own
            raise MissingModel(f"{self.spec.name} is damaged ({line(error)}): export it again") from error


def _visual(folder: str, picture: dict[str, Any]) -> Tower:
    session = open_session(os.path.join(folder, "model.onnx"))
    name = session.get_inputs()[0].name
    mean, std = (np.asarray(picture[key], np.float32) * 255 for key in ("mean", "std"))

    def encode(batch: Sequence[Media]) -> FloatArray:
        rows = []
        for start in range(0, len(batch), _PICTURES_AT_ONCE):
            pixels = np.stack(cast(Sequence[Any], batch[start : start + _PICTURES_AT_ONCE])).astype(np.float32)
            rows.append(
                session.run(None, {name: np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))})[0]
            )
        return textual.unit(np.concatenate(rows))

    return encode


def open_session(path: str) -> Any:
    """An ONNX Runtime session on the CPU, with all cores."""
    try:
        return runtimes.session(path)
    except ImportError:
        raise MissingExtra("an exported model", "cpu") from None
