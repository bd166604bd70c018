"""Asks a library in each mode; ``cosine`` is what stays while the others change: the bare vectors, ranked here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmsearch import Library

MODES = ("hybrid", "dense", "lexical")
BASE = "cosine"
BATCH = 256


class Found(NamedTuple):
    """A hit as the measures see it: its path below the library's tree, its kind, how sure it is."""

    path: str
    kind: str
    confidence: float | None


class Asker:
    """A library of files below ``root``."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.library, self.root = Library(str(folder)), os.fsencode(root)
        self._base: _Base | None = None

    def __call__(self, texts: Sequence[str], mode: str, k: int = 10) -> list[list[Found]]:
        """The hits of each text."""
        if mode == BASE:
            if self._base is None:
                self._base = _Base(self.library, self.root)
            return self._base(texts, k)
        return [
            [
                Found(_below(hit.path, self.root), str(hit.modality), hit.confidence)
                for hit in self.library.search(text, mode=mode, k=k)
            ]
            for text in texts
        ]


class _Base:
    """All vectors of a library, each file ranked by its nearest segment."""

    def __init__(self, library: Library, root: bytes) -> None:
        space, reader = library.active_space(), library.reader
        self._encoder = library.encoder(space.model)
        blocks = list(reader.blocks(space.id, space.dim))
        ids = np.concatenate([block.ids for block in blocks])
        vectors = np.concatenate([block.vectors for block in blocks])
        live = reader.live(ids.tolist())
        keep = np.array([int(i) in live for i in ids])
        self._vectors = vectors[keep].astype(np.float32)
        segments = [live[int(i)] for i in ids[keep]]
        number: dict[int, int] = {}
        self._item = np.array([number.setdefault(one.item_id, len(number)) for one in segments])
        first = {one.item_id: one for one in reversed(segments)}
        self._found = [Found(_below(first[item].path, root), str(first[item].modality), None) for item in number]

    def __call__(self, texts: Sequence[str], k: int) -> list[list[Found]]:
        from mmsearch.types import Modality

        found = []
        for start in range(0, len(texts), BATCH):
            batch = [text.replace('"', "") for text in texts[start : start + BATCH]]
            for scores in self._encoder.encode(batch, Modality.TEXT) @ self._vectors.T:
                best = np.full(len(self._found), -2, np.float32)
                np.maximum.at(best, self._item, scores)
                found.append([self._found[i] for i in np.argsort(-best, kind="stable")[:k]])
        return found


def _below(path: bytes, root: bytes) -> str:
    return os.fsdecode(os.path.relpath(path, root))
