"""Which way of running an image tower is the fastest on this processor: measured once a machine and model, then kept.

The ways: torch in float32, torch with all weights in bf16, and those of `pictures`, which need no torch: ONNX Runtime
in float32 and in int8, OpenVINO in bf16 (extra ``[openvino]``). Only ways whose vectors have a cosine of at least 0.999
to float32 are taken. Exporting and measuring cost a minute or two, so they wait for the 129th picture of a process; a
way that is kept is used from the first, and then no model is loaded:

    $MMSEARCH_CACHE/towers/<space>/<machine>/way.json   which way, with which packages, and the sha256 of its files
                                            /model.*    what `pictures` opens
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import NamedTuple, cast

import numpy as np

from mmsearch.encoders import known, pictures
from mmsearch.encoders.device import may_have_cuda
from mmsearch.encoders.lazy import LazyEncoder, Tower
from mmsearch.encoders.pictures import Pictured
from mmsearch.types import Encoder, FloatArray, Media, Modality

CLOSE = 0.999
"""The least cosine to float32 that a way must reach."""
WAIT = 128
"""Pictures of a process before a probe pays."""
OWN = "torch float32"
_SAMPLE, _ROUNDS = 16, 3
_NOTE = "way.json"


class Way(NamedTuple):
    """A way by its name, and the tower that it gives when it is called."""

    name: str
    make: Callable[[], Tower]


def quickened(encoder: Encoder) -> Encoder:
    """The same encoder, its pictures encoded in the fastest way on the CPU, chosen when there are enough of them."""
    if Modality.IMAGE not in encoder.spec.modalities:
        return encoder
    lazy = encoder if isinstance(encoder, LazyEncoder) else LazyEncoder.of(encoder)
    lazy.use(Modality.IMAGE, lambda: Quick(lazy))
    return lazy


class Quick:
    """A tower of pictures: the one that is kept, else the model's own until it changes to the fastest."""

    def __init__(self, encoder: LazyEncoder) -> None:
        self._seen = 0
        self._model: Pictured | None = None
        space = encoder.spec.space
        name = chosen(space)
        # Where there may be a CUDA device, only the model itself says whether it runs on it.
        kept = None if name is None or may_have_cuda() else _open(space, name)
        if kept is not None:
            self._tower, self.device = kept, f"cpu ({name})"
            return
        model = encoder.model()
        self._tower, self.device = (
            lambda batch: model.encode(batch, Modality.IMAGE),
            str(getattr(model, "device", "cpu")),
        )
        self._model = cast(Pictured, model) if _offers(model) else None
        if self._model is not None and name is not None:
            self._settle(name, _open(space, name) or _torch_tower(self._model, name))

    def __call__(self, batch: Sequence[Media]) -> FloatArray:
        if self._model is not None and self._seen >= WAIT and len(batch) >= _SAMPLE:
            self._settle(*choose(self._model, self._tower, batch[:_SAMPLE]))
        self._seen += len(batch)
        return self._tower(batch)

    def _settle(self, name: str, tower: Tower | None) -> None:
        self._model = None
        if tower is not None:
            self._tower = tower
            self.device = f"cpu ({name})"


# -- choosing ----------------------------------------------------------------------------------------------------------


def choose(model: Pictured, own: Tower, sample: Sequence[Media]) -> tuple[str, Tower | None]:
    """The fastest way and its tower, None for the model's own; kept for later processes."""
    place = _place(model.spec.space)
    scratch = f"{place}.tmp-{os.getpid()}"
    try:
        os.makedirs(scratch, exist_ok=True)
        best = fastest(ways(model, scratch), own, sample)
        _keep(place, os.path.join(scratch, _folder(best[0])), best[0])
        return best
    except OSError:  # a cache that can't be written, or a full disk, costs time and nothing else
        return OWN, None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def fastest(candidates: Sequence[Way], own: Tower, sample: Sequence[Media]) -> tuple[str, Tower | None]:
    """The name and the tower of the fastest way that is close enough; the model's own has no tower here.

    Each is measured against the best so far, so that no more than two of them are in memory, and in turns, so that
    other work on the machine hits both alike.
    """
    expected = own(sample)
    best: tuple[str, Tower | None] = (OWN, None)
    for way in candidates:
        try:
            tower = way.make()
            close = float((tower(sample) * expected).sum(axis=1).min()) >= CLOSE
        except Exception:  # a way that this machine or model doesn't have is no way
            continue
        if close and _gain(tower, best[1] or own, sample) > 1:
            best = way.name, tower
    return best


def _gain(tower: Tower, other: Tower, sample: Sequence[Media]) -> float:
    """How many times as fast as the other a tower is."""
    times = [(_seconds(other, sample), _seconds(tower, sample)) for _ in range(_ROUNDS)]
    return float(np.median([theirs / ours for theirs, ours in times]))


def _seconds(tower: Tower, sample: Sequence[Media]) -> float:
    started = time.perf_counter()
    tower(sample)
    return time.perf_counter() - started


def ways(model: Pictured, folder: str) -> list[Way]:
    """All ways but the model's own; those of `pictures` are written to ``folder``. None of them is made yet."""

    def runtime(name: str) -> Tower:
        if not os.path.exists(os.path.join(folder, pictures.ONNX)):
            pictures.write(model, folder)
        place = os.path.join(folder, _folder(name))
        os.makedirs(place)
        pictures.RUNTIMES[name].convert(folder, place)
        return pictures.RUNTIMES[name].open(place)

    found = [Way("torch bf16", lambda: torch_bf16(model))]
    return found + [Way(name, lambda name=name: runtime(name)) for name in pictures.RUNTIMES]  # type: ignore[misc]


def torch_bf16(model: Pictured) -> Tower:
    """All weights cast: autocast would cast them again at every call."""
    import torch

    module = deepcopy(model.picture_module()).to(torch.bfloat16)

    def encode(batch: Sequence[Media]) -> FloatArray:
        with torch.inference_mode():
            rows = module(model.prepared(batch).to(torch.bfloat16))
            return cast(FloatArray, torch.nn.functional.normalize(rows.float(), dim=-1).numpy())

    return encode


def _torch_tower(model: Pictured, name: str) -> Tower | None:
    return torch_bf16(model) if name == "torch bf16" else None


def _offers(model: object) -> bool:
    """Whether a model can be run in other ways here: on the CPU, from normalised pixels alone."""
    if getattr(model, "device", "") != "cpu" or not hasattr(model, "picture_module"):
        return False
    pictured = cast(Pictured, model)
    return pictured.prepared([np.zeros(pictures.shape(pictured), np.uint8)]) is not None


# -- what is kept ------------------------------------------------------------------------------------------------------


def chosen(space: str) -> str | None:
    """The way that was found to be the fastest here, None if it is not known or its files are not what they were."""
    place = _place(space)
    try:
        with open(os.path.join(place, _NOTE), encoding="utf-8") as file:
            note = json.load(file)
        whole = all(known.sha256(os.path.join(place, name)) == digest for name, digest in note["files"].items())
        return str(note["way"]) if whole and note["packages"] == _packages() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _open(space: str, name: str) -> Tower | None:
    """None for a way of torch, or one that doesn't open: the model itself is the truth."""
    try:
        return pictures.RUNTIMES[name].open(_place(space))
    except Exception:
        return None


def _keep(place: str, made: str, name: str) -> None:
    """Move the files of a way to their place; nothing half-written is ever opened, because the note comes last."""
    os.makedirs(made, exist_ok=True)  # a way of torch has no files
    files = {entry.name: known.sha256(entry.path) for entry in os.scandir(made)}
    newborn = os.path.join(made, _NOTE)
    with open(newborn, "w", encoding="utf-8") as file:
        json.dump({"way": name, "packages": _packages(), "files": files}, file, indent=1)
    shutil.rmtree(place, ignore_errors=True)
    os.rename(made, place)


def _place(space: str) -> str:
    machine = hashlib.sha256(_machine().encode()).hexdigest()[:12]
    return os.path.join(known.cache_folder(), known.TOWERS, space, machine)


def _folder(name: str) -> str:
    return name.replace(" ", "-")


def _packages() -> list[str]:
    return known.versions("torch", "openvino", "onnxruntime")


def _machine() -> str:
    """The processor and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line for line in file if line.startswith(("model name", "flags"))][:2]
        name = " ".join(line.partition(":")[2].strip() for line in lines)
    except OSError:
        pass
    return f"{name} x{len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()}"
