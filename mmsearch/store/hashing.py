"""Binary codes: a bit says on which side of a plane a vector lies; the nearest are those with the fewest other bits.

The planes are an iterative quantization (ITQ): the directions in which vectors differ most, rotated so that their signs
lose little (Gong and Lazebnik, "Iterative Quantization: A Procrustean Approach to Learning Binary Codes", CVPR 2011).
More bits than a vector has numbers come from further rotations of the same directions.

A question is not a vector of the same cloud: words lie apart from pictures, and their side of a plane says little. Its
bit is the one that goes with higher scores: the sign of the mean of ``question . (vector - mean) * bit`` over a sample.

The file: codes uint64 (bits / 64, rows), ids int64 (rows,) ascending, mean float32 (dim,), planes and weights float32
(bits, dim), and a trailer with the sizes, so that the file describes itself.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import numpy.typing as npt

from mmsearch.errors import Damaged, EncoderError, UsageError
from mmsearch.store.exact import check_queries
from mmsearch.store.indexes import Blocks, Built
from mmsearch.types import Embeddings, FloatArray, IdArray, IndexSpec, Neighbors

Codes: TypeAlias = npt.NDArray[np.uint64]
"""Bits of vectors, 64 a word: ``(words, n)``, so that one word of all vectors lies together."""

BITS = 512
REFINE = 100
"""How many times ``k`` candidates are asked for by default."""
ROUNDS = 10
"""Rotations tried in turn (the paper tries 50): each costs a singular value decomposition of bits x bits."""
SAMPLE = 8192
STEP = 16_384
"""Vectors compared at once: one word of them, 128 KB, stays in the cache."""
TRAILER = struct.Struct("<QII")


class Planes(NamedTuple):
    """What turns vectors into bits (``mean``, ``planes``), and questions (``weights``)."""

    mean: FloatArray
    planes: FloatArray
    weights: FloatArray

    def of_vectors(self, vectors: FloatArray) -> Codes:
        return _packed((vectors - self.mean) @ self.planes.T > 0)

    def of_queries(self, queries: FloatArray) -> Codes:
        return _packed(queries @ self.weights.T > 0)


class HashIndex:
    """Codes ``(words, n)`` under ascending ids int64 ``(n,)``. Implements ``VectorIndex``."""

    def __init__(
        self, ids: IdArray, codes: Codes, planes: Planes, *, refine: int = REFINE, mapped: bool = False
    ) -> None:
        self._ids, self._codes, self._planes = ids, codes, planes
        self._spec = IndexSpec(
            kind="hash",
            dim=planes.planes.shape[1],
            exact=False,
            refine=refine,
            can_add=not mapped,
            can_remove=not mapped,
        )

    @property
    def spec(self) -> IndexSpec:
        return self._spec

    def __len__(self) -> int:
        return len(self._ids)

    def search(self, queries: FloatArray, k: int, within: IdArray | None = None) -> Neighbors:
        """The ``k`` with the fewest other bits than float32 unit ``(q, d)`` queries, ties by smaller id.

        A score is the cosine of the angle that this many other bits stand for. ``within`` are sorted ids: only they are
        compared. Raises ``EncoderError`` for a query that is not a unit row.
        """
        check_queries(queries, self.spec.dim, k)
        rows = None if within is None else self._rows_of(within)
        codes = self._codes if rows is None else np.ascontiguousarray(self._codes[:, rows])
        count = codes.shape[1]
        k = min(k, count)
        ids, scores = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        bits = 64 * len(codes)
        for i, query in enumerate(self._planes.of_queries(queries).T if k else ()):
            others = _other_bits(codes, query)
            best = _fewest(others, k, bits)
            ids[i] = self._ids[best if rows is None else rows[best]]
            scores[i] = np.cos(np.pi / bits * others[best].astype(np.float32))
        return Neighbors(ids, scores, np.full(len(queries), k, np.int64))

    def _rows_of(self, within: IdArray) -> IdArray:
        known = np.unique(within)
        at = np.searchsorted(self._ids, known)
        there = at < len(self)
        there[there] = self._ids[at[there]] == known[there]
        return at[there].astype(np.int64)

    def add(self, embeddings: Embeddings) -> None:
        """Add under new ids; the planes stay as they were fitted. Costs a copy of all codes."""
        self._require(self.spec.can_add)
        if not len(embeddings):
            return
        if embeddings.vectors.shape[1] != self.spec.dim:
            raise EncoderError(f"{embeddings.vectors.shape[1]} numbers a vector, not {self.spec.dim}")
        ids = np.concatenate([self._ids, embeddings.ids])
        codes = np.concatenate([self._codes, self._planes.of_vectors(embeddings.vectors)], axis=1)
        order = np.argsort(ids)
        self._ids, self._codes = ids[order], np.ascontiguousarray(codes[:, order])

    def remove(self, ids: IdArray) -> int:
        self._require(self.spec.can_remove)
        keep = ~np.isin(self._ids, ids)
        gone = len(self) - int(keep.sum())
        self._ids, self._codes = self._ids[keep], np.ascontiguousarray(self._codes[:, keep])
        return gone

    def _require(self, power: bool) -> None:
        if not power:
            raise UsageError("an index that is mapped from a file can't be changed")

    def to_bytes(self) -> bytes:
        return b"".join(_pieces(self._ids, self._codes, self._planes))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Use ``data`` in place. Raises ``Damaged`` when it was cut or its sizes do not agree."""
        return cls(*_parsed(data))

    @classmethod
    def open(cls, path: str | bytes, refine: int) -> Self:
        """Map a file read-only. Raises ``Damaged`` when it is not such a file."""
        with open(path, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if file.seek(0, 2) else b""
        return cls(*_parsed(data), refine=refine, mapped=True)


def fit(sample: FloatArray, bits: int, seed: int = 0) -> Planes:
    """Planes for ``bits`` bits from a sample of vectors float32 ``(n, d)``; ``bits`` is a multiple of 64."""
    if bits < 64 or bits % 64:
        raise UsageError(f"{bits} bits: a code has 64 bits or a multiple of that")
    rng, dim = np.random.default_rng(seed), sample.shape[1]
    mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = sample - mean
    _, directions = np.linalg.eigh(centred.T @ centred)  # ascending: the last ones vary most
    directions = directions[:, ::-1]
    planes = list[FloatArray]()
    while (missing := bits - sum(map(len, planes))) > 0:
        some = directions[:, : min(missing, dim)]
        planes.append((some @ _rotation(centred @ some, rng)).T)
    stacked = np.concatenate(planes)
    signs = np.where(centred @ stacked.T > 0, np.float32(1), np.float32(-1))
    return Planes(mean, stacked, signs.T @ centred / np.float32(len(sample)))


def _rotation(vectors: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The rotation float32 ``(b, b)`` after which the signs of ``vectors`` lose least: signs and rotation in turns."""
    width = vectors.shape[1]
    rotation = np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)
    for _ in range(ROUNDS):
        signs = np.where(vectors @ rotation > 0, np.float32(1), np.float32(-1))
        left, _, right = np.linalg.svd(vectors.T @ signs)
        rotation = left @ right
    return rotation


def _packed(bits: npt.NDArray[np.bool_]) -> Codes:
    """Bits ``(n, bits)`` as words ``(bits / 64, n)``."""
    packed = np.packbits(bits, axis=1, bitorder="little").view("<u8")
    return np.ascontiguousarray(packed.T)


def _other_bits(codes: Codes, query: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint16]:
    """In how many bits each vector differs from a question, uint16 ``(n,)``."""
    others = np.zeros(codes.shape[1], np.uint16)
    for start in range(0, len(others), STEP):
        part = others[start : start + STEP]
        for word, asked in zip(codes[:, start : start + STEP], query, strict=True):
            part += np.bitwise_count(word ^ asked)
    return others


def _fewest(others: npt.NDArray[np.uint16], k: int, bits: int) -> IdArray:
    """Rows with the ``k`` least values, least first, ties by smaller row; counted, as there are few values."""
    counts = np.cumsum(np.bincount(others, minlength=bits + 1))
    cut = int(np.searchsorted(counts, k))
    near = np.flatnonzero(others <= cut)
    return near[np.argsort(others[near], kind="stable")[:k]]


def _pieces(ids: IdArray, codes: Codes, planes: Planes) -> Iterator[bytes]:
    for array in (codes, ids, *planes):
        yield array.tobytes()
    yield TRAILER.pack(len(ids), planes.planes.shape[1], 64 * len(codes))


def _parsed(data: bytes | mmap.mmap) -> tuple[IdArray, Codes, Planes]:
    if len(data) < TRAILER.size:
        raise Damaged("a hash index was cut: run `mmsearch repair`")
    rows, dim, bits = TRAILER.unpack(data[-TRAILER.size :])
    if rows * (bits // 8 + 8) + 4 * dim * (1 + 2 * bits) + TRAILER.size != len(data) or bits % 64:
        raise Damaged("a hash index has the wrong size: run `mmsearch repair`")
    start, arrays = 0, list[Any]()
    for kind, shape in (
        ("<u8", (bits // 64, rows)),
        ("<i8", (rows,)),
        ("<f4", (dim,)),
        ("<f4", (bits, dim)),
        ("<f4", (bits, dim)),
    ):
        array = np.frombuffer(data, kind, int(np.prod(shape)), start).reshape(shape)
        arrays.append(array)
        start += array.nbytes
    codes, ids, *planes = arrays
    return ids, codes, Planes(*planes)


class _Hash:
    """The kind ``hash``, as ``mmsearch.store.indexes`` asks for it."""

    def build(
        self, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu", bits: int = BITS, seed: int = 0
    ) -> Built:
        planes = fit(_sample(blocks, rows, dim, seed), bits, seed)
        parts = [(block.ids, planes.of_vectors(block.vectors)) for block in blocks() if len(block)]
        ids = np.concatenate([np.empty(0, np.int64), *(part for part, _ in parts)])
        codes = np.concatenate([np.empty((bits // 64, 0), np.uint64), *(part for _, part in parts)], axis=1)
        order = np.argsort(ids)
        params = {"bits": bits, "refine": REFINE, "seed": seed}
        return Built(_pieces(ids[order], np.ascontiguousarray(codes[:, order]), planes), params)

    def open(
        self, path: str | bytes, rows: int, dim: int, params: Mapping[str, Any], *, device: str = "cpu"
    ) -> HashIndex:
        index = HashIndex.open(path, int(params.get("refine", REFINE)))
        if (len(index), index.spec.dim) != (rows, dim):
            raise Damaged(f"a hash index holds {len(index)} codes, not {rows}: run `mmsearch repair`")
        return index


def _sample(blocks: Blocks, rows: int, dim: int, seed: int) -> FloatArray:
    """Float32 ``(n, dim)`` vectors from the whole stream, at least one: without any, random directions."""
    rng = np.random.default_rng(seed)
    share = min(1.0, SAMPLE / max(rows, 1))
    parts = [block.vectors[rng.random(len(block)) < share] for block in (blocks() if rows else ())]
    noise = rng.standard_normal((max(0, 4 - sum(map(len, parts))), dim), np.float32)
    return np.concatenate([*parts, noise])


HASH = _Hash()
