"""An image tower taken out of torch: one ONNX file from uint8 pictures to unit rows, and the runtimes that run it.

`write` needs torch; what a runtime makes of the file is opened again without it. Mean, scale and the order of the
colours are part of the graph, so a picture stays at a byte a value until the runtime has it.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from mmsearch.encoders import runtimes
from mmsearch.encoders.lazy import Tower
from mmsearch.errors import EncoderError
from mmsearch.types import EncoderSpec, FloatArray, Media

AT_ONCE = 16
"""Pictures run together. Twice as many are no faster by more than 5 % (ViT-B-32-256), and cost 50 MB more."""
STREAMS, IN_STREAM = 4, 8
"""At most so many groups of so many pictures run beside each other in OpenVINO: what the indexer encodes at a time. All
cores on one group would wait for the slowest of them: a quarter slower while other programs run."""

ONNX, OPENVINO = "model.onnx", "model.xml"


class Pictured(Protocol):
    """What an encoder on torch offers to be run in other ways."""

    spec: EncoderSpec
    device: str

    def prepared(self, batch: Sequence[Media]) -> Any:
        """Normalised pixels float32 ``(n, 3, h, w)``, None if the model takes more than that."""

    def picture_module(self) -> Any:
        """A torch module from these to rows ``(n, dim)``."""


class Runtime(NamedTuple):
    """``convert(source, folder)`` makes of ``source``/model.onnx what ``open(folder)`` runs."""

    convert: Callable[[str, str], None]
    open: Callable[[str], Tower]


def write(model: Pictured, folder: str) -> None:
    """Write ``folder``/model.onnx: uint8 ``(n, h, w, 3)`` to unit rows float32 ``(n, dim)``, weights in float32.

    Raises ``EncoderError`` for a model that torch can't export, or that does more to pixels than to normalise them;
    ``MissingExtra`` without the exporter.
    """
    import torch

    from mmsearch.encoders.export_text import write_onnx

    low, step = _normalisation(model)

    class Pixels(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.module = model.picture_module()
            self.register_buffer("low", low)
            self.register_buffer("step", step)

        def forward(self, pixels: Any) -> Any:
            rows = self.module(pixels.permute(0, 3, 1, 2).float() * self.step + self.low)
            return torch.nn.functional.normalize(rows, dim=-1)

    example = torch.zeros(2, *shape(model), dtype=torch.uint8)
    several = ({0: torch.export.Dim.DYNAMIC},)
    write_onnx(Pixels(), (example,), os.path.join(folder, ONNX), ["pixels"], several)


def _normalisation(model: Pictured) -> tuple[Any, Any]:
    """What black becomes and what a step of one grey level adds, for each colour, as tensors ``(1, 3, 1, 1)``.

    Found out by preparing black and white, whatever a model calls its mean and scale; and proved on noise.
    """
    import torch

    noise = np.random.default_rng(0).integers(0, 256, shape(model), np.uint8)
    plain = [np.full(shape(model), value, np.uint8) for value in (0, 255)]
    black, white, noisy = (tensor.float() for tensor in model.prepared([*plain, noise]))
    low, step = (value.mean(dim=(1, 2)).view(1, 3, 1, 1) for value in (black, (white - black) / 255))
    mine = torch.from_numpy(noise).permute(2, 0, 1)[None] * step + low
    if mine.shape[1:] != noisy.shape or not torch.allclose(mine[0], noisy, atol=1e-4):
        raise EncoderError(f"{model.spec.name} prepares pictures in a way of its own")
    return low, step


def shape(model: Pictured) -> tuple[int, int, int]:
    """That of one picture, ``(h, w, 3)``."""
    assert model.spec.image is not None
    return model.spec.image.size, model.spec.image.size, 3


# -- ONNX Runtime ------------------------------------------------------------------------------------------------------


def _as_it_is(source: str, folder: str) -> None:
    os.link(os.path.join(source, ONNX), os.path.join(folder, ONNX))


def _to_int8(source: str, folder: str) -> None:
    """Weights in 8 bits, a scale for each column; activations are scaled as they come."""
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    graph = onnx.load(os.path.join(source, ONNX))
    del graph.graph.value_info[:]  # shapes that the exporter noted, some of them wrong; they are inferred again
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it advises on the root logger, which then writes to stderr
    try:
        quantize_dynamic(
            graph,
            os.path.join(folder, ONNX),
            weight_type=QuantType.QInt8,
            per_channel=True,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    finally:
        logging.disable(before)


def _open_onnx(folder: str) -> Tower:
    return _in_parts(_session(folder, threads=0))


def _open_int8(folder: str) -> Tower:
    """A picture at a time on each core: those of one batch would share their scales, and a row feel its neighbours."""
    from concurrent.futures import ThreadPoolExecutor

    run, pool = _session(folder, threads=1), ThreadPoolExecutor(_cores(), "int8")
    return _in_parts(lambda pixels: np.concatenate(list(pool.map(run, np.split(pixels, len(pixels))))))


def _session(folder: str, threads: int) -> Callable[[Any], FloatArray]:
    # Threads that wait would spin, on cores that other processes decode on.
    session = runtimes.session(os.path.join(folder, ONNX), threads, spin=False)
    name = session.get_inputs()[0].name
    return lambda pixels: cast(FloatArray, session.run(None, {name: pixels})[0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- OpenVINO ----------------------------------------------------------------------------------------------------------


def _to_openvino(source: str, folder: str) -> None:
    openvino = runtimes.openvino()
    graph = openvino.Core().read_model(os.path.join(source, ONNX))
    openvino.save_model(graph, os.path.join(folder, OPENVINO), compress_to_fp16=True)


def _open_openvino(folder: str) -> Tower:
    from concurrent.futures import ThreadPoolExecutor

    openvino = runtimes.openvino()
    path = os.path.join(folder, OPENVINO)
    # Private pages, because OpenVINO takes only arrays that may be written to; it never does.
    weights = np.memmap(path.removesuffix(".xml") + ".bin", np.uint8, "c")
    with open(path, "rb") as file:
        graph = openvino.Core().read_model(file.read(), openvino.Tensor(weights, shared_memory=True))
    # Not pinned: the processes that decode share the cores, and a pinned thread waits for the one that has its own.
    streams = min(_cores(), STREAMS)
    options = {"INFERENCE_PRECISION_HINT": "bf16", "ENABLE_CPU_PINNING": "NO", "NUM_STREAMS": str(streams)}
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    shape = [size.get_max_length() if size.is_dynamic else size.get_length() for size in graph.input().partial_shape]
    del graph

    pool, own = ThreadPoolExecutor(streams, "openvino"), threading.local()

    def run(pixels: Any, keep: Any = weights) -> FloatArray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        return cast(FloatArray, own.request.infer([pixels])[compiled.output(0)].copy())

    def share(pixels: Any) -> FloatArray:
        return np.concatenate(list(pool.map(run, np.split(pixels, range(IN_STREAM, len(pixels), IN_STREAM)))))

    with _given_back(weights):
        run(np.zeros((1, *shape[1:]), np.uint8))
    return _in_parts(share, STREAMS * IN_STREAM)


@contextmanager
def _given_back(mapped: Any) -> Iterator[None]:
    """While OpenVINO packs its weights, in its first run, the mapped file's pages are given back as it goes.

    They stay in the system's cache; without this, 180 of the 470 MB that ViT-B-32 takes at its peak are these pages.
    """
    done = threading.Event()

    def give_back() -> None:
        with suppress(AttributeError, OSError):  # not every system takes advice
            while not done.wait(0.01):
                mapped._mmap.madvise(mmap.MADV_DONTNEED)
            mapped._mmap.madvise(mmap.MADV_DONTNEED)

    thread = threading.Thread(target=give_back, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _in_parts(run: Callable[[Any], FloatArray], most: int = AT_ONCE) -> Tower:
    def encode(batch: Sequence[Media]) -> FloatArray:
        parts = (batch[start : start + most] for start in range(0, len(batch), most))
        rows = np.concatenate([run(np.stack(cast(Sequence[Any], part))) for part in parts])
        unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit  # its length again: bf16 rounds it by up to 1e-3

    return encode


RUNTIMES = {
    "onnx float32": Runtime(_as_it_is, _open_onnx),
    "openvino bf16": Runtime(_to_openvino, _open_openvino),
    "onnx int8": Runtime(_to_int8, _open_int8),
}
