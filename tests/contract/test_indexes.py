"""Every built-in vector index against the contract in ``mmsearch.testing``."""

import tempfile
from pathlib import Path

import numpy as np
import pytest

from mmsearch.store import indexes
from mmsearch.store.exact import ExactIndex
from mmsearch.store.faiss_index import FaissIndex, place
from mmsearch.store.hashing import HashIndex
from mmsearch.testing import VectorIndexContract
from mmsearch.types import Embeddings

_BUILT = {}


def built(kind, embeddings):
    """The bytes of an index as the publisher makes them, from several blocks, and its parameters; built once."""
    key = kind, embeddings.vectors.shape, embeddings.vectors.tobytes(), embeddings.ids.tobytes()
    if key not in _BUILT:
        parts = [
            Embeddings(embeddings.ids[part], embeddings.vectors[part])
            for part in np.array_split(np.arange(len(embeddings)), 3)
        ]
        made = indexes.build(kind, lambda: iter(parts), *embeddings.vectors.shape)
        _BUILT[key] = b"".join(made.chunks), made.params
    return _BUILT[key]


class TestExactFloat16(VectorIndexContract):
    def make(self, embeddings):
        return ExactIndex.from_bytes(built("exact", embeddings)[0])


class TestExactFloat32(VectorIndexContract):
    stored = np.float32

    def make(self, embeddings):
        return ExactIndex(embeddings.ids, embeddings.vectors)


class Mapped(VectorIndexContract):
    """The index opened from its file, which may vanish once it is mapped."""

    kind, device = "exact", "cpu"

    def make(self, embeddings):
        data, params = built(self.kind, embeddings)
        rows, dim = embeddings.vectors.shape
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "index.bin")
            path.write_bytes(data)
            return indexes.open_index(self.kind, str(path), rows, dim, params, device=self.device)


class TestExactMapped(Mapped):
    kind = "exact"


class TestFlat(VectorIndexContract):
    def make(self, embeddings):
        return FaissIndex.from_bytes(built("flat", embeddings)[0])


class TestIvfPq(VectorIndexContract):
    def make(self, embeddings):
        return FaissIndex.from_bytes(built("ivfpq", embeddings)[0])


class TestFlatMapped(Mapped):
    kind = "flat"


class TestIvfPqMapped(Mapped):
    kind = "ivfpq"


class TestSq8(VectorIndexContract):
    def make(self, embeddings):
        return FaissIndex.from_bytes(built("sq8", embeddings)[0])


class TestSq16Mapped(Mapped):
    kind = "sq16"


class TestSq8Mapped(Mapped):
    kind = "sq8"


class TestHnsw(VectorIndexContract):
    def make(self, embeddings):
        return FaissIndex.from_bytes(built("hnsw", embeddings)[0])


class TestHnswMapped(Mapped):
    kind = "hnsw"


class TestHash(VectorIndexContract):
    def make(self, embeddings):
        return HashIndex.from_bytes(built("hash", embeddings)[0])


class TestHashMapped(Mapped):
    kind = "hash"


@pytest.mark.gpu
class TestFlatOnGpu(VectorIndexContract):
    def make(self, embeddings):
        index = FaissIndex.from_bytes(built("flat", embeddings)[0])._index
        return FaissIndex(index, fast=place(index, "cuda:0"))


@pytest.mark.gpu
class TestIvfPqOnGpu(VectorIndexContract):
    def make(self, embeddings):
        rows, dim = embeddings.vectors.shape
        made = indexes.build("ivfpq", lambda: iter([embeddings]), rows, dim, device="cuda:0")
        index = FaissIndex.from_bytes(b"".join(made.chunks))._index
        return FaissIndex(index, fast=place(index, "cuda:0"))
