"""The text tower in numpy: three transformer layers over mapped int8 weights, no runtime to start.

Weights are int8 with one float32 scale for each output row. The scale is applied to a layer's output, so loading only
widens the integers (5.3 million, a few milliseconds) and embedding rows are read from the map as they are needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.encoders.mini import safetensors
from mmsearch.encoders.mini.tokenizer import PieceTable, Tokenizer
from mmsearch.types import FloatArray

_AT_ONCE = 64
"""Texts of one length that go through together; bounds the memory."""


class TextTower:
    """``encode`` gives unit rows float32 ``(len(texts), dim)``."""

    def __init__(self, path: str, layers: int, heads: int, longest: int) -> None:
        self._tensors = safetensors.read(path)
        self._tokenizer = Tokenizer(PieceTable(self._tensors["pieces"], self._tensors["ends"]), longest)
        self._heads = heads
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
        # Texts of one length need no padding, hence no mask; the order of the input is kept by position.
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        start = 0
        while start < len(order):
            length = len(rows[order[start]])
            stop = start + 1
            while stop < min(len(order), start + _AT_ONCE) and len(rows[order[stop]]) == length:
                stop += 1
            part = order[start:stop]
            out[part] = self._forward(np.array([rows[i] for i in part]))
            start = stop
        return out

    def _forward(self, ids: npt.NDArray[np.int64]) -> FloatArray:
        """Token ids ``(n, length)`` to unit rows ``(n, dim)``.

        Inside, a column is a token: ``(width, n * length)``. For the dozen tokens of a query, a product with the
        weights on the left takes half the time of one with them on the right, and nothing is turned in between.
        """
        n, length = ids.shape
        tokens, places = self._tensors["tokens.weight"][ids.ravel()], self._tensors["positions"][:length]
        x = tokens.astype(np.float32) * self._tensors["tokens.scale"][ids.ravel()][:, None]
        x += np.tile(places.astype(np.float32), (n, 1))
        x = self._norm(np.ascontiguousarray(x.T))
        for layer in self._layers:
            x = layer(x, n)
        vectors = np.ascontiguousarray(self._head(x.reshape(-1, n, length).mean(axis=2)).T)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


class _Dense:
    """``(inputs, columns)`` to ``(outputs, columns)``."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], name: str) -> None:
        self._weight = tensors[f"{name}.weight"].astype(np.float32)
        self._scale = tensors[f"{name}.scale"][:, None]
        self._bias = tensors[f"{name}.bias"][:, None]

    def __call__(self, x: FloatArray) -> FloatArray:
        out: FloatArray = self._weight @ x
        out *= self._scale
        out += self._bias
        return out


class _Norm:
    """Every column to mean 0 and variance 1, then a learned scale and shift of each row."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], name: str, epsilon: float) -> None:
        self._weight, self._bias = tensors[f"{name}.weight"][:, None], tensors[f"{name}.bias"][:, None]
        self._epsilon = np.float32(epsilon)

    def __call__(self, x: FloatArray) -> FloatArray:
        centred: FloatArray = x - x.mean(axis=0)
        variance = np.einsum("dn,dn->n", centred, centred) / np.float32(len(x))
        centred /= np.sqrt(variance + self._epsilon)
        centred *= self._weight
        centred += self._bias
        return centred


class _Layer:
    """One post-norm transformer layer (BERT) over ``n`` texts of one length."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], prefix: str, heads: int) -> None:
        self._heads = heads
        self._qkv, self._out, self._up, self._down = (
            _Dense(tensors, prefix + name) for name in ("qkv", "out", "up", "down")
        )
        self._norm1, self._norm2 = (_Norm(tensors, prefix + name, 1e-12) for name in ("norm1", "norm2"))

    def __call__(self, x: FloatArray, n: int) -> FloatArray:
        width, columns = x.shape
        parts = self._qkv(x).reshape(3, self._heads, width // self._heads, n, columns // n)
        q, k, v = parts.transpose(0, 3, 1, 2, 4)
        weights = q.transpose(0, 1, 3, 2) @ k
        weights /= np.float32(np.sqrt(width / self._heads))
        weights -= weights.max(axis=-1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        attended = (v @ weights.transpose(0, 1, 3, 2)).transpose(1, 2, 0, 3).reshape(width, columns)
        x = self._norm1(x + self._out(attended))
        return self._norm2(x + self._down(_gelu(self._up(x))))


class _Head:
    """The mean token state to the shared space: a linear map plus a residual MLP."""

    def __init__(self, tensors: dict[str, npt.NDArray[Any]], prefix: str) -> None:
        self._norm = _Norm(tensors, prefix + "norm", 1e-5)
        self._linear, self._up, self._down = (_Dense(tensors, prefix + name) for name in ("linear", "up", "down"))

    def __call__(self, x: FloatArray) -> FloatArray:
        x = self._norm(x)
        return self._linear(x) + self._down(_gelu(self._up(x)))


def _gelu(x: FloatArray) -> FloatArray:
    """The tanh form of GELU (Hendrycks and Gimpel, 2016); numpy has no erf."""
    inner = x * x
    inner *= np.float32(0.7978845608 * 0.044715)
    inner += np.float32(0.7978845608)
    inner *= x
    np.tanh(inner, out=inner)
    inner += 1
    inner *= x
    inner *= np.float32(0.5)
    return inner
