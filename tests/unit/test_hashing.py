"""Binary codes beyond the contract: what the planes are, what a question's bits are, and files that are not right."""

import numpy as np
import pytest

from mmsearch.errors import Damaged, UsageError
from mmsearch.store import hashing, indexes
from mmsearch.store.hashing import HashIndex, Planes, fit
from mmsearch.testing import clustered, questions, unit
from mmsearch.types import Embeddings


def recall(index, embeddings, queries, count):
    """The share of the true ten best among ``count`` candidates."""
    true = np.argsort(-(queries @ embeddings.vectors.T), axis=1)[:, :10]
    found = index.search(queries, count).ids
    return np.mean([np.isin(embeddings.ids[best], some).mean() for best, some in zip(true, found, strict=True)])


def test_the_planes_of_one_round_are_a_rotation_that_loses_less_than_chance():
    vectors = clustered(2000, 64).vectors
    planes = fit(vectors, 64)
    np.testing.assert_allclose(planes.planes @ planes.planes.T, np.eye(64), atol=1e-4)

    def loss(rotation):
        turned = (vectors - planes.mean) @ rotation.T
        return ((np.sign(turned) * np.abs(turned).mean() - turned) ** 2).sum()

    rng = np.random.default_rng(3)
    random = [np.linalg.qr(rng.standard_normal((64, 64)))[0] for _ in range(5)]
    assert loss(planes.planes) < min(map(loss, random))


def test_bits_are_those_of_the_planes_and_distances_are_counted_right():
    embeddings = clustered(300, 16)
    planes = fit(embeddings.vectors, 128)
    index = indexes.find("hash").build(lambda: iter([embeddings]), 300, 16, bits=128)
    index = HashIndex.from_bytes(b"".join(index.chunks))
    query = embeddings.vectors[:1]
    ours = (embeddings.vectors - planes.mean) @ planes.planes.T > 0
    differ = (ours != (query @ planes.weights.T > 0)).sum(axis=1)
    order = np.lexsort((embeddings.ids, differ))[:20]
    found = index.search(query, 20)
    assert found.ids[0].tolist() == embeddings.ids[order].tolist()
    np.testing.assert_allclose(found.scores[0], np.cos(np.pi * differ[order] / 128), atol=1e-6)


def test_words_need_bits_of_their_own():
    """Where words lie apart from pictures, pictures hardly differ: there the side of a plane says nothing."""
    rng, small = np.random.default_rng(1), clustered(2000, 32)
    still = 0.05 * rng.standard_normal((2000, 32))
    embeddings = Embeddings(small.ids, unit(np.concatenate([small.vectors, still], axis=1)))
    gap = np.broadcast_to(rng.standard_normal(32) / 3, (60, 32))
    words = unit(np.concatenate([questions(60, small), gap], axis=1))
    planes = fit(embeddings.vectors, 128)
    order = np.argsort(embeddings.ids)
    codes = planes.of_vectors(embeddings.vectors)[:, order]

    def found(weights):
        index = HashIndex(embeddings.ids[order], codes, Planes(planes.mean, planes.planes, weights))
        return recall(index, embeddings, words, 100)

    better, plain = found(planes.weights), found(planes.planes)
    assert better > plain + 0.05


@pytest.mark.parametrize("bits", [0, 63, 100])
def test_bits_come_in_words_of_64(bits):
    with pytest.raises(UsageError, match="multiple"):
        fit(clustered(50).vectors, bits)


def test_a_file_of_other_rows_or_without_bytes_is_refused(tmp_path):
    embeddings, path = clustered(100), tmp_path / "index"
    made = indexes.build("hash", lambda: iter([embeddings]), 100, 32)
    path.write_bytes(b"".join(made.chunks))
    with pytest.raises(Damaged, match="repair"):
        indexes.open_index("hash", str(path), 99, 32, made.params)
    index = indexes.open_index("hash", str(path), 100, 32, {**made.params, "refine": 7})
    assert index.spec.refine == 7 and not index.spec.can_add
    with pytest.raises(UsageError):
        index.remove(embeddings.ids)
    path.write_bytes(b"")
    with pytest.raises(Damaged, match="repair"):
        indexes.open_index("hash", str(path), 100, 32, made.params)


def test_a_build_can_be_repeated_and_is_the_same_from_any_blocks(monkeypatch):
    embeddings = clustered(400)
    one, two = (b"".join(indexes.build("hash", lambda: iter([embeddings]), 400, 32).chunks) for _ in range(2))
    assert one == two
    monkeypatch.setattr(hashing, "STEP", 7)
    index, whole = HashIndex.from_bytes(one), questions(3, embeddings)
    steps = index.search(whole, 50).ids.tolist()
    monkeypatch.undo()
    assert index.search(whole, 50).ids.tolist() == steps
