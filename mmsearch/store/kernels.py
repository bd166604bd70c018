"""Faster first steps for the exact index, taken when a library that has them is at hand; the answers are the same.

numpy has no arithmetic on float16. FAISS reads float16 as it lies in memory (for one question, 10 times as fast), and
torch multiplies in bfloat16 (for many questions at once). Both only make the shortlist; ``exact`` scores it again.
"""

from __future__ import annotations

import math
import os
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mmsearch.types import FloatArray, IdArray

if TYPE_CHECKING:
    from mmsearch.store.exact import Matrix, Score

FEW = 8
"""Up to this many questions FAISS, which reads all rows for each of them, beats one matrix product for all."""
WORTH_CALLING = 2**23
"""Numbers to scan from which a loaded library repays its call."""
WORTH_IMPORTING = 2**28
"""Numbers to scan from which FAISS repays its import (0.2 s): half a million vectors of 512."""
MOST = 1024
"""Largest k for FAISS: its heaps are slow beyond, and then the plain product costs no more."""
PIECE = 256
"""Rows converted at once, to stay in the cache."""
SPARE = 16
"""Answers asked of FAISS beyond k, so that near-ties at the cut seldom need the plain scan."""


def faiss_pays(numbers: int, queries: int, k: int) -> bool:
    """Whether FAISS should make the shortlist; never imports it for a small index, as a cold query must not."""
    least = WORTH_CALLING if "faiss" in sys.modules else WORTH_IMPORTING
    return queries <= FEW and k <= MOST and numbers >= least and find_spec("faiss") is not None


def faiss_shortlist(
    vectors: Matrix, queries: FloatArray, k: int, noise: float, rows: IdArray | None
) -> list[IdArray] | None:
    """What ``exact.shortlist`` gives, by FAISS over float16 ``(n, d)`` in place, among ``rows`` if given.

    One thread scans one part of the vectors. None when a part may hold more near-ties than were asked for.
    """
    from concurrent.futures import ThreadPoolExecutor

    faiss: Any = import_module("faiss")
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    edges = [len(vectors) * i // cpus for i in range(cpus + 1)]
    chosen = None if rows is None else np.zeros(len(vectors), np.bool_)
    if chosen is not None:
        chosen[rows] = True

    def scan(i: int) -> tuple[FloatArray, IdArray]:
        part = slice(edges[i], edges[i + 1])
        params, bits = None, None
        if chosen is not None:
            bits = np.packbits(chosen[part], bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        scores, at = float16_view(vectors[part]).search(queries, k + SPARE, params=params)
        return scores, np.where(at >= 0, at + edges[i], -1)

    # FAISS's thread count is kept by each thread: set here, it holds for the pool only.
    with ThreadPoolExecutor(cpus, initializer=faiss.omp_set_num_threads, initargs=(1,)) as pool:
        found = list(pool.map(scan, range(cpus)))
    scores, at = (np.concatenate(part, axis=1) for part in zip(*found, strict=True))
    floor = np.partition(scores, -k, axis=1)[:, -k] - 2 * noise
    if any((part[:, -1] >= floor).any() for part, _ in found):
        return None
    return [at[i, (scores[i] >= floor[i]) & (at[i] >= 0)] for i in range(len(queries))]


def float16_view(vectors: Matrix) -> Any:
    """A FAISS flat index over contiguous float16 ``(n, d)`` that copies nothing; ``vectors`` must outlive it."""
    faiss: Any = import_module("faiss")
    index = faiss.IndexScalarQuantizer(vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    codes = vectors.reshape(-1).view(np.uint8)
    nobody = faiss.MaybeOwnedVectorUInt8().owner
    index.codes = faiss.MaybeOwnedVectorUInt8.create_view(faiss.swig_ptr(codes), codes.size, nobody)
    index.ntotal, index.is_trained = len(vectors), True
    return index


def torch_product(queries: FloatArray) -> tuple[Score, float] | None:
    """A bfloat16 product by torch for float16 rows; None unless torch is loaded and the CPU multiplies bfloat16.

    Rounding to bfloat16 moves a unit vector by at most 2**-8; it happens to the row, to the query and to the score.
    Numbers below float16's normal range (2**-14) may count as 0.
    """
    torch = sys.modules.get("torch")
    if torch is None or not getattr(torch.cpu, "_is_avx512_bf16_supported", bool)():
        return None
    dim = queries.shape[1]
    columns = torch.from_numpy(np.ascontiguousarray(queries.T) * np.float32(2.0**112)).bfloat16()
    bits = np.empty((0, dim), np.int16)

    def score(block: Matrix, out: FloatArray) -> None:
        nonlocal bits
        if len(bits) < len(block):
            bits = np.empty((len(block), dim), np.int16)
        for start in range(0, len(block), PIECE):
            narrow(block[start : start + PIECE], bits[start : start + PIECE])
        rows = torch.from_numpy(bits[: len(block)]).view(torch.bfloat16)
        torch.from_numpy(out).copy_(rows @ columns)

    return score, 3 * 2.0**-8 + math.sqrt(dim) * 2.0**-14


def narrow(half: Any, bits: npt.NDArray[np.int16]) -> None:
    """Write finite float16 numbers as the bits of bfloat16, each times 2**-112: rounded, and moved to their places."""
    out = bits[: len(half)]
    np.add(half.view(np.int16), 4, out=out)
    np.right_shift(out, 3, out=out)
    np.bitwise_and(out, np.int16(-0x7001), out=out)
