"""FAISS behind ``VectorIndex``; `faiss_kinds` says which kinds there are and how they are built.

What FAISS does its own way is converted once, here: the -1 that pads short answers, the order of ties, the ids.
Files are FAISS's serialized bytes of a CPU index, written by our own code (FAISS's writer has lost the end of a file on
a full disk and returned success). A GPU is a placement of such an index, not another kind.

All but ``flat`` rank by what is left of a vector, or look at some only: ask for ``spec.refine * k`` and score those
again from the stored vectors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Self

import numpy as np

from mmsearch.errors import Damaged, EncoderError, Missing, MissingExtra, UsageError
from mmsearch.store.exact import check_queries
from mmsearch.types import Embeddings, FloatArray, IdArray, IndexSpec, Neighbors

REFINE = {"flat": 1, "ivfpq": 150, "sq8": 4, "sq16": 1, "hnsw": 1}
"""How many times ``k`` candidates are asked for by default. 150 is what questions in words need of 4-bit codes: they
lie apart from the pictures, and with 20 the same index finds 0.93 of the true ten instead of 0.99, while questions by
picture show no difference."""
GPU_MOST = 2048
"""Most answers, and most lists read, that FAISS's GPU indexes allow."""
BITMAP_MOST = 2**27
"""Largest id for which a filter is a bitmap (16 MB); a hash set above."""
PIECE = 2**24


class FaissIndex:
    """A FAISS index of unit vectors under our ids. Implements ``VectorIndex``.

    ``index`` is a CPU index by inner product that keeps ids; ``fast`` is its copy on a GPU, asked when it can answer.
    ``refine`` None: what its kind needs.
    """

    def __init__(self, index: Any, *, fast: Any = None, refine: int | None = None, mapped: Any = None) -> None:
        self._faiss, self._index, self._fast, self._mapped = load_faiss(), index, fast, mapped
        self._ivf = self._faiss.try_extract_index_ivf(index)
        kind, still = kind_of(index), fast is None and mapped is None
        self._spec = IndexSpec(
            kind=kind,
            dim=index.d,
            exact=kind == "flat" and fast is None,
            refine=refine or (2 if kind == "flat" and fast is not None else REFINE[kind]),
            can_add=still,
            can_remove=still and kind != "hnsw",  # FAISS's graph can't forget
        )

    @property
    def spec(self) -> IndexSpec:
        return self._spec

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: FloatArray, k: int, within: IdArray | None = None) -> Neighbors:
        """The ``k`` nearest of float32 unit ``(q, d)`` queries; unused places have id 0 and score -inf.

        Equal scores come by smaller id, but not where scores are approximate: there ties are many, mean nothing, and
        sorting 1,500 of them costs as much as finding them.

        A filter (sorted ids) is applied while searching, on the CPU: GPU indexes ignore filters without a word. The
        fewer ids it leaves, the more lists are read; a graph is left aside, and what the filter leaves is scanned.
        Raises ``EncoderError`` for a query that is not a unit row.
        """
        check_queries(queries, self.spec.dim, k)
        k = min(k, len(self), len(self) if within is None else len(within))
        if not k or not len(queries):
            return Neighbors(
                np.empty((len(queries), k), np.int64),
                np.empty((len(queries), k), np.float32),
                np.zeros(len(queries), np.int64),
            )
        queries = np.ascontiguousarray(queries)
        if not self.spec.exact:
            return _neighbors(*self._ask(queries, k, within))
        ids, scores = self._ask(queries, k + 1, within)
        wanted = k + 1
        # FAISS drops ties at the cut as it likes: ask until the cut lies between two different scores.
        while wanted <= len(self) and bool((scores[:, -1] == scores[:, k - 1]).any() and (ids[:, -1] >= 0).any()):
            wanted *= 4
            ids, scores = self._ask(queries, wanted, within)
        _by_smaller_id(ids, scores)
        return _neighbors(ids[:, :k], scores[:, :k])

    def _ask(self, queries: FloatArray, k: int, within: IdArray | None) -> tuple[IdArray, FloatArray]:
        k = min(k, len(self))
        if self._fast is not None and within is None and k <= GPU_MOST:
            scores, ids = self._fast.search(queries, k)
        elif within is not None and self.spec.kind == "hnsw":
            scores, ids = self._scan(queries, k, within)
        else:
            scores, ids = self._index.search(queries, k, params=self._parameters(within))
        return ids, scores

    def _scan(self, queries: FloatArray, k: int, within: IdArray) -> tuple[FloatArray, IdArray]:
        """Compare with all vectors that pass: a walk that may keep one in a thousand ends before it has ten."""
        faiss, ids = self._faiss, self._faiss.vector_to_array(self._index.id_map)
        bits = np.packbits(np.isin(ids, within), bitorder="little")
        vectors = faiss.downcast_index(faiss.downcast_index(self._index.index).storage)
        params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        scores, rows = vectors.search(queries, k, params=params)
        return scores, np.where(rows < 0, -1, ids[rows])

    def _parameters(self, within: IdArray | None) -> Any:
        """FAISS's search parameters for a filter, wrapped as the index is; None for its defaults."""
        if within is None:
            return None
        faiss, known = self._faiss, {"sel": self._selector(within)}
        if self._ivf is None:
            return faiss.SearchParameters(**known)
        share = max(len(within), 1) / max(len(self), 1)
        lists = min(self._ivf.nlist, math.ceil(self._ivf.nprobe / min(share, 1)))
        params = faiss.SearchParametersIVF(nprobe=lists, **known)
        if isinstance(faiss.downcast_index(self._index), faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=params)
        return params

    def _selector(self, within: IdArray) -> Any:
        if len(within) and (within[0] < 0 or within[-1] >= BITMAP_MOST):
            return self._faiss.IDSelectorBatch(within)
        bits = np.zeros(int(within[-1]) + 1 if len(within) else 1, np.bool_)
        bits[within] = True
        return self._faiss.IDSelectorBitmap(np.packbits(bits, bitorder="little"))

    def add(self, embeddings: Embeddings) -> None:
        """Add under new ids; the partitions stay as they were trained."""
        self._require(self.spec.can_add, "added to")
        if len(embeddings):
            if embeddings.vectors.shape[1] != self.spec.dim:
                raise EncoderError(f"{embeddings.vectors.shape[1]} numbers a vector, not {self.spec.dim}")
            self._index.add_with_ids(as_stored(embeddings), embeddings.ids)

    def remove(self, ids: IdArray) -> int:
        self._require(self.spec.can_remove, "removed from")
        return int(self._index.remove_ids(self._faiss.IDSelectorBatch(ids))) if len(ids) else 0

    def _require(self, power: bool, done: str) -> None:
        if not power:
            raise UsageError("an index that is mapped from a file or lies on a GPU can't be " + done)

    def to_bytes(self) -> bytes:
        return b"".join(serialize(self._index))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises ``Damaged`` for bytes that FAISS can't read. FAISS has no checksums: verify the bytes first."""
        return cls(deserialize(data))

    @classmethod
    def open(
        cls,
        path: str | bytes,
        *,
        device: str = "cpu",
        refine: int | None = None,
        share: float | None = None,
        ef: int | None = None,
    ) -> Self:
        """Map a file read-only; what is not searched is not read. ``device`` "cuda:N" copies it to that GPU.

        ``share`` of the lists, or ``ef`` vectors of a graph, are looked at for a question; None: as it was built. A
        graph stays on the CPU.
        """
        with open(path, "rb") as file:
            data = np.memmap(file, np.uint8, "r") if file.seek(0, 2) else np.empty(0, np.uint8)
        index = deserialize(data, mapped=True)
        faiss = load_faiss()
        ivf, graph = faiss.try_extract_index_ivf(index), kind_of(index) == "hnsw"
        if share is not None and ivf is not None:
            ivf.nprobe = max(1, round(share * ivf.nlist))
        if ef is not None and graph:
            faiss.downcast_index(index.index).hnsw.efSearch = ef
        fast = None if device == "cpu" or graph else place(index, device)
        return cls(index, fast=fast, refine=refine, mapped=data)


def _by_smaller_id(ids: IdArray, scores: FloatArray) -> None:
    """Put the ids of equal scores in order, in place; FAISS has sorted the rows by score."""
    starts = np.ones(scores.shape, np.bool_)
    starts[:, 1:] = scores[:, 1:] != scores[:, :-1]
    tied = ~starts
    tied[:, :-1] |= tied[:, 1:]
    at = np.flatnonzero(tied)
    if at.size:
        run, flat = np.cumsum(starts)[at], ids.reshape(-1)
        flat[at] = flat[at][np.lexsort((flat[at], run))]


def _neighbors(ids: IdArray, scores: FloatArray) -> Neighbors:
    """FAISS's answer without its -1."""
    there = ids >= 0
    counts = np.count_nonzero(there, axis=1).astype(np.int64)
    if (counts < ids.shape[1]).any():
        ids, scores = np.where(there, ids, 0), np.where(there, scores, np.float32(-np.inf))
    return Neighbors(ids, scores, counts)


def kind_of(index: Any) -> str:
    """The kind that a FAISS index is of, by its class."""
    faiss = load_faiss()
    ivf = faiss.downcast_index(faiss.try_extract_index_ivf(index))
    if ivf is None:
        return "hnsw" if hasattr(faiss.downcast_index(index.index), "hnsw") else "flat"
    if isinstance(ivf, faiss.IndexIVFScalarQuantizer):
        return "sq8" if ivf.sq.qtype == faiss.ScalarQuantizer.QT_8bit else "sq16"
    return "ivfpq"


def load_faiss() -> Any:
    """The module ``faiss``. Raises ``MissingExtra`` when neither of its packages is installed."""
    try:
        return import_module("faiss")
    except ImportError:
        raise MissingExtra("a FAISS index", "cpu") from None


def serialize(index: Any) -> Iterator[bytes]:
    """The bytes of a CPU index, in pieces of 16 MB; holds them all once."""
    faiss = load_faiss()
    writer = faiss.VectorIOWriter()
    faiss.write_index(index, writer)
    data = faiss.rev_swig_ptr(writer.data.data(), writer.data.size())
    for start in range(0, len(data), PIECE):
        # A copy: the array points into the writer, which dies with this generator.
        yield data[start : start + PIECE].tobytes()


def deserialize(data: Any, *, mapped: bool = False) -> Any:
    """The CPU index in ``data``; ``mapped``: it goes on using that memory. Raises ``Damaged`` when FAISS refuses."""
    faiss = load_faiss()
    data = np.frombuffer(data, np.uint8)
    # FAISS's own limits are 1 TB and none: a flipped length must not allocate more than the file could hold.
    faiss.set_deserialization_vector_byte_limit(len(data) + 2**20)
    faiss.set_deserialization_loop_limit(2**24)
    try:
        if not mapped:
            return faiss.deserialize_index(data)
        return faiss.read_index(faiss.ZeroCopyIOReader(faiss.swig_ptr(data), len(data)), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().splitlines()[-1:]
        raise Damaged(f"a FAISS index can't be read ({''.join(reason)}): run `mmsearch repair`") from None


def place(index: Any, device: str) -> Any:
    """A copy of a CPU index on GPU ``cuda:N``: by cuVS where the FAISS build has it, float16 where FAISS offers it.

    Raises ``MissingExtra`` for a CPU build of FAISS, ``Missing`` for an absent GPU, ``UsageError`` for an index that no
    GPU can hold.
    """
    faiss = load_faiss()
    if not hasattr(faiss, "StandardGpuResources"):
        raise MissingExtra(f"FAISS on {device}, in place of faiss-cpu,", "gpu")
    number = int(device.partition(":")[2] or 0)
    if number >= faiss.get_num_gpus():
        raise Missing(f"there is no {device} here: run with `--device cpu`, or see `mmsearch doctor`")
    resources = faiss.StandardGpuResources()
    if faiss.try_extract_index_ivf(index) is None:
        return _place_flat(faiss, resources, index, number)
    options = faiss.GpuClonerOptions()
    options.useFloat16 = True
    try:
        return faiss.index_cpu_to_gpu(resources, number, index, options)
    except RuntimeError:
        raise UsageError(
            f"this ivfpq index was built for the CPU: build it again with `mmsearch index --device {device}`"
        ) from None


def _place_flat(faiss: Any, resources: Any, index: Any, number: int) -> Any:
    config = faiss.GpuIndexFlatConfig()
    config.device, config.useFloat16 = number, True
    placed = faiss.IndexIDMap(faiss.GpuIndexFlatIP(resources, index.d, config))
    ids, flat = faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index)
    for start in range(0, len(ids), 2**16):
        part = ids[start : start + 2**16]
        placed.add_with_ids(flat.reconstruct_n(start, len(part)), part)
    return placed


def as_stored(embeddings: Embeddings) -> FloatArray:
    """The vectors rounded to float16 as the catalog rounds them: FAISS rounds halves up, others to even."""
    return embeddings.vectors.astype(np.float16).astype(np.float32)
