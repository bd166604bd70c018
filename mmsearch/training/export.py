"""Trained towers to the files of the package folder: two ONNX graphs, one safetensors file, and the manifest."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmsearch.training.towers import Head, MobileNetV2, TextTrunk, Tower, pool


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


class FeatureGraph(nn.Module):
    """uint8 pixels ``(n, h, w, 3)`` to the image trunk's features ``(n, 1280)``."""

    def __init__(self, trunk: MobileNetV2) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, pixels: Tensor) -> Tensor:
        return self.trunk(pixels.permute(0, 3, 1, 2).float())


class AudioGraph(nn.Module):
    """The log-mel patches of one clip ``(p, 96, 64)`` to one unit row ``(1, dim)``, patches weighted by loudness."""

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, patches: Tensor) -> Tensor:
        return F.normalize(self.tower.head(pool(self.tower.trunk(patches), patches)), dim=-1)


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
    _fold_constants(path)
    _fold_padding(path)


def _fold_constants(path: Path) -> None:
    """The tracer computes constant padding step by step: let ONNX Runtime do it once."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def _fold_padding(path: Path) -> None:
    """Move every Pad into the convolution that follows: torch can't say "right and bottom only", ONNX can.

    Left alone, the five pads cost a quarter of the time: each leaves the fast layout and comes back (measured).
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load(str(path))
    nodes = model.graph.node
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    pads = {node.output[0]: node for node in nodes if node.op_type == "Pad"}
    for conv in [node for node in nodes if node.op_type == "Conv" and node.input[0] in pads]:
        pad = pads[conv.input[0]]
        top, left, bottom, right = numpy_helper.to_array(constants[pad.input[1]])[[2, 3, 6, 7]]
        conv.attribute.remove(next(a for a in conv.attribute if a.name == "pads"))
        conv.attribute.append(helper.make_attribute("pads", [top, left, bottom, right]))
        conv.input[0] = pad.input[0]
        nodes.remove(pad)
    onnx.save(model, str(path))


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
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), f"{name}_f16"))
            casts.append(helper.make_node("Cast", [f"{name}_f16"], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, str(out))


def narrow_onnx(path: Path, out: Path, kernels: bool = True) -> None:
    """Store every matrix, and every kernel if asked, as int8 with a scale for each output.

    The session widens them when it loads and computes in float32; only the file is a quarter of the size.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(str(path))
    convolved = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    widen = []
    for tensor in list(model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        is_kernel = tensor.name in convolved
        if tensor.data_type != TensorProto.FLOAT or array.ndim < 2 or (is_kernel and not kernels):
            continue
        # A kernel's outputs are its first axis, those of the right side of a product its last.
        flat = array.reshape(len(array), -1) if is_kernel else array.T
        rows, scales = quantise_rows(flat)
        if is_kernel:
            rows, scales = rows.reshape(array.shape), scales.reshape(-1, *[1] * (array.ndim - 1))
        else:
            rows = np.ascontiguousarray(rows.T)
        name = tensor.name
        model.graph.initializer.remove(tensor)
        model.graph.initializer.append(numpy_helper.from_array(rows, f"{name}_i8"))
        model.graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
        widen.append(helper.make_node("Cast", [f"{name}_i8"], [f"{name}_wide"], to=TensorProto.FLOAT))
        widen.append(helper.make_node("Mul", [f"{name}_wide", f"{name}_scale"], [name]))
    nodes = [*widen, *model.graph.node]
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
    text = re.sub(r"\n\s+(?=-?\d)", " ", text)  # the numbers of a vector on one line
    (folder / "manifest.json").write_text(text + "\n", "utf-8")
