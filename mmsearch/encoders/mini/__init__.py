"""`mini`, the model inside the package: photos, sounds, and English or Chinese words in one space.

The text tower is numpy over mapped weights and imports nothing else; the image and audio towers start ONNX Runtime
when the first photo or sound arrives. How it was trained is `mmsearch.training.mini`; MODEL_CARD.md beside this file
says what it may be used for.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from mmsearch.encoders.bank import Bank
from mmsearch.encoders.mini.blas import one_thread
from mmsearch.encoders.mini.runtime import Session
from mmsearch.encoders.mini.text import TextTower
from mmsearch.errors import EncoderError, MissingModel, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality

if TYPE_CHECKING:
    from concurrent.futures import Executor

PREPROCESSING_VERSION = 1
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
_PHOTOS_AT_ONCE = 4
"""Photos in one call of the runtime: 16 take four times the memory (430 MB) and no less time."""
_MANY_TEXTS = 64
"""Texts from which threads share them; a question goes alone, and starts none."""
_WINDOW_S = 3.0
"""Seconds of sound in a segment: five patches. In mixed recordings of ESC-10 the best window then lies in the right
clip 99 times in 100; with windows of 5 s 87 times, with 10 s 60 times."""
_HERE = os.path.dirname(os.path.abspath(__file__))
_REMEDY = "run `pip install --force-reinstall mmsearch`"
BANK = "bank"
"""The file with the model's word bank, `encoders.bank`; made by `training.bank`, and no part of the fingerprint."""
T = TypeVar("T")


def load(name: str = "mini", device: str = "cpu", *, threads: int = 0, folder: str = _HERE) -> MiniEncoder:
    """Open the model: reads the manifest and compares file sizes; towers load when they are first needed.

    ``threads`` is how many cores one call may use, 0 for all. Raises ``MissingModel`` for a file that is absent or
    has the wrong size, ``UsageError`` for a device other than the CPU.
    """
    if device not in ("cpu", "auto"):
        raise UsageError(f"{name} runs on the CPU, not on {device}: use --device cpu")
    manifest = _read_manifest(folder)
    for file, facts in manifest["files"].items():
        path = os.path.join(folder, file)
        size = os.path.getsize(path) if os.path.exists(path) else None
        if size != facts["bytes"]:
            state = "is missing" if size is None else f"has {size} bytes instead of {facts['bytes']}"
            raise MissingModel(f"model {name}: {file} {state}: {_REMEDY}")
    return MiniEncoder(name, manifest, folder, threads)


def verify(folder: str = _HERE) -> None:
    """Compare every weight file's sha256 with the manifest; raises ``MissingModel`` naming the first that differs."""
    load(folder=folder)
    for file, facts in _read_manifest(folder)["files"].items():
        with open(os.path.join(folder, file), "rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != facts["sha256"]:
                raise MissingModel(f"model mini: {file} is damaged: {_REMEDY}")


def fingerprint(manifest: dict[str, Any]) -> str:
    """The space: it changes with any weight, preprocessing parameter, tokenizer setting, or the code's version."""
    parts = {key: value for key, value in manifest.items() if key != "licence"}
    text = json.dumps([PREPROCESSING_VERSION, parts], sort_keys=True)
    return f"mini-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _read_manifest(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            return cast(dict[str, Any], json.load(file))
    except (OSError, ValueError) as error:
        raise MissingModel(f"model mini: manifest.json can't be read ({error}): {_REMEDY}") from None


class MiniEncoder:
    """The three towers behind the ``Encoder`` protocol; safe to call from several threads."""

    def __init__(self, name: str, manifest: dict[str, Any], folder: str, threads: int) -> None:
        self._manifest, self._folder, self._threads = manifest, folder, threads or os.cpu_count() or 1
        self._towers: dict[str, Any] = {}
        self._lock = threading.Lock()
        audio = manifest.get("audio")
        kinds = [Modality.IMAGE, Modality.TEXT] + ([Modality.AUDIO] if audio else [])
        image = manifest["image"]
        self.spec = EncoderSpec(
            name=name,
            space=fingerprint(manifest),
            dim=manifest["dim"],
            modalities=frozenset(kinds),
            licence=manifest["licence"],
            image=ImageInput(size=image["size"], fit=image["fit"], resample=image["resample"]),
            audio_rate=audio["rate"] if audio else None,
            audio_window=_WINDOW_S,
            text_tokens=manifest["text"]["longest"],
        )

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``; raises ``EncoderError`` for a modality it lacks."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if not len(batch):
            return np.empty((0, self.spec.dim), np.float32)
        if modality is Modality.TEXT:
            return self._encode_texts(cast(Sequence[str], batch))
        if modality is Modality.IMAGE:
            return self._encode_photos(batch)
        return self._encode_sounds(cast(Sequence[FloatArray], batch))

    def count_tokens(self, text: str) -> int:
        """Tokens of a text, marks included, before anything is cut off."""
        return self._text().count_tokens(text)

    def bank(self) -> Bank | None:
        """The bank that came with the weights; None where there is none of this version."""
        try:
            with open(os.path.join(self._folder, BANK), "rb") as file:
                return Bank.from_bytes(file.read())
        except OSError:
            return None

    def _encode_texts(self, batch: Sequence[str]) -> FloatArray:
        tower, threads = self._text(), self._threads
        if threads == 1 or len(batch) < _MANY_TEXTS:
            return tower.encode(batch)
        rows = np.empty((len(batch), self.spec.dim), np.float32)
        with one_thread():
            for i, part in enumerate(self._pool().map(tower.encode, [batch[i::threads] for i in range(threads)])):
                rows[i::threads] = part
        return rows

    def _encode_photos(self, batch: Sequence[Media]) -> FloatArray:
        size = self._manifest["image"]["size"]
        for photo in batch:
            if not isinstance(photo, np.ndarray) or photo.shape != (size, size, 3) or photo.dtype != np.uint8:
                raise EncoderError(f"{self.spec.name} takes photos as uint8 ({size}, {size}, 3)")
        tower = self._session("image")
        parts = [np.stack(batch[i : i + _PHOTOS_AT_ONCE]) for i in range(0, len(batch), _PHOTOS_AT_ONCE)]
        if len(parts) == 1:
            return tower(parts[0])
        return np.concatenate(list(self._pool().map(tower, parts)))

    def _pool(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor

        return self._tower("pool", lambda: ThreadPoolExecutor(self._threads, "mini"))

    def _encode_sounds(self, batch: Sequence[FloatArray]) -> FloatArray:
        from mmsearch.encoders.mini.audio import patches

        tower = self._session("audio")
        if len(batch) == 1:
            return self._centred(tower(patches(batch[0])))
        with one_thread():
            return self._centred(np.concatenate(list(self._pool().map(lambda samples: tower(patches(samples)), batch))))

    def _centred(self, sounds: FloatArray) -> FloatArray:
        """Without what all sounds share, which made any sound score higher than the right photo for any words."""
        moved = sounds - np.array(self._manifest["audio"].get("centre", 0), np.float32)
        unit: FloatArray = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        return unit

    def _text(self) -> TextTower:
        settings = self._manifest["text"]
        path = os.path.join(self._folder, settings["file"])
        return self._tower("text", lambda: TextTower(path, settings["layers"], settings["heads"], settings["longest"]))

    def _session(self, kind: str) -> Session:
        path = os.path.join(self._folder, self._manifest[kind]["file"])
        return self._tower(kind, lambda: Session(path))

    def _tower(self, kind: str, make: Callable[[], T]) -> T:
        with self._lock:
            if kind not in self._towers:
                self._towers[kind] = make()
            return cast(T, self._towers[kind])
