"""The text tower in numpy: a small transformer over mapped int8 weights, no runtime to start.

Weights are int8 with one float32 scale for each output row; loading widens them, and embedding rows are read from the
map as they are needed. Inside, a column is a token: ``(width, tokens)``. For the dozen tokens of a query, a product
with the weights on the left takes half the time of one with them on the right, and nothing is turned in between. The
tokens of many texts stand side by side; attention goes by texts of one length, so there is neither padding nor a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmsearch.encoders import safetensors
from mmsearch.encoders.mini.tokenizer import PieceTable, Tokenizer
from mmsearch.types import FloatArray

_TOKENS = 512
"""Tokens that go through together: fewer make the products slow, more leave the processor's cache."""


class _Run(NamedTuple):
    """``texts`` of ``length`` tokens each, side by side in ``columns``."""

    columns: slice
    texts: int
    length: int


class TextTower:
    """``encode`` gives unit rows float32 ``(len(texts), dim)``."""

    def __init__(self, path: str, layers: int, heads: int, longest: int) -> None:
        self._tensors = safetensors.read(path)
        self._tokenizer = Tokenizer(PieceTable(self._tensors["pieces"], self._tensors["ends"]), longest)
        self._layers = [_Layer(self._tensors, f"layers.{i}.", heads) for i in range(layers)]
        self._norm = _Norm(self._tensors, "norm", 1e-12)
        self._head = _Head(self._tensors, "head.")
        self._dim = len(self._tensors["head.linear.bias"])

    def tokenize(self, text: str) -> list[int]:
        return self._tokenizer.encode(text)

    def count_tokens(self, text: str) -> int:
        return self._tokenizer.count(text)

    def encode(self, texts: Sequence[str]) -> FloatArray:
        rows = [self.tokenize(text) for text in texts]
        out = np.empty((len(rows), self._dim), np.float32)
        room = _Room()
        for part in _parts(rows):
            out[part] = self._forward([rows[i] for i in part], room)
        return out

    def _forward(self, rows: list[list[int]], room: _Room) -> FloatArray:
        """Token ids, texts of one length together, to unit rows ``(len(rows), dim)``."""
        runs = list(_runs(rows))
        x = self._norm(self._embed(rows, room))
        for layer in self._layers:
            x = layer(x, runs, room)
        means = [x[:, columns].reshape(-1, texts, length).mean(axis=2) for columns, texts, length in runs]
        vectors = np.ascontiguousarray(self._head(np.concatenate(means, axis=1)).T)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors

    def _embed(self, rows: list[list[int]], room: _Room) -> FloatArray:
        ids = np.concatenate(rows)
        x = self._tensors["tokens.weight"][ids].astype(np.float32)
        x *= self._tensors["tokens.scale"][ids][:, None]
        x += self._tensors["positions"][np.concatenate([range(len(row)) for row in rows])]
        columns = room("x", x.shape[1], len(x))
        columns[:] = x.T
        return columns


def _parts(rows: list[list[int]]) -> Iterator[list[int]]:
    """The rows' numbers by their length, as many at a time as go through together."""
    part: list[int] = []
    tokens = 0
    for i in sorted(range(len(rows)), key=lambda i: len(rows[i])):
        if part and tokens + len(rows[i]) > _TOKENS:
            yield part
            part, tokens = [], 0
        part.append(i)
        tokens += len(rows[i])
    if part:
        yield part


def _runs(rows: list[list[int]]) -> Iterator[_Run]:
    start = 0
    for length, group in groupby(rows, len):
        count = len(list(group))
        yield _Run(slice(start, start + count * length), count, length)
        start += count * length


class _Room:
    """Memory for the steps of a pass, kept for the next one: fresh pages would cost a sixth of its time."""

    def __init__(self) -> None:
        self._kept: dict[str, FloatArray] = {}

    def __call__(self, name: str, rows: int, columns: int) -> FloatArray:
        """An array ``(rows, columns)`` of whatever was in it."""
        size = rows * columns
        if name not in self._kept or len(self._kept[name]) < size:
            self._kept[name] = np.empty(size, np.float32)
        return self._kept[name][:size].reshape(rows, columns)


class _Dense:
    """``(inputs, columns)`` to ``(outputs, columns)``, into ``out`` if it is given."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], name: str) -> None:
        self._weight = np.multiply(tensors[f"{name}.weight"], tensors[f"{name}.scale"][:, None], dtype=np.float32)
        self._bias = tensors[f"{name}.bias"][:, None]

    def __len__(self) -> int:
        return len(self._weight)

    def __call__(self, x: FloatArray, out: FloatArray | None = None) -> FloatArray:
        product: FloatArray = np.matmul(self._weight, x, out=out)
        product += self._bias
        return product


class _Norm:
    """Every column to mean 0 and variance 1, then a learned scale and shift of each row; in place."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], name: str, epsilon: float) -> None:
        self._weight, self._bias = tensors[f"{name}.weight"][:, None], tensors[f"{name}.bias"][:, None]
        self._epsilon = np.float32(epsilon)

    def __call__(self, x: FloatArray) -> FloatArray:
        x -= x.mean(axis=0)
        variance = np.einsum("dn,dn->n", x, x) / np.float32(len(x))
        x /= np.sqrt(variance + self._epsilon)
        x *= self._weight
        x += self._bias
        return x


class _Layer:
    """One post-norm transformer layer (BERT) over the tokens of several texts."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], prefix: str, heads: int) -> None:
        self._heads = heads
        self._qkv, self._out, self._up, self._down = (
            _Dense(tensors, prefix + name) for name in ("qkv", "out", "up", "down")
        )
        self._norm1, self._norm2 = (_Norm(tensors, prefix + name, 1e-12) for name in ("norm1", "norm2"))

    def __call__(self, x: FloatArray, runs: list[_Run], room: _Room) -> FloatArray:
        """``x`` is overwritten with the result."""
        width, columns = x.shape
        qkv = self._qkv(x, room("wide", len(self._qkv), columns))
        attended = room("attended", width, columns)
        for run in runs:
            self._attend(qkv, run, attended)
        y = self._out(attended, room("y", width, columns))
        y += x
        y = self._norm1(y)
        up = self._up(y, room("wide", len(self._up), columns))
        x = self._down(_gelu(up, room("inner", len(self._up), columns)), x)
        x += y
        return self._norm2(x)

    def _attend(self, qkv: FloatArray, run: _Run, out: FloatArray) -> None:
        """Every text of a run to itself; key by query, so that no product has to turn its result."""
        size = len(out) // self._heads
        parts = qkv[:, run.columns].reshape(3, self._heads, size, run.texts, run.length)
        q, k, v = parts.transpose(0, 3, 1, 2, 4)
        weights = k.transpose(0, 1, 3, 2) @ q
        weights /= np.float32(np.sqrt(size))
        weights -= weights.max(axis=-2, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-2, keepdims=True)
        result = out[:, run.columns].reshape(self._heads, size, run.texts, run.length).transpose(2, 0, 1, 3)
        np.matmul(v, weights, out=result)


class _Head:
    """The mean token state to the shared space: a linear map plus a residual MLP."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], prefix: str) -> None:
        self._norm = _Norm(tensors, prefix + "norm", 1e-5)
        self._linear, self._up, self._down = (_Dense(tensors, prefix + name) for name in ("linear", "up", "down"))

    def __call__(self, x: FloatArray) -> FloatArray:
        x = self._norm(x)
        up = self._up(x)
        return self._linear(x) + self._down(_gelu(up, np.empty_like(up)))


def _gelu(x: FloatArray, out: FloatArray) -> FloatArray:
    """The tanh form of GELU (Hendrycks and Gimpel, 2016); numpy has no erf."""
    inner = np.multiply(x, x, out=out)
    inner *= np.float32(0.7978845608 * 0.044715)
    inner += np.float32(0.7978845608)
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    return inner
