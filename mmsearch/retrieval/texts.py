"""Texts that are looked for: a throw-away index over their vectors, of the kind that the library uses."""

from __future__ import annotations

import os
import tempfile

import numpy as np

from mmsearch.store import indexes
from mmsearch.types import Embeddings, FloatArray, IdArray, VectorIndex


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
