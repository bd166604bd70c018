"""A text tower in a folder: `textual/` of an exported model, or of what is kept beside a library.

    textual/settings.json      how texts become ids, and how the tower is run
            tokenizer.json     the tokenizer, where the `tokenizers` package runs it
            model.safetensors  a CLIP-type tower for numpy (with the tables of CLIP's own tokenizer), or
            model.onnx         any other, for ONNX Runtime

Imports neither torch nor transformers, and for CLIP's own towers and tokenizer nothing but numpy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from mmsearch.encoders import safetensors
from mmsearch.encoders.clip_bpe import ClipTokenizer, clean
from mmsearch.encoders.clip_text import ClipText
from mmsearch.errors import MissingExtra
from mmsearch.types import FloatArray

FOLDER, SETTINGS, NUMPY, ONNX, TOKENIZER = (
    "textual",
    "settings.json",
    "model.safetensors",
    "model.onnx",
    "tokenizer.json",
)
NAMES = (SETTINGS, NUMPY, ONNX, TOKENIZER)
Tokenize: TypeAlias = Callable[[str], list[int]]
TextTower: TypeAlias = Callable[[Sequence[str]], FloatArray]
"""Texts to unit rows float32 ``(n, dim)``."""


def open_tower(folder: str) -> TextTower:
    """The text tower in ``folder``/textual. Raises ``OSError``, ``KeyError`` or ``ValueError`` for a damaged one."""
    place = os.path.join(folder, FOLDER)
    with open(os.path.join(place, SETTINGS), encoding="utf-8") as file:
        settings: dict[str, Any] = json.load(file)
    numpy = os.path.join(place, NUMPY)
    tensors = safetensors.read(numpy) if os.path.exists(numpy) else {}
    tokenize = open_tokenizer(place, settings["tokenizer"], tensors)
    if "tokens" in tensors:
        tower = settings["tower"]
        rows = ClipText(tensors, tower["heads"], tower["activation"], tower["epsilon"])
        return lambda texts: rows([tokenize(_plain(text)) for text in texts])
    return _onnx_tower(os.path.join(place, ONNX), settings, tokenize)


def open_tokenizer(place: str, settings: dict[str, Any], tensors: dict[str, Any]) -> Tokenize:
    """Text to ids, cut at the longest length, without padding."""
    if settings["kind"] == "clip":
        tables = {name: tensors[name] for name in ("singles", "merges", "ranks", "results")}
        own = ClipTokenizer(tables, settings["marks"], settings["clean"], settings["longest"])
        return own.encode
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MissingExtra("a question of this model", "hf") from None
    other = Tokenizer.from_file(os.path.join(place, TOKENIZER))
    other.no_padding()
    other.enable_truncation(settings["longest"])
    how, cut, prefix = settings.get("clean"), settings.get("end"), settings.get("prefix") or ""

    def encode(text: str) -> list[int]:
        ids: list[int] = other.encode(prefix + (clean(text, how) if how else text)).ids
        return ids[: ids.index(cut) + 1] if cut in ids else ids

    return encode


def _onnx_tower(path: str, settings: dict[str, Any], tokenize: Tokenize) -> TextTower:
    from mmsearch.encoders.onnx import open_session

    session = open_session(path)
    pad, length = int(settings["tokenizer"]["pad"]), settings["tokenizer"].get("length")
    wanted = {entry.name: np.int32 if "int32" in entry.type else np.int64 for entry in session.get_inputs()}

    def encode(texts: Sequence[str]) -> FloatArray:
        # One text at a time: a row can't feel its neighbours' padding, and a question is one text.
        return np.concatenate([unit(session.run(None, feed(tokenize(_plain(text))))[0]) for text in texts])

    def feed(ids: list[int]) -> dict[str, Any]:
        padded = ids + [pad] * ((length or len(ids)) - len(ids))
        mask = [1] * len(ids) + [0] * (len(padded) - len(ids))
        return {name: np.array([mask if "mask" in name else padded], kind) for name, kind in wanted.items()}

    return encode


def unit(rows: FloatArray) -> FloatArray:
    scaled: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def _plain(text: str) -> str:
    """A shell may hand over bytes that are no text, as lone surrogates: tokenizers raise on these."""
    return text.encode("utf-8", "replace").decode()
