"""CLIP's text tower in numpy over mapped weights, cut at the end token: a question needs neither torch nor a runtime.

A causal transformer's state at the end token depends on nothing behind it, so a question of ten words costs twelve
columns instead of 77 (Radford et al., ICML 2021, section 2.4). `export` writes the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.types import FloatArray

Tensors = dict[str, npt.NDArray[Any]]


class ClipText:
    """``__call__`` gives unit rows float32 ``(n, dim)`` for lists of token ids, each up to its end token."""

    def __init__(self, tensors: Tensors, heads: int, activation: str, epsilon: float) -> None:
        self._tokens, self._positions, self._head = tensors["tokens"], tensors["positions"], tensors["head.weight"]
        self._bias = tensors.get("head.bias")
        layers = sum(name.endswith(".qkv.weight") for name in tensors)
        self._layers = [_Layer(tensors, f"layers.{i}.", heads, ACTIVATIONS[activation], epsilon) for i in range(layers)]
        self._norm = _Norm(tensors, "norm", epsilon)

    def __call__(self, texts: Sequence[Sequence[int]]) -> FloatArray:
        return np.stack([self._row(np.asarray(ids)) for ids in texts])

    def _row(self, ids: npt.NDArray[np.int64]) -> FloatArray:
        x = self._tokens[ids].astype(np.float32) + self._positions[: len(ids)]
        for layer in self._layers:
            x = layer(x)
        row = self._head @ self._norm(x[-1:])[0]
        row = row if self._bias is None else row + self._bias
        unit: FloatArray = row / np.linalg.norm(row)
        return unit


class _Dense:
    def __init__(self, tensors: Tensors, name: str) -> None:
        self._weight, self._bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def __call__(self, x: FloatArray) -> FloatArray:
        # Weights on the left: for the dozen rows of a question nearly twice as fast as on the right.
        rows: FloatArray = (self._weight @ x.T).T + self._bias
        return rows


class _Norm:
    def __init__(self, tensors: Tensors, name: str, epsilon: float) -> None:
        self._weight, self._bias = tensors[f"{name}.weight"], tensors[f"{name}.bias"]
        self._epsilon = np.float32(epsilon)

    def __call__(self, x: FloatArray) -> FloatArray:
        centred: FloatArray = x - x.mean(axis=-1, keepdims=True)
        variance = np.mean(centred * centred, axis=-1, keepdims=True)
        normal: FloatArray = centred / np.sqrt(variance + self._epsilon) * self._weight + self._bias
        return normal


class _Layer:
    """One pre-norm transformer layer with causal attention, on rows ``(length, width)``."""

    def __init__(
        self, tensors: Tensors, prefix: str, heads: int, activation: Callable[[FloatArray], FloatArray], epsilon: float
    ) -> None:
        self._heads, self._activation = heads, activation
        self._qkv, self._out, self._up, self._down = (
            _Dense(tensors, prefix + name) for name in ("qkv", "out", "up", "down")
        )
        self._norm1, self._norm2 = (_Norm(tensors, prefix + name, epsilon) for name in ("norm1", "norm2"))

    def __call__(self, x: FloatArray) -> FloatArray:
        x = x + self._out(self._attend(self._qkv(self._norm1(x))))
        return x + self._down(self._activation(self._up(self._norm2(x))))

    def _attend(self, qkv: FloatArray) -> FloatArray:
        length = len(qkv)
        q, k, v = qkv.reshape(length, 3, self._heads, -1).transpose(1, 2, 0, 3)
        scores = q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(q.shape[-1]))
        scores[:, ~np.tri(length, dtype=np.bool_)] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        attended: FloatArray = (weights @ v).transpose(1, 0, 2).reshape(length, -1)
        return attended


def _quick_gelu(x: FloatArray) -> FloatArray:
    # Clipped where the sigmoid is 0 in float32 anyway: exp would overflow, and numpy warn.
    gelu: FloatArray = x / (1 + np.exp(np.minimum(np.float32(-1.702) * x, np.float32(80))))
    return gelu


def _gelu(x: FloatArray) -> FloatArray:
    """The exact form; erf by Abramowitz and Stegun 7.1.26, wrong by at most 1.5e-7: numpy has none."""
    z = np.abs(x) * np.float32(2**-0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - poly * np.exp(-z * z), x)
    gelu: FloatArray = (0.5 * x * (1 + erf)).astype(np.float32)
    return gelu


def _gelu_tanh(x: FloatArray) -> FloatArray:
    inner = np.float32(0.7978845608) * (x + np.float32(0.044715) * x * x * x)
    gelu: FloatArray = np.float32(0.5) * x * (1 + np.tanh(inner))
    return gelu


ACTIVATIONS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "quick_gelu": _quick_gelu,
    "gelu": _gelu,
    "gelu_pytorch_tanh": _gelu_tanh,
}
"""By transformers' names."""
