"""Exact search: score every vector against the question and keep the best.

This is the index that a library starts with, the oracle that every other index is tested against, and the shortest
description of what "nearest" means here. Its artifact is one file, mapped and not read:

    matrix   float16 or float32 (rows, dim), row-major, little endian
    zeros    up to the next multiple of 64 bytes
    ids      int64 (rows,)
    trailer  rows uint64, dim uint32, item size uint32: the file describes itself

Search has two steps. A fast product scores all rows, block by block, off by at most a known ``noise``; every row that
can still be among the k best is kept. Those few are scored again, one row at a time in one fixed order of summation,
and sorted: best first, ties by smaller id. Equal vectors get equal scores wherever they stand, and the answer depends
neither on the product that was used nor on how many questions were asked at once.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Self, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from mmsearch.errors import Damaged, EncoderError
from mmsearch.store import kernels
from mmsearch.store.indexes import Blocks, Built
from mmsearch.types import Embeddings, FloatArray, IdArray, IndexSpec, Neighbors, check_unit_rows

Matrix: TypeAlias = npt.NDArray[np.float16] | FloatArray
Score: TypeAlias = Callable[[Matrix, FloatArray], object]
"""Writes the scores of a block of rows (n, d) into float32 (n, q)."""

BLOCK = 256
"""Rows widened at once: 512 KB at 512 dimensions stays in the second-level cache, 4 times the rows is half as fast."""
STEP = 64 * BLOCK
QUERIES = 256
"""Questions answered together: with ``STEP`` it bounds the score buffer to 16 MB."""
ALIGN = 64
TRAILER = struct.Struct("<QII")


class ExactIndex:
    """All vectors, float16 or float32 ``(n, d)``, under ids int64 ``(n,)``. Implements ``VectorIndex``.

    The arrays are used as they are, not copied; rows must have unit length (``Embeddings`` checks that once).
    """

    def __init__(self, ids: IdArray, vectors: Matrix, *, mapping: mmap.mmap | None = None) -> None:
        if ids.shape != vectors.shape[:1] or vectors.ndim != 2 or vectors.dtype not in (np.float16, np.float32):
            raise EncoderError(f"ids {ids.shape} do not fit vectors {vectors.dtype} {vectors.shape}")
        contiguous: Any = np.ascontiguousarray(vectors)
        self._ids, self._vectors, self._mapping = ids, cast(Matrix, contiguous), mapping

    @classmethod
    def open(cls, path: str | bytes, rows: int, dim: int) -> Self:
        """Map an artifact read-only. Raises ``Damaged`` when the file is not ``rows`` vectors of ``dim`` numbers."""
        with open(path, "rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise Damaged(f"{path!r} is empty: run `mmsearch repair`")
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        ids, vectors = _parse(mapping)
        if vectors.shape != (rows, dim):
            raise Damaged(f"{path!r} holds {vectors.shape} vectors, not {(rows, dim)}: run `mmsearch repair`")
        return cls(ids, vectors, mapping=mapping)

    @property
    def spec(self) -> IndexSpec:
        return IndexSpec(kind="exact", dim=self._vectors.shape[1], exact=True, can_remove=True)

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: FloatArray, k: int, within: IdArray | None = None) -> Neighbors:
        """The ``k`` nearest of float32 unit ``(q, d)`` queries; each row has ``min(k, n)`` entries.

        ``within`` are sorted ids: they are looked up first and only they are scored, at any selectivity. Raises
        ``EncoderError`` for a query that is not a finite unit row of this dimension.
        """
        check_queries(queries, self.spec.dim, k)
        rows = None if within is None else self._rows_of(within)
        k = min(k, len(self) if rows is None else len(rows))
        ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries) if k else 0, QUERIES):
            group = queries[start : start + QUERIES]
            for i, found in enumerate(self._candidates(group, k, rows), start):
                ids[i], scores[i] = self._best(found, queries[i], k)
        return Neighbors(ids, scores, np.full(len(queries), k, np.int64))

    def add(self, embeddings: Embeddings) -> None:
        """Append; costs a copy of the whole index, so add many at once."""
        if len(embeddings) and embeddings.vectors.shape[1] != self.spec.dim:
            raise EncoderError(f"{embeddings.vectors.shape[1]} numbers a vector, not {self.spec.dim}")
        if np.isin(embeddings.ids, self._ids).any():
            raise EncoderError("an id is already in the index; ids are never reused")
        vectors: Matrix = np.concatenate([self._vectors, embeddings.vectors.astype(self._vectors.dtype)])
        self._replace(np.concatenate([self._ids, embeddings.ids]), vectors)

    def remove(self, ids: IdArray) -> int:
        keep = ~np.isin(self._ids, ids)
        gone = len(self) - int(keep.sum())
        if gone:
            self._replace(self._ids[keep], self._vectors[keep])
        return gone

    def to_bytes(self) -> bytes:
        return b"".join([self._vectors.tobytes(), *_tail(self._ids, self.spec.dim, self._vectors.dtype.itemsize)])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Use ``data`` in place. Raises ``Damaged`` when it was cut or its sizes do not agree."""
        return cls(*_parse(data))

    def _replace(self, ids: IdArray, vectors: Matrix) -> None:
        self._ids, self._vectors, self._mapping = ids, vectors, None
        self.__dict__.pop("_order", None)

    @cached_property
    def _order(self) -> IdArray | None:
        """Row numbers in the order of their ids; None when the rows already are in that order."""
        in_order = bool((self._ids[1:] > self._ids[:-1]).all())
        return None if in_order else np.argsort(self._ids)

    def _rows_of(self, within: IdArray) -> IdArray:
        if not len(self):
            return np.empty(0, np.int64)
        at = np.minimum(np.searchsorted(self._ids, within, sorter=self._order), len(self) - 1)
        rows = at if self._order is None else self._order[at]
        known: npt.NDArray[np.bool_] = self._ids[rows] == within
        known[1:] &= within[1:] != within[:-1]
        return rows[known].astype(np.int64)

    def _candidates(self, queries: FloatArray, k: int, rows: IdArray | None) -> list[IdArray]:
        """For each query the row numbers of everything that can be among its ``k`` best."""
        score, noise = product(queries, self._vectors.dtype)
        numbers = self.spec.dim * (len(self) if rows is None else len(rows))
        half = self._vectors.dtype == np.float16
        if half and kernels.faiss_pays(numbers, len(queries), k):
            found = kernels.faiss_shortlist(self._vectors, queries, k, noise, rows)
            if found is not None:
                return found
        if half and len(queries) * numbers >= kernels.WORTH_CALLING * kernels.FEW:
            score, noise = kernels.torch_product(queries) or (score, noise)
        return shortlist(self._score_steps(score, len(queries), rows), len(queries), k, noise)

    def _score_steps(self, score: Score, q: int, rows: IdArray | None) -> Iterator[tuple[IdArray, FloatArray]]:
        """Row numbers and their scores float32 (n, q), a bounded number at a time; the buffer is used again."""
        count = len(self) if rows is None else len(rows)
        buffer = np.empty((min(count, STEP), q), np.float32)
        start = 0
        while start < count:
            # The first step is short: it sets the bar, and what is under the bar is never looked at again.
            stop = min(count, start + (STEP if start else BLOCK))
            at = np.arange(start, stop) if rows is None else rows[start:stop]
            block = self._vectors[start:stop] if rows is None else self._vectors[at]
            score(block, buffer[: stop - start])
            self._forget(start, stop)
            yield at, buffer[: stop - start]
            start = stop

    def _forget(self, start: int, stop: int) -> None:
        """Give mapped pages back: they stay in the system's cache, but no longer count as this process's memory."""
        if self._mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
            width = self._vectors.dtype.itemsize * self.spec.dim
            first = start * width // mmap.PAGESIZE * mmap.PAGESIZE
            self._mapping.madvise(mmap.MADV_DONTNEED, first, stop * width - first)

    def _best(self, rows: IdArray, query: FloatArray, k: int) -> tuple[IdArray, FloatArray]:
        scores = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), STEP):
            part = slice(start, start + STEP)
            # einsum sums each row alone and in one order; a matrix product may not.
            np.einsum("nd,d->n", self._vectors[rows[part]].astype(np.float32), query, out=scores[part])
        ids = self._ids[rows]
        best = np.lexsort((ids, -scores))[:k]
        return ids[best], scores[best]


def check_queries(queries: FloatArray, dim: int, k: int) -> None:
    """Raise ``EncoderError`` unless ``queries`` are finite unit rows (q, dim); ``ValueError`` for a negative ``k``."""
    check_unit_rows(queries)
    if queries.shape[1] != dim:
        raise EncoderError(f"a query of {queries.shape[1]} numbers for an index of {dim}")
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")


def shortlist(steps: Iterable[tuple[IdArray, FloatArray]], q: int, k: int, noise: float) -> list[IdArray]:
    """For each of ``q`` queries, every row that can be among its ``k`` best when scores are off by up to ``noise``.

    ``steps`` gives row numbers (n,) and scores float32 (n, q). Two scores that differ by more than twice the noise
    are in the right order, so what lies that far below the k-th best is out.
    """
    best = np.full((q, k), -np.inf, np.float32)  # the k best scores so far; the first of a row is the least
    kept: list[list[tuple[IdArray, FloatArray]]] = [[] for _ in range(q)]
    for rows, scores in steps:
        at, query = np.divmod(np.flatnonzero(scores >= best[:, 0] - 2 * noise), q)
        by_query = np.argsort(query, kind="stable")
        at, query = at[by_query], query[by_query]
        edges = np.flatnonzero(np.diff(query, prepend=-1))
        for mine, i in zip(np.split(at, edges[1:]), query[edges].tolist(), strict=False):
            new = scores[mine, i]
            kept[i].append((rows[mine], new))
            best[i] = np.partition(np.concatenate([best[i], new]), -k)[-k:]
    return [_above(parts, best[i, 0] - 2 * noise) for i, parts in enumerate(kept)]


def _above(parts: list[tuple[IdArray, FloatArray]], floor: float) -> IdArray:
    return np.concatenate([rows[scores >= floor] for rows, scores in parts])


def product(queries: FloatArray, dtype: npt.DTypeLike) -> tuple[Score, float]:
    """The plain numpy product for rows of ``dtype``, and the bound of its rounding noise for unit vectors."""
    noise = queries.shape[1] * 2.0**-23
    if dtype == np.float32:
        columns = np.ascontiguousarray(queries.T)
        return lambda block, out: np.matmul(block, columns, out=out), noise
    columns = np.ascontiguousarray(queries.T) * np.float32(2.0**112)
    # One product for each block while it is in the cache; for many questions fewer, larger products, as numpy's BLAS
    # starts its threads anew for each (5 times slower in blocks of 256 when other programs run).
    rows = BLOCK if len(queries) < 4 else STEP
    wide = np.empty((rows, queries.shape[1]), np.float32)

    def score(block: Matrix, out: FloatArray) -> None:
        for start in range(0, len(block), rows):
            part = block[start : start + rows]
            for first in range(0, len(part), BLOCK):
                widen(part[first : first + BLOCK], wide[: len(part)][first : first + BLOCK])
            np.matmul(wide[: len(part)], columns, out=out[start : start + rows])

    return score, noise


def widen(half: Any, out: FloatArray) -> None:
    """Write finite float16 numbers as float32, each times 2**-112: the same bits, moved to their new places.

    Four times as fast as numpy's own conversion, which goes number by number.
    """
    bits = out.view(np.int32)
    np.copyto(bits, half.view(np.int16))  # the sign fills the upper half
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)


def chunks(blocks: Iterable[Embeddings], dim: int, dtype: npt.DTypeLike = np.float16) -> Iterator[bytes]:
    """The artifact of a stream of embeddings, piece by piece; holds one block and all ids (8 bytes a row)."""
    ids = [np.empty(0, np.int64)]
    for block in blocks:
        if block.vectors.shape[1] != dim:
            raise EncoderError(f"{block.vectors.shape[1]} numbers a vector, not {dim}")
        ids.append(block.ids)
        yield block.vectors.astype(dtype).tobytes()
    yield from _tail(np.concatenate(ids), dim, np.dtype(dtype).itemsize)


def _tail(ids: IdArray, dim: int, item: int) -> Iterator[bytes]:
    yield bytes(-len(ids) * dim * item % ALIGN)
    yield ids.tobytes()
    yield TRAILER.pack(len(ids), dim, item)


def _parse(data: bytes | mmap.mmap) -> tuple[IdArray, Matrix]:
    """The ids and the matrix of an artifact, as views of it."""
    if len(data) < TRAILER.size:
        raise Damaged("an exact index was cut: run `mmsearch repair`")
    rows, dim, item = TRAILER.unpack(data[-TRAILER.size :])
    ids_at = rows * dim * item + -rows * dim * item % ALIGN
    if item not in (2, 4) or ids_at + rows * 8 + TRAILER.size != len(data):
        raise Damaged("an exact index has the wrong size: run `mmsearch repair`")
    vectors = np.frombuffer(data, np.dtype(f"<f{item}"), rows * dim).reshape(rows, dim)
    return np.frombuffer(data, "<i8", rows, ids_at), vectors


class _Exact:
    """The kind ``exact``, as ``mmsearch.store.indexes`` asks for it."""

    def build(self, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu") -> Built:
        return Built(chunks(blocks(), dim), {"dtype": "float16"})

    def open(
        self, path: str | bytes, rows: int, dim: int, params: Mapping[str, Any], *, device: str = "cpu"
    ) -> ExactIndex:
        return ExactIndex.open(path, rows, dim)


EXACT = _Exact()
