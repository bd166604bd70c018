"""The index kinds that FAISS builds.

``flat``    every vector in float16: the answers are exact
``ivfpq``   vectors in lists by their nearest centre, compressed to half a byte for each 4 numbers
``sq8``     the same lists, a byte a number; ``sq16``: float16
``hnsw``    a graph that links each vector, in float16, with its neighbours (Malkov and Yashunin, arXiv 1603.09320)

Each kind is opened with what its search may spend: ``share`` of the lists, ``ef`` vectors of a graph, ``refine``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mmsearch.errors import Damaged
from mmsearch.store.faiss_index import FaissIndex, as_stored, load_faiss, place, serialize
from mmsearch.store.indexes import Blocks, Built
from mmsearch.types import FloatArray

PROBE_SHARE = 16
"""One list in 16 is read for a question,"""
MIN_PROBE = 64
"""but never fewer than this: in a small index it costs little."""
TRAIN_PER_LIST = 64
TRAIN_LEAST = 256
TRAIN_MOST = 2**18
"""Most vectors to train on: 0.5 GB at 512 dimensions."""
OPQ_ROUNDS = 8
"""FAISS's own 50 cost minutes; each is a product quantizer trained anew."""
OPQ_MOST = 16_384
"""Vectors that a rotation is learned from."""
GPU_CODES = (64, 56, 48, 40, 32, 28, 24, 20, 16, 12, 8, 4, 3, 2, 1)
"""Bytes a vector that GpuIndexIVFPQ can hold in shared memory."""
LINKS = 32
EF_BUILD = 100
EF = 256
"""Vectors of a graph looked at for a question, by default."""


class _Opened:
    """What the kinds share: opening a file of theirs."""

    def open(
        self, path: str | bytes, rows: int, dim: int, params: Mapping[str, Any], *, device: str = "cpu"
    ) -> FaissIndex:
        known = {name: params[name] for name in ("refine", "share", "ef") if name in params}
        index = FaissIndex.open(path, device=device, **known)
        if (len(index), index.spec.dim) != (rows, dim):
            found = f"{len(index)} x {index.spec.dim}"
            raise Damaged(f"a FAISS index holds {found}, not {rows} x {dim}: run `mmsearch repair`")
        return index


class _Flat(_Opened):
    def build(self, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu") -> Built:
        index = load_faiss().index_factory(dim, "IDMap2,SQfp16", load_faiss().METRIC_INNER_PRODUCT)
        _fill(index, blocks)
        return Built(serialize(index), {"factory": "IDMap2,SQfp16"})


class _Lists(_Opened):
    """Vectors in lists, each list of codes.

    ``codes(dim, device, **options)`` gives FAISS's names: what is done to a vector first (or nothing), and its code.
    """

    def __init__(self, codes: Callable[..., tuple[str, str]]) -> None:
        self._codes = codes

    def build(
        self,
        blocks: Blocks,
        rows: int,
        dim: int,
        *,
        device: str = "cpu",
        seed: int = 0,
        finer: int = 1,
        **options: Any,
    ) -> Built:
        """``finer``: so many times the usual number of lists."""
        faiss = load_faiss()
        sample = training_sample(blocks, rows, dim, seed, finer)
        lists = 2 ** round(math.log2(2 * math.sqrt(max(rows, 1)))) * finer
        lists = max(1, min(lists, len(sample) // 16))
        before, code = self._codes(dim, device, **options)
        factory = f"{before}IVF{lists},{code}"
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        probes = min(lists, max(MIN_PROBE, lists // PROBE_SHARE))
        _kept = _prepare(index, probes, seed)
        worker = index if device == "cpu" else place(index, device)
        worker.train(sample)
        _fill(worker, blocks)
        index = worker if device == "cpu" else faiss.index_gpu_to_cpu(worker)
        faiss.extract_index_ivf(index).nprobe = probes
        params = {"factory": factory, "nprobe": probes, "seed": seed, "trained_on": len(sample)}
        return Built(serialize(index), params)


class _Hnsw(_Opened):
    def build(self, blocks: Blocks, rows: int, dim: int, *, device: str = "cpu", links: int = LINKS) -> Built:
        """``links`` a vector (M in the paper), twice as many on the lowest layer."""
        faiss, factory = load_faiss(), f"IDMap2,HNSW{links}_SQfp16"
        index = faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
        graph = faiss.downcast_index(index.index)
        graph.hnsw.efConstruction, graph.hnsw.efSearch = EF_BUILD, EF
        _fill(index, blocks)
        return Built(serialize(index), {"factory": factory, "ef_build": EF_BUILD, "ef": EF})


def _pq(dim: int, device: str, *, opq: bool = False, bits: int = 4) -> tuple[str, str]:
    """``opq``: rotated first, so that the parts of a vector are coded equally well; ``bits`` 4 or 8 a part."""
    if device != "cpu":
        return "", f"PQ{next(count for count in GPU_CODES if dim % count == 0)}"
    step = next(step for step in (bits, 4, 2, 1) if dim % step == 0)
    parts = dim // step
    # np: no codes for FAISS's polysemous search, which cost minutes to train and are not used.
    return f"OPQ{parts}," if opq else "", f"PQ{parts}x4fs" if bits == 4 else f"PQ{parts}x{bits}np"


def _sq8(dim: int, device: str) -> tuple[str, str]:
    return "", "SQ8"


def _sq16(dim: int, device: str) -> tuple[str, str]:
    return "", "SQfp16"


def training_sample(blocks: Blocks, rows: int, dim: int, seed: int, finer: int = 1) -> FloatArray:
    """Float32 ``(n, dim)`` rows drawn without order from the whole stream, at most ``TRAIN_MOST``.

    An index of a handful of vectors, or of none, is trained on random directions: it finds what is added later.
    """
    rng = np.random.default_rng(seed)
    size = min(rows, TRAIN_MOST, max(TRAIN_LEAST, int(TRAIN_PER_LIST * finer * 2 * math.sqrt(rows))))
    wanted = np.sort(rng.choice(rows, size, replace=False)) if rows else np.empty(0, np.int64)
    parts, start = [np.empty((0, dim), np.float32)], 0
    for block in blocks() if rows else ():
        first, last = np.searchsorted(wanted, [start, start + len(block)])
        parts.append(block.vectors[wanted[first:last] - start])
        start += len(block)
    sample = np.concatenate(parts)
    if len(sample) < TRAIN_LEAST:
        noise = rng.standard_normal((TRAIN_LEAST - len(sample), dim), np.float32)
        sample = np.concatenate([sample, noise / np.linalg.norm(noise, axis=1, keepdims=True)])
    return sample


def _prepare(index: Any, probes: int, seed: int) -> Any:
    """Make the training repeatable, and quiet about small samples; what is returned must outlive it."""
    faiss = load_faiss()
    ivf = faiss.downcast_index(faiss.extract_index_ivf(index))
    ivf.nprobe = probes
    clusterings = [ivf.cp, ivf.pq.cp] if hasattr(ivf, "pq") else [ivf.cp]
    for clustering in clusterings:
        clustering.seed, clustering.min_points_per_centroid = seed, 1
    index = faiss.downcast_index(index)
    if not isinstance(index, faiss.IndexPreTransform):
        return None
    rotation = faiss.downcast_VectorTransform(index.chain.at(0))
    # Without one of its own size it learns for codes of 8 bits: 16 times the work.
    codes = faiss.ProductQuantizer(index.d, ivf.pq.M, ivf.pq.nbits)
    codes.cp.seed, codes.cp.min_points_per_centroid = seed, 1
    rotation.pq, rotation.niter, rotation.max_train_points = codes, OPQ_ROUNDS, OPQ_MOST
    return codes


def _fill(index: Any, blocks: Blocks) -> None:
    for block in blocks():
        if len(block):
            index.add_with_ids(as_stored(block), block.ids)


FLAT, IVFPQ, SQ8, SQ16, HNSW = _Flat(), _Lists(_pq), _Lists(_sq8), _Lists(_sq16), _Hnsw()
