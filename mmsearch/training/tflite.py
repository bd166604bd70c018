"""Read the layers of a TensorFlow Lite file as float arrays, without TensorFlow.

The two teachers are int8 files. A stored value ``q`` means ``scale * (q - zero_point)``, per tensor or per slice of
one axis (https://ai.google.dev/edge/litert/models/quantization_spec). Batch norm is already folded into the weights,
so a layer is a weight, a bias, a stride and an activation. Slot numbers follow ``schema.fbs`` of TensorFlow Lite.
"""

from __future__ import annotations

from dataclasses import dataclass

import flatbuffers
import flatbuffers.encode
import flatbuffers.number_types as nt
import numpy as np
import numpy.typing as npt
from flatbuffers.table import Table

_DTYPES = {0: np.float32, 2: np.int32, 9: np.int8}
_CONV, _DEPTHWISE, _DENSE = 3, 4, 9
_RELU, _RELU6 = 1, 3


@dataclass(frozen=True)
class Layer:
    """One convolution or dense layer, in torch's layout.

    ``weight`` is float32 ``(out, in / groups, height, width)``, or ``(out, in)`` for a dense layer; ``bias`` is
    float32 ``(out,)``; ``top`` is where the activation saturates (None: linear).
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    stride: int
    groups: int
    top: float | None


def read_layers(path: str) -> list[Layer]:
    """Every convolution and dense layer that has a bias, in the order of computation."""
    with open(path, "rb") as file:
        model = _Table.root(file.read())
    codes = [max(code.scalar(0, nt.Int8Flags), code.scalar(3, nt.Int32Flags)) for code in model.tables(1)]
    graph, buffers = model.tables(2)[0], model.tables(4)
    tensors = graph.tables(0)
    layers = []
    for operator in graph.tables(3):
        code = codes[operator.scalar(0, nt.Uint32Flags)]
        inputs = operator.vector(1, np.int32)
        if code in (_CONV, _DEPTHWISE, _DENSE) and len(inputs) == 3 and inputs[2] >= 0:
            weight, bias = (_dequantise(_source(graph, i), tensors, buffers) for i in inputs[1:])
            layers.append(_layer(code, weight, bias, operator.table(4)))
    return layers


def _layer(code: int, weight: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], options: _Table) -> Layer:
    if code == _DENSE:
        return Layer(weight, bias, 1, 1, None)
    activation = options.scalar(4 if code == _DEPTHWISE else 3, nt.Int8Flags)
    top = {_RELU: float("inf"), _RELU6: 6.0}.get(activation)
    depthwise = code == _DEPTHWISE
    order = (3, 0, 1, 2) if depthwise else (0, 3, 1, 2)
    stride = options.scalar(1, nt.Int32Flags)
    groups = weight.shape[3] if depthwise else 1
    return Layer(np.ascontiguousarray(weight.transpose(order)), bias, stride, groups, top)


def _source(graph: _Table, tensor: int) -> int:
    """The stored tensor behind ``tensor``: YAMNet passes some weights through a DEQUANTIZE operator."""
    for operator in graph.tables(3):
        outputs = operator.vector(2, np.int32)
        if len(outputs) == 1 and outputs[0] == tensor:
            return int(operator.vector(1, np.int32)[0])
    return tensor


def _dequantise(index: int, tensors: list[_Table], buffers: list[_Table]) -> npt.NDArray[np.float32]:
    tensor = tensors[index]
    raw = buffers[tensor.scalar(2, nt.Uint32Flags)].vector(0, np.uint8)
    values = raw.view(_DTYPES[tensor.scalar(1, nt.Int8Flags)]).reshape(tensor.vector(0, np.int32))
    if values.dtype == np.float32:
        return values.copy()
    quantisation = tensor.table(4)
    shape = [1] * values.ndim
    shape[quantisation.scalar(6, nt.Int32Flags)] = -1
    scale = quantisation.vector(2, np.float32).reshape(shape)
    zero = quantisation.vector(3, np.int64).reshape(shape)
    return ((values - zero) * scale).astype(np.float32)


class _Table:
    """A flatbuffer table with its fields by slot number; absent fields read as 0 or empty."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @classmethod
    def root(cls, data: bytes) -> _Table:
        return cls(Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)))

    def _offset(self, slot: int) -> int:
        return int(self._table.Offset(4 + 2 * slot))

    def scalar(self, slot: int, kind: type) -> int:
        offset = self._offset(slot)
        return int(self._table.Get(kind, self._table.Pos + offset)) if offset else 0

    def table(self, slot: int) -> _Table:
        return _Table(Table(self._table.Bytes, self._table.Indirect(self._table.Pos + self._offset(slot))))

    def tables(self, slot: int) -> list[_Table]:
        start, count = self._table.Vector(self._offset(slot)), self._table.VectorLen(self._offset(slot))
        return [_Table(Table(self._table.Bytes, self._table.Indirect(start + 4 * i))) for i in range(count)]

    def vector(self, slot: int, dtype: type) -> npt.NDArray[np.generic]:
        offset = self._offset(slot)
        if not offset:
            return np.empty(0, dtype)
        return np.frombuffer(self._table.Bytes, dtype, self._table.VectorLen(offset), self._table.Vector(offset))
