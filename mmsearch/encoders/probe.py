"""Which way of running an image tower is the fastest on this processor: measured once a machine and model, then known.

The ways: torch in float32, torch with all weights in bf16, and OpenVINO in bf16 (extra ``[openvino]``). Only ways whose
vectors have a cosine of at least 0.999 to float32 are taken. A probe costs seconds, so it waits for the 65th picture
of a process; a choice that is known is used from the first.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, Protocol, cast

import numpy as np

from mmsearch.encoders import known
from mmsearch.encoders.lazy import LazyEncoder, Tower
from mmsearch.types import Encoder, FloatArray, Media, Modality

CLOSE = 0.999
"""The least cosine to float32 that a way must reach."""
WAIT = 64
"""Pictures of a process before a probe pays: it costs about as much as encoding so many."""
_SAMPLE, _ROUNDS = 8, 3


class Pictured(Protocol):
    """What an encoder on torch offers to be run in other ways."""

    device: str

    def prepared(self, batch: Sequence[Media]) -> Any:
        """Normalised pixels float32 ``(n, 3, h, w)``, None if the model takes more than that."""

    def picture_module(self) -> Any:
        """A torch module from these to rows ``(n, dim)``."""


def quickened(encoder: Encoder) -> Encoder:
    """The same encoder, its pictures encoded in the fastest way on the CPU, chosen when there are enough of them."""
    if Modality.IMAGE not in encoder.spec.modalities:
        return encoder
    lazy = encoder if isinstance(encoder, LazyEncoder) else LazyEncoder.of(encoder)
    lazy.use(Modality.IMAGE, lambda: Quick(lazy.model()))
    return lazy


class Quick:
    """A tower of pictures that starts as the model's own and changes to the fastest way."""

    def __init__(self, model: Encoder) -> None:
        self._model, self._seen = model, 0
        self.device = str(getattr(model, "device", "cpu"))
        self._tower: Tower = lambda batch: model.encode(batch, Modality.IMAGE)
        self._settled = not _offers(model)
        self._key = [_machine(), model.spec.space, *known.versions("torch", "openvino")]
        if not self._settled and (choice := known.read_note("ways", self._key)):
            self._settle(str(choice), None)

    def __call__(self, batch: Sequence[Media]) -> FloatArray:
        if not self._settled and self._seen >= WAIT and len(batch) >= _SAMPLE:
            choice, tower = fastest(cast(Pictured, self._model), self._tower, batch[:_SAMPLE])
            known.write_note("ways", self._key, choice)
            self._settle(choice, tower)
        self._seen += len(batch)
        return self._tower(batch)

    def _settle(self, choice: str, tower: Tower | None) -> None:
        self._settled = True
        if choice in WAYS:
            self._tower = tower or WAYS[choice](cast(Pictured, self._model))
            self.device = f"cpu ({choice})"


def fastest(model: Pictured, own: Tower, sample: Sequence[Media]) -> tuple[str, Tower]:
    """The name and the tower of the fastest way that is close enough; ``torch float32`` is the model's own."""
    expected = own(sample)
    towers: dict[str, Tower] = {"torch float32": own}
    for name, make in WAYS.items():
        try:
            tower = make(model)
            if float((tower(sample) * expected).sum(axis=1).min()) >= CLOSE:
                towers[name] = tower
        except Exception:  # a way that this machine or model doesn't have is no way
            continue
    # In turns, so that other work on the machine hits all ways alike.
    times = [{name: _seconds(tower, sample) for name, tower in towers.items()} for _ in range(_ROUNDS)]
    best = min(towers, key=lambda name: float(np.median([turn[name] for turn in times])))
    return best, towers[best]


def _seconds(tower: Tower, sample: Sequence[Media]) -> float:
    started = time.perf_counter()
    tower(sample)
    return time.perf_counter() - started


def _torch_bf16(model: Pictured) -> Tower:
    """All weights cast: autocast would cast them again at every call."""
    import torch

    module = deepcopy(model.picture_module()).to(torch.bfloat16)

    def encode(batch: Sequence[Media]) -> FloatArray:
        with torch.inference_mode():
            rows = module(model.prepared(batch).to(torch.bfloat16))
            return cast(FloatArray, torch.nn.functional.normalize(rows.float(), dim=-1).numpy())

    return encode


def _openvino_bf16(model: Pictured) -> Tower:
    import openvino
    import torch

    pixels = model.prepared([np.zeros(_shape(model), np.uint8)])
    with torch.no_grad():
        graph = openvino.convert_model(model.picture_module(), example_input=pixels, input=[[-1, *pixels.shape[1:]]])
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "bf16"})

    def encode(batch: Sequence[Media]) -> FloatArray:
        rows = compiled(model.prepared(batch).numpy())[0]
        unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    return encode


WAYS: dict[str, Callable[[Pictured], Tower]] = {"torch bf16": _torch_bf16, "openvino bf16": _openvino_bf16}


def _shape(model: Pictured) -> tuple[int, int, int]:
    size = cast(Any, model).spec.image.size
    return size, size, 3


def _offers(model: object) -> bool:
    """Whether a model can be run in other ways here: on the CPU, from normalised pixels alone."""
    if getattr(model, "device", "") != "cpu" or not hasattr(model, "picture_module"):
        return False
    pictured = cast(Pictured, model)
    return pictured.prepared([np.zeros(_shape(pictured), np.uint8)]) is not None


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
