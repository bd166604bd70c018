"""What the exact index does beyond the contract: its file, its memory, and products that must not change an answer."""

import json
import subprocess
import sys

import numpy as np
import pytest

from mmsearch.errors import Damaged, EncoderError, UsageError
from mmsearch.store import exact, indexes, kernels
from mmsearch.store.exact import ExactIndex
from mmsearch.testing import clustered, questions
from mmsearch.types import Embeddings


def hard_case():
    """Clusters, a run of equal vectors and one of nearly equal ones: everything that a sloppy cut gets wrong."""
    embeddings = clustered(30_000, 64)
    vectors = embeddings.vectors.copy()
    vectors[100:107] = vectors[100]
    vectors[9000:9400] = vectors[9000]
    vectors[20_000:20_300] = vectors[20_000] + 1e-5 * np.random.default_rng(3).standard_normal((300, 64))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = np.concatenate([questions(30, embeddings), vectors[[100, 9000, 20_000]]])
    return ExactIndex(embeddings.ids, vectors.astype(np.float16)), queries


def answers(index, queries):
    within = np.sort(index._ids[::3])
    return [
        (found.ids.tolist(), found.scores.tolist())
        for k in (1, 10, 50)
        for some in (None, within)
        for found in [index.search(queries, k, some)]
    ]


@pytest.fixture
def plain(monkeypatch):
    """No help from FAISS or torch, even where another test has loaded them."""
    monkeypatch.setattr(kernels, "faiss_pays", lambda *_: False)
    monkeypatch.setattr(kernels, "torch_product", lambda _: None)


@pytest.fixture
def oracle(plain):
    index, queries = hard_case()
    return answers(index, queries)


def test_faiss_gives_the_same_answers_bit_by_bit(oracle, monkeypatch):
    index, queries = hard_case()
    made = []

    def counted(*arguments, real=kernels.faiss_shortlist):
        made.append(real(*arguments) is not None)
        return real(*arguments)

    monkeypatch.setattr(kernels, "faiss_pays", lambda *_: True)
    monkeypatch.setattr(kernels, "faiss_shortlist", counted)
    one_by_one = [answers(index, queries[i : i + 1]) for i in range(len(queries))]
    for i, mine in enumerate(one_by_one):
        assert mine == [(ids[i : i + 1], scores[i : i + 1]) for ids, scores in oracle]
    assert any(made), "FAISS answered"
    assert not all(made), "too many near-ties were left to the plain scan"


def test_torch_gives_the_same_answers_bit_by_bit(oracle, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "faiss_pays", lambda *_: False)
    monkeypatch.setattr(kernels, "WORTH_CALLING", 0)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    index, queries = hard_case()
    assert kernels.torch_product(queries) is not None
    assert answers(index, queries) == oracle


def test_the_noise_bounds_hold():
    index, queries = hard_case()
    true = queries.astype(np.float64) @ index._vectors.astype(np.float64).T
    for score, noise in filter(None, [exact.product(queries, np.float16), kernels.torch_product(queries)]):
        scores = np.empty((len(index), len(queries)), np.float32)
        score(index._vectors, scores)
        assert np.abs(scores.T - true).max() < noise


def test_widened_numbers_are_the_same_numbers():
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = everything[np.isfinite(everything)].reshape(1, -1)
    wide = np.empty(finite.shape, np.float32)
    exact.widen(finite, wide)
    assert (wide.astype(np.float64) * 2.0**112 == finite.astype(np.float64)).all()


def test_narrowed_numbers_are_the_nearest_of_bfloat16():
    torch = pytest.importorskip("torch")
    everything = np.arange(2**16, dtype=np.uint16).view(np.float16)
    half = everything[np.isfinite(everything) & (np.abs(everything) >= 2.0**-14)].reshape(1, -1)
    bits = np.empty(half.shape, np.int16)
    kernels.narrow(half, bits)
    narrow = torch.from_numpy(bits).view(torch.bfloat16).double().numpy() * 2.0**112
    assert (np.abs(narrow / half.astype(np.float64) - 1) <= 2.0**-8).all()


def test_the_file_is_written_block_by_block_and_says_its_own_size(tmp_path):
    embeddings = clustered(1000, 30)
    blocks = (Embeddings(embeddings.ids[i : i + 7], embeddings.vectors[i : i + 7]) for i in range(0, 1000, 7))
    chunks = exact.chunks(blocks, 30)
    first = next(chunks)
    assert first == embeddings.vectors[:7].astype("<f2").tobytes()
    data = first + b"".join(chunks)
    assert data == ExactIndex(embeddings.ids, embeddings.vectors.astype(np.float16)).to_bytes()
    assert len(data) == 1000 * 60 + -1000 * 60 % 64 + 1000 * 8 + 16


@pytest.mark.parametrize("shape", [(99, 32), (100, 16), (0, 32)])
def test_a_file_of_another_shape_is_refused(tmp_path, shape):
    path = tmp_path / "index.bin"
    path.write_bytes(b"".join(exact.chunks([clustered(100)], 32)))
    with pytest.raises(Damaged, match="mmsearch repair"):
        ExactIndex.open(str(path), *shape)


@pytest.mark.parametrize("length", [0, 15, 5000, -1])
def test_a_file_that_was_cut_is_refused(tmp_path, length):
    path = tmp_path / "index.bin"
    path.write_bytes(b"".join(exact.chunks([clustered(100)], 32))[:length])
    with pytest.raises(Damaged, match="mmsearch repair"):
        ExactIndex.open(str(path), 100, 32)


def test_blocks_of_another_dimension_are_refused():
    with pytest.raises(EncoderError, match="8 numbers"):
        list(exact.chunks([clustered(5, 8)], 32))


def test_an_id_can_not_be_added_twice():
    index = ExactIndex.from_bytes(b"".join(exact.chunks([clustered(5)], 32)))
    with pytest.raises(EncoderError, match="never reused"):
        index.add(clustered(5))


COLD_SEARCH = """
import json, resource, sys
import numpy as np
from mmsearch.store import indexes
path, rows, dim = sys.argv[1], 100_000, 256
index = indexes.open_index(indexes.choose("auto", rows, dim), path, rows, dim, {})
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
found = index.search(np.eye(1, dim, dtype=np.float32), 10)
heavy = {"faiss", "torch", "sqlalchemy", "onnxruntime", "PIL"} & set(sys.modules)
print(json.dumps({"ids": found.ids[0].tolist(), "heavy": sorted(heavy), "grown_mb": peak() - before}))
"""


def test_a_cold_search_loads_numpy_only_and_does_not_keep_the_file_in_memory(tmp_path):
    path = tmp_path / "index.bin"
    vectors = clustered(10_000, 256).vectors
    with path.open("wb") as file:  # 51 MB
        file.writelines(
            exact.chunks((Embeddings(np.arange(10_000) + i, vectors) for i in range(0, 10**5, 10_000)), 256)
        )
    run = subprocess.run([sys.executable, "-c", COLD_SEARCH, path], capture_output=True, text=True, check=True)
    result = json.loads(run.stdout)
    best = int(np.argmax(vectors.astype(np.float16)[:, 0]))
    assert result["ids"] == [best + i for i in range(0, 10**5, 10_000)]
    assert result["heavy"] == []
    assert result["grown_mb"] < 35


def test_auto_is_exact_until_that_is_slow():
    assert indexes.choose("auto", 2_000_000, 512) == "exact"
    assert indexes.choose("auto", 2_200_000, 512) == "ivfpq"
    assert indexes.choose("flat", 1, 1) == "flat"


def test_an_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="exact"):
        indexes.choose("exat", 10, 10)
    with pytest.raises(UsageError, match="ivfpq"):
        indexes.find("ivf-pq")
