"""Vector search against raw FAISS on the same vectors: interleaved pairs, median of ratios, JSON lines.

    python -m bench.search [--rows 1000000] [--dim 512] [--pairs 7] [--ann-rows 200000]

A ratio is our time divided by FAISS's; below 1 we are faster. `same` is the share of questions with the same ten ids
(FAISS's flat index may order ties its own way). torch is imported only before the rows that name it. Needs about 5 KB
of memory a row: 5 GB for a million vectors of 512 numbers.
"""

import argparse
import os
import sys
import tempfile
import time

import faiss
import numpy as np

from bench.common import pairs, ratios, row, spread
from mmsearch.store import exact, indexes, kernels
from mmsearch.store.exact import ExactIndex
from mmsearch.store.faiss_index import FaissIndex
from mmsearch.types import Embeddings

K = 10


def blocks(rows, dim, size=20_000, seed=0):
    """Unit vectors in a cone of 4,000 topics, as an encoder makes them; float16 numbers, as the catalog keeps them."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((4000, dim), np.float32)
    for start in range(0, rows, size):
        count = min(size, rows - start)
        vectors = 0.5 + topics[rng.integers(4000, size=count)] + 0.7 * rng.standard_normal((count, dim), np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield Embeddings(np.arange(start, start + count), vectors.astype(np.float16).astype(np.float32))


def questions(dim, count=64):
    """Half of the questions near some vector, half apart from all of them, as words are."""
    near = next(blocks(count, dim)).vectors
    apart = near - near.mean(axis=0) + 0.03 * np.random.default_rng(1).standard_normal((count, dim), np.float32)
    mixed = np.where(np.arange(count)[:, None] % 2, apart, near)
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


def seconds(search, times):
    def timed():
        started = time.perf_counter()
        for _ in range(times):
            search()
        return (time.perf_counter() - started) / times

    return timed


def compare(case, ours, theirs, count, **facts):
    """One row: ``ours`` and ``theirs`` in turns, each long enough (50 ms) that waking threads do not decide."""
    ours()
    once = seconds(theirs, 1)()
    times = max(1, int(0.05 / once))
    a, b = pairs(seconds(ours, times), seconds(theirs, times), count)
    row("search", case, ratio=ratios(a, b), ours_s=spread(a, 5), faiss_s=spread(b, 5), **facts)


def without(name, queries, search):
    """``search`` with one of the kernels switched off."""

    def plain():
        kept, off = getattr(kernels, name), lambda *_: None
        setattr(kernels, name, off)
        try:
            return search(queries, K)
        finally:
            setattr(kernels, name, kept)

    return plain


def same(a, b):
    """The share of rows that hold the same ids."""
    return float(np.mean([set(x) == set(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]))


def exact_rows(path, options):
    index = ExactIndex.open(path, options.rows, options.dim)
    queries, count = questions(options.dim), options.pairs
    flat = faiss.IndexFlatIP(options.dim)
    for block in blocks(options.rows, options.dim):
        flat.add(block.vectors)
    facts = {"rows": options.rows, "dim": options.dim}
    one = queries[:1]
    facts["same"] = same(index.search(queries, K).ids, flat.search(queries, K)[1])
    compare("exact, 1 query / FlatIP", lambda: index.search(one, K), lambda: flat.search(one, K), count, **facts)
    numpy_one = without("faiss_pays", one, index.search)
    compare("exact by numpy, 1 query / FlatIP", numpy_one, lambda: flat.search(one, K), count, **facts)
    batch = "exact, 64 queries / FlatIP"
    compare(batch, lambda: index.search(queries, K), lambda: flat.search(queries, K), max(1, count // 2), **facts)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    facts["same"] = same(index.search(queries, K).ids, flat.search(queries, K)[1])
    compare(batch + ", torch", lambda: index.search(queries, K), lambda: flat.search(queries, K), count, **facts)


def adapter_rows(kind, rows, options):
    """Our adapter and the very FAISS index inside it."""
    made = indexes.build(kind, lambda: blocks(rows, options.dim), rows, options.dim)
    data = b"".join(made.chunks)
    ours, raw = FaissIndex.from_bytes(data), faiss.deserialize_index(np.frombuffer(data, np.uint8))
    queries = questions(options.dim)
    k = K * ours.spec.refine
    for count in (1, 64):
        some = queries[:count]
        case = f"{kind} adapter, {count} quer{'y' if count == 1 else 'ies'}, k {k} / raw FAISS"
        facts = {"rows": rows, "dim": options.dim, **made.params}
        compare(
            case, lambda some=some: ours.search(some, k), lambda some=some: raw.search(some, k), options.pairs, **facts
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ann-rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--pairs", type=int, default=7)
    options = parser.parse_args()
    options.ann_rows = min(options.ann_rows, options.rows)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "exact.bin")
        with open(path, "wb") as file:
            file.writelines(exact.chunks(blocks(options.rows, options.dim), options.dim))
        adapter_rows("flat", options.ann_rows, options)
        adapter_rows("ivfpq", options.ann_rows, options)
        exact_rows(path, options)


if __name__ == "__main__":
    sys.exit(main())
