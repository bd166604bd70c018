"""The texts of a set: their vectors, and a throw-away index over them, of the kind that the library uses."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence

import numpy as np

from mmsearch.store import indexes
from mmsearch.types import Embeddings, Encoder, FloatArray, IdArray, Modality, VectorIndex

AT_ONCE = 256
"""Texts encoded at a time: threads share them, and few are left waiting."""


class Words:
    """Encodes texts, each but once, however many directions ask for it. ``tell`` hears how many are done."""

    def __init__(self, encoder: Encoder, tell: Callable[[int], None] = lambda done: None) -> None:
        self._encoder, self._tell, self._done = encoder, tell, 0
        self._known: dict[str, dict[str, FloatArray]] = {"encode": {}, "encode_query": {}}
        one, other = (getattr(encoder, name, encoder.encode)(["a cat"], Modality.TEXT) for name in self._known)
        if np.array_equal(one, other):  # most models make the same vectors of questions and of documents
            self._known["encode_query"] = self._known["encode"]

    def asked(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows float32 ``(n, dim)`` of texts as questions."""
        return self._encoded(texts, "encode_query")

    def found(self, texts: Sequence[str]) -> FloatArray:
        """Unit rows float32 ``(n, dim)`` of texts that are looked for."""
        return self._encoded(texts, "encode")

    def _encoded(self, texts: Sequence[str], name: str) -> FloatArray:
        known, encode = self._known[name], getattr(self._encoder, name, self._encoder.encode)
        new = sorted(set(texts) - known.keys(), key=lambda text: (len(text), text))
        for start in range(0, len(new), AT_ONCE):  # texts of like length: no time is spent on padding
            some = new[start : start + AT_ONCE]
            known.update(zip(some, encode(some, Modality.TEXT), strict=True))
            self._done += len(some)
            self._tell(self._done)
        rows = [known[text] for text in texts]
        return np.stack(rows) if rows else np.empty((0, self._encoder.spec.dim), np.float32)


def nearest_texts(kind: str, vectors: FloatArray, questions: FloatArray, depth: int) -> tuple[IdArray, FloatArray]:
    """Rows of ``vectors`` nearest to each question by an index of this kind; a zero question finds nothing."""
    run = np.full((len(questions), depth), -1, np.int64)
    scores = np.zeros((len(questions), depth), np.float32)
    rows = np.flatnonzero(questions.any(axis=1))
    if not len(rows) or not len(vectors):
        return run, scores
    with tempfile.TemporaryDirectory() as scratch:
        index = _built("exact" if kind == "scan" else kind, vectors, os.path.join(scratch, "index"))
        near = index.search(questions[rows], min(depth * index.spec.refine, len(vectors)))
        for i, row in enumerate(rows.tolist()):
            ids, values = near.row(i)
            if not index.spec.exact:
                values = vectors[ids] @ questions[row]
                order = np.lexsort((ids, -values))[:depth]
                ids, values = ids[order], values[order]
            run[row, : len(ids)], scores[row, : len(ids)] = ids[:depth], values[:depth]
    return run, scores


def _built(kind: str, vectors: FloatArray, path: str) -> VectorIndex:
    embeddings = Embeddings(np.arange(len(vectors)), vectors)
    rows, dim = vectors.shape
    built = indexes.build(kind, lambda: iter([embeddings]), rows, dim)
    with open(path, "wb") as file:
        for chunk in built.chunks:
            file.write(chunk)
    return indexes.open_index(kind, path, rows, dim, built.params)
