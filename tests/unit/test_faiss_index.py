"""What the FAISS indexes do beyond the contract: building, damage, placement and what is missing."""

import sys

import numpy as np
import pytest

from mmsearch.errors import Damaged, Missing, MissingExtra, UsageError
from mmsearch.store import faiss_kinds, indexes
from mmsearch.store.faiss_index import FaissIndex, place
from mmsearch.store.faiss_kinds import IVFPQ, training_sample
from mmsearch.testing import clustered, questions
from mmsearch.types import Embeddings

faiss = pytest.importorskip("faiss")


def in_blocks(embeddings, size=100):
    return lambda: (
        Embeddings(embeddings.ids[i : i + size], embeddings.vectors[i : i + size])
        for i in range(0, len(embeddings), size)
    )


def test_the_sample_is_spread_over_the_whole_stream_and_bounded(monkeypatch):
    monkeypatch.setattr(faiss_kinds, "TRAIN_MOST", 300)
    embeddings = clustered(5000)
    sample = training_sample(in_blocks(embeddings), 5000, 32, seed=0)
    assert sample.shape == (300, 32)
    rows = [int(np.flatnonzero((embeddings.vectors == row).all(axis=1))[0]) for row in sample]
    assert len(set(rows)) == 300
    assert np.histogram(rows, bins=5, range=(0, 5000))[0].min() > 30


def test_a_build_can_be_repeated():
    embeddings = clustered(3000)
    first, second = (IVFPQ.build(in_blocks(embeddings), 3000, 32, seed=5) for _ in range(2))
    assert first.params == second.params
    assert first.params["seed"] == 5
    queries = questions(20, embeddings)
    one, two = (FaissIndex.from_bytes(b"".join(made.chunks)).search(queries, 10) for made in (first, second))
    assert one.ids.tolist() == two.ids.tolist()


def test_refine_and_probes_of_the_build_hold_after_opening(tmp_path):
    embeddings = clustered(500)
    made = indexes.build("ivfpq", in_blocks(embeddings), 500, 32)
    path = tmp_path / "index.faiss"
    path.write_bytes(b"".join(made.chunks))
    index = indexes.open_index("ivfpq", str(path), 500, 32, {**made.params, "refine": 7})
    assert index.spec.refine == 7
    assert not index.spec.exact
    assert index._ivf.nprobe == made.params["nprobe"]


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_a_file_that_is_not_what_was_recorded_is_refused(kind, tmp_path):
    made = indexes.build(kind, in_blocks(clustered(300)), 300, 32)
    path = tmp_path / "index.faiss"
    path.write_bytes(b"".join(made.chunks))
    with pytest.raises(Damaged, match="mmsearch repair"):
        indexes.open_index(kind, str(path), 299, 32, made.params)
    path.write_bytes(b"".join(indexes.build(kind, in_blocks(clustered(300)), 300, 32).chunks)[:-9])
    with pytest.raises(Damaged, match="mmsearch repair"):
        indexes.open_index(kind, str(path), 300, 32, made.params)
    path.write_bytes(b"")
    with pytest.raises(Damaged, match="mmsearch repair"):
        indexes.open_index(kind, str(path), 300, 32, made.params)


def test_a_mapped_index_says_that_it_can_not_grow(tmp_path):
    embeddings = clustered(50)
    path = tmp_path / "index.faiss"
    path.write_bytes(b"".join(indexes.build("flat", in_blocks(embeddings), 50, 32).chunks))
    index = FaissIndex.open(str(path))
    assert not index.spec.can_add
    with pytest.raises(UsageError, match="mapped"):
        index.add(embeddings)  # inside FAISS this ends the process


def test_large_ids_pass_through_and_can_be_filtered():
    embeddings = clustered(200)
    ids = embeddings.ids + 2**60
    index = FaissIndex.from_bytes(
        b"".join(indexes.build("flat", in_blocks(Embeddings(ids, embeddings.vectors)), 200, 32).chunks)
    )
    within = np.sort(ids[:20])
    found = index.search(embeddings.vectors[:1], 5, within)
    assert found.ids[0, 0] == ids[0]
    assert np.isin(found.ids, within).all()


def test_without_faiss_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[cpu\]"):
        indexes.build("flat", in_blocks(clustered(5)), 5, 32)


def test_an_absent_gpu_is_said_with_what_helps():
    index = FaissIndex.from_bytes(b"".join(indexes.build("flat", in_blocks(clustered(5)), 5, 32).chunks))
    if hasattr(faiss, "StandardGpuResources"):
        with pytest.raises(Missing, match="--device cpu"):
            place(index._index, f"cuda:{faiss.get_num_gpus()}")
    else:
        with pytest.raises(MissingExtra, match=r"mmsearch\[gpu\]"):
            place(index._index, "cuda:0")
