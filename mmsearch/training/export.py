"""Trained towers to the files of the package folder: two ONNX graphs, one safetensors file, and the manifest."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.training.towers import DIM, Head, TextTrunk, Tower


class ImageGraph(nn.Module):
    """uint8 pixels ``(n, h, w, 3)`` to unit rows: layout, mirrored view and normalisation are in the graph."""

    def __init__(self, tower: Tower, mirrored: bool) -> None:
        super().__init__()
        self.tower, self.mirrored = tower, mirrored

    def forward(self, pixels: Tensor) -> Tensor:
        x = pixels.permute(0, 3, 1, 2).float()
        if not self.mirrored:
            return self.tower(x)
        plain, mirror = self.tower(torch.cat([x, x.flip(3)])).chunk(2)
        return F.normalize(plain + mirror, dim=-1)


class AudioGraph(nn.Module):
    """The log-mel patches of one clip ``(p, 96, 64)`` to one unit row ``(1, dim)``, features pooled over patches."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, patches: Tensor) -> Tensor:
        pooled = self.tower.trunk(patches).mean(0, keepdim=True)
        return F.normalize(self.tower.head(pooled), dim=-1)


def write_onnx(graph: nn.Module, example: Tensor, path: Path) -> None:
    """Trace ``graph`` with a free first axis, in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of padding sizes, which are constants here
        torch.onnx.export(
            graph.eval(),
            (example,),
            str(path),
            input_names=["input"],
            output_names=["vectors"],
            dynamic_axes={"input": {0: "n"}},
            opset_version=17,
            dynamo=False,
        )


def quantise_onnx(path: Path, out: Path, calibration: list[np.ndarray]) -> None:
    """int8 weights per channel and uint8 activations, calibrated on ``calibration`` batches.

    Layer norm and the head stay in float: they are under 1 % of the work and the most of the loss.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._batches: Iterator[np.ndarray] = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            batch = next(self._batches, None)
            return None if batch is None else {"input": batch}

    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
    nodes = onnx.load(str(prepared)).graph.node
    quantize_static(
        str(prepared),
        str(out),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_quantize=[node.name for node in nodes if node.op_type in ("Conv", "Clip", "Relu", "Add")][:-1],
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
    )
    prepared.unlink()


def halve_onnx(path: Path, out: Path) -> None:
    """Store every large float32 weight as float16 with a cast in front: the session folds it away when it loads."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and np.prod(tensor.dims) >= 256:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_f16"))
            casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(out))


def write_text(trunk: TextTrunk, head: Head, vocabulary: list[bytes], path: Path) -> None:
    """The text tower with int8 matrices (one scale a row) and the sorted piece table."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {
        "pieces": np.frombuffer(b"".join(vocabulary), np.uint8),
        "ends": np.cumsum([len(piece) for piece in vocabulary]).astype(np.uint32),
    }
    state = {**trunk.state_dict(), **{f"head.{name}": value for name, value in head.state_dict().items()}}
    for name, value in state.items():
        array = value.detach().float().numpy()
        if name == "positions":
            tensors[name] = array.astype(np.float16)
        elif array.ndim == 2:
            tensors[name], tensors[name.replace(".weight", ".scale")] = quantise_rows(array)
        else:
            tensors[name] = array
    save_file(tensors, str(path))


def quantise_rows(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 ``(n, d)`` and float32 scales ``(n,)`` with ``matrix`` close to ``rows * scales[:, None]``."""
    scales = np.maximum(np.abs(matrix).max(axis=1), 1e-8) / 127
    return np.rint(matrix / scales[:, None]).astype(np.int8), scales.astype(np.float32)


def write_manifest(folder: Path, settings: dict[str, Any]) -> None:
    """``settings`` plus the size and sha256 of every weight file that it names."""
    names = [part["file"] for part in settings.values() if isinstance(part, dict)]
    files = {}
    for name in names:
        data = (folder / name).read_bytes()
        files[name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({**settings, "files": files}, indent=2, ensure_ascii=False)
    (folder / "manifest.json").write_text(text + "\n", "utf-8")
