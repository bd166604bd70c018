"""What every vector index and every encoder must do, as test classes that a plug-in's author can run too.

    from mmsearch.testing import VectorIndexContract

    class TestMyIndex(VectorIndexContract):
        def make(self, embeddings):
            return MyIndex(embeddings)

Needs pytest and hypothesis (``pip install "mmsearch[dev]"``). Set ``stored`` to the type in which the index keeps
numbers: it is compared with brute force over the same rounded vectors, in float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch.errors import Damaged, EncoderError, MMSearchError
from mmsearch.types import (
    Embeddings,
    Encoder,
    FloatArray,
    IdArray,
    Media,
    Modality,
    Neighbors,
    VectorIndex,
    check_unit_rows,
)

SCORE_NOISE = 1e-5
"""Largest error of a score computed in float32."""
BATCH_NOISE = 1e-5
"""Most that an embedding may move when other inputs share its batch."""


def unit(vectors: npt.NDArray[Any]) -> FloatArray:
    """The rows scaled to length 1, float32."""
    rows: FloatArray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return rows


def clustered(n: int, dim: int = 32, seed: int = 0) -> Embeddings:
    """``n`` unit vectors in a cone of topics, as encoders make them, under ids that are neither dense nor in order."""
    rng = np.random.default_rng(seed)
    topics = rng.standard_normal((max(1, n // 50), dim))
    vectors = 0.7 + topics[rng.integers(len(topics), size=n)] + 0.7 * rng.standard_normal((n, dim))
    ids = rng.permutation(3 * n)[:n].astype(np.int64) + 1
    return Embeddings(ids, unit(vectors) if n else np.empty((0, dim), np.float32))


def questions(count: int, embeddings: Embeddings, seed: int = 1) -> FloatArray:
    """Unit rows that lie apart from the vectors, as questions in words do from pictures."""
    rng = np.random.default_rng(seed)
    dim = embeddings.vectors.shape[1]
    centre = embeddings.vectors.mean(axis=0) if len(embeddings) else np.zeros(dim)
    near = embeddings.vectors[rng.integers(len(embeddings), size=count)] if len(embeddings) else 0
    return unit(near - centre + 0.3 * rng.standard_normal((count, dim)) / np.sqrt(dim))


class VectorIndexContract:
    """Subclass, and override ``make``."""

    stored: npt.DTypeLike = np.float16
    recall = 0.98
    """What an approximate index must reach at 10, refined by ``spec.refine``."""

    def make(self, embeddings: Embeddings) -> VectorIndex:
        """A new index of these embeddings."""
        raise NotImplementedError

    def true_scores(self, embeddings: Embeddings, queries: FloatArray) -> npt.NDArray[np.float64]:
        """Brute force: float64 ``(q, n)``."""
        return queries.astype(np.float64) @ embeddings.vectors.astype(self.stored).astype(np.float64).T

    def check(
        self, index: VectorIndex, embeddings: Embeddings, queries: FloatArray, k: int, within: IdArray | None = None
    ) -> Neighbors:
        """Search, and compare every answer with brute force."""
        found = index.search(queries, k, within)
        assert [part.dtype.name for part in (found.ids, found.scores, found.counts)] == ["int64", "float32", "int64"]
        assert len(found.ids) == len(found.scores) == len(found.counts) == len(queries)
        assert not (found.ids == -1).any()
        allowed = np.ones(len(embeddings), np.bool_) if within is None else np.isin(embeddings.ids, within)
        for i, true in enumerate(self.true_scores(embeddings, queries)):
            ids, scores = found.row(i)
            assert set(ids.tolist()) <= set(embeddings.ids[allowed].tolist())
            assert len(set(ids.tolist())) == len(ids) <= k
            assert (np.diff(scores) <= 0).all(), "best first"
            if index.spec.exact:
                assert ((np.diff(scores) < 0) | (np.diff(ids) > 0)).all(), "ties by smaller id"
                best = np.sort(true[allowed])[::-1][:k]
                assert len(ids) == len(best)
                np.testing.assert_allclose(scores, best, atol=SCORE_NOISE)
                order = np.argsort(embeddings.ids)
                mine = order[np.searchsorted(embeddings.ids, ids, sorter=order)]
                np.testing.assert_allclose(scores, true[mine], atol=SCORE_NOISE)
        return found

    def refined(self, index: VectorIndex, embeddings: Embeddings, queries: FloatArray, within: IdArray | None) -> float:
        """The share of the true ten best that ``refine`` times as many answers hold."""
        found = self.check(index, embeddings, queries, 10 * index.spec.refine, within)
        allowed = np.ones(len(embeddings), np.bool_) if within is None else np.isin(embeddings.ids, within)
        true = np.where(allowed, self.true_scores(embeddings, queries), -np.inf)
        best = embeddings.ids[np.argsort(-true, axis=1)[:, : min(10, int(allowed.sum()))]]
        return float(np.mean([np.isin(best[i], found.row(i)[0]).mean() for i in range(len(queries))]))

    def test_follows_the_protocol(self) -> None:
        index = self.make(clustered(100))
        assert isinstance(index, VectorIndex)
        assert index.spec.dim == 32
        assert index.spec.kind
        assert index.spec.refine >= 1
        assert len(index) == 100

    @pytest.mark.parametrize("k", [1, 10, 100])
    @pytest.mark.parametrize("count", [1, 3, 300])
    def test_agrees_with_brute_force(self, count: int, k: int) -> None:
        embeddings = clustered(3000)
        self.check(self.make(embeddings), embeddings, questions(count, embeddings), k)

    @pytest.mark.parametrize("dim", [7, 30, 64])
    def test_any_dimension(self, dim: int) -> None:
        embeddings = clustered(500, dim)
        self.check(self.make(embeddings), embeddings, questions(5, embeddings), 10)

    def test_holds_the_true_ten_best_once_refined(self) -> None:
        embeddings = clustered(20_000)
        assert self.refined(self.make(embeddings), embeddings, questions(100, embeddings), None) >= self.recall

    @pytest.mark.parametrize("share", [0.5, 0.02, 0.0005])
    def test_a_filter_loses_no_result(self, share: float) -> None:
        embeddings = clustered(20_000)
        within = np.sort(np.random.default_rng(2).choice(embeddings.ids, int(share * 20_000), replace=False))
        assert self.refined(self.make(embeddings), embeddings, questions(50, embeddings), within) >= self.recall

    # One inherited test runs in many classes; nothing is replayed, so that does no harm.
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.differing_executors])
    @given(st.integers(0, 300), st.integers(0, 20), st.floats(0, 1), st.integers(0, 5))
    def test_any_filter(self, n: int, k: int, share: float, seed: int) -> None:
        embeddings = clustered(n, 16, seed)
        everything = np.arange(-3, 3 * n + 9)  # also ids that the index does not have
        within = everything[np.random.default_rng(seed).random(len(everything)) < share]
        self.check(self.make(embeddings), embeddings, questions(2, embeddings, seed), k, within)

    def test_a_question_is_answered_alike_alone_and_among_others(self) -> None:
        embeddings = clustered(5000)
        index, queries = self.make(embeddings), questions(300, embeddings)
        together = index.search(queries, 10)
        for i in range(0, 300, 37):
            alone = index.search(queries[i : i + 1], 10).row(0)
            np.testing.assert_allclose(alone[1], together.row(i)[1], atol=SCORE_NOISE)
            if index.spec.exact:
                assert alone[0].tolist() == together.row(i)[0].tolist()

    def test_no_vectors(self) -> None:
        index = self.make(clustered(0))
        assert len(index) == 0
        found = index.search(questions(2, clustered(10)), 5)
        assert found.counts.tolist() == [0, 0]
        assert found.row(1)[0].size == 0

    def test_one_vector_and_a_large_k(self) -> None:
        embeddings = clustered(1)
        found = self.check(self.make(embeddings), embeddings, embeddings.vectors, 1000)
        assert found.row(0)[0].tolist() == embeddings.ids.tolist()

    def test_k_above_the_number_of_vectors(self) -> None:
        embeddings = clustered(40)
        found = self.check(self.make(embeddings), embeddings, questions(3, embeddings), 1000)
        if found.counts.tolist() != [40, 40, 40]:
            assert not self.make(embeddings).spec.exact

    def test_no_questions_and_no_answers_wanted(self) -> None:
        embeddings = clustered(40)
        index = self.make(embeddings)
        assert index.search(np.empty((0, 32), np.float32), 5).ids.shape[0] == 0
        assert index.search(embeddings.vectors[:2], 0).counts.tolist() == [0, 0]
        with pytest.raises(ValueError, match="negative"):
            index.search(embeddings.vectors[:2], -1)

    def test_equal_vectors_come_by_smaller_id_also_at_the_cut(self) -> None:
        embeddings = clustered(2000)
        vectors = embeddings.vectors.copy()
        vectors[5::31] = vectors[5]
        index = self.make(Embeddings(embeddings.ids, vectors))
        found = self.check(index, Embeddings(embeddings.ids, vectors), vectors[5:6], 10)
        if index.spec.exact:
            assert found.row(0)[0].tolist() == np.sort(embeddings.ids[5::31])[:10].tolist()

    def test_what_is_added_is_found(self) -> None:
        embeddings = clustered(600)
        old, new = (Embeddings(embeddings.ids[part], embeddings.vectors[part]) for part in (np.s_[:400], np.s_[400:]))
        index = self.make(old)
        if not index.spec.can_add:
            with pytest.raises(MMSearchError):
                index.add(new)
            return
        index.add(new)
        assert len(index) == 600
        self.check(index, embeddings, questions(5, embeddings), 10)
        assert self.refined(index, embeddings, questions(20, embeddings), None) >= self.recall
        with pytest.raises(EncoderError):
            index.add(clustered(10, 8))

    def test_what_is_removed_is_gone(self) -> None:
        embeddings = clustered(600)
        index = self.make(embeddings)
        gone = np.sort(embeddings.ids[::3])
        if not index.spec.can_remove:
            with pytest.raises(MMSearchError):
                index.remove(gone)
            return
        assert index.remove(np.append(gone, 10**6)) == 200
        assert index.remove(gone) == 0
        assert len(index) == 400
        keep = ~np.isin(embeddings.ids, gone)
        kept = Embeddings(embeddings.ids[keep], embeddings.vectors[keep])
        self.check(index, kept, questions(5, embeddings), 10)

    @pytest.mark.parametrize("n", [0, 1, 700])
    def test_bytes_bring_back_the_same_answers(self, n: int) -> None:
        index, queries = self.make(clustered(n)), questions(5, clustered(700))
        again = type(index).from_bytes(index.to_bytes())
        assert again.spec.kind == index.spec.kind
        before, after = index.search(queries, 10), again.search(queries, 10)
        assert before.ids.tolist() == after.ids.tolist()
        assert before.scores.tolist() == after.scores.tolist()

    def test_bytes_that_were_cut_are_refused(self) -> None:
        index = self.make(clustered(100))
        data = index.to_bytes()
        for length in (0, 10, len(data) // 2, len(data) - 1):
            with pytest.raises(Damaged, match="repair"):
                type(index).from_bytes(data[:length])

    @pytest.mark.parametrize("bad", ["nan", "zero", "infinite", "long", "narrow"])
    def test_a_question_that_is_no_unit_row_is_refused(self, bad: str) -> None:
        embeddings = clustered(50)
        index, queries = self.make(embeddings), embeddings.vectors[:3].copy()
        if bad == "narrow":
            queries = unit(queries[:, :-1])
        else:
            queries[1] = {"nan": np.nan, "zero": 0, "infinite": np.inf, "long": 5}[bad]
        with pytest.raises(EncoderError):
            index.search(queries, 3)


class EncoderContract:
    """Subclass, and override ``make``; ``inputs`` too where random pixels, words and noise are not welcome."""

    def make(self) -> Encoder:
        """The encoder, loaded afresh."""
        raise NotImplementedError

    @pytest.fixture
    def encoder(self) -> Encoder:
        return self.make()

    def inputs(self, encoder: Encoder, modality: Modality, count: int) -> list[Media]:
        """``count`` different inputs; texts and sounds differ in length."""
        rng = np.random.default_rng(7)
        if modality == Modality.TEXT:
            words = ["red", "a cat on a sofa", "two dogs run", "一只猫", "low", "x" * 300]
            return [f"{words[i % len(words)]} {i}" for i in range(count)]
        if modality == Modality.AUDIO:
            rate = encoder.spec.audio_rate or 16_000
            return [rng.uniform(-0.5, 0.5, rate // 2 + 997 * i).astype(np.float32) for i in range(count)]
        size = encoder.spec.image.size if encoder.spec.image else 32
        return [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(count)]

    def cases(self, encoder: Encoder, count: int) -> Iterator[tuple[Modality, list[Media]]]:
        for modality in sorted(encoder.spec.modalities):
            yield modality, self.inputs(encoder, modality, count)

    def test_follows_the_protocol(self, encoder: Encoder) -> None:
        spec = encoder.spec
        assert isinstance(encoder, Encoder)
        assert spec.name and spec.space and spec.licence and spec.dim > 0 and spec.modalities
        assert (spec.image is not None) or Modality.IMAGE not in spec.modalities
        assert (spec.audio_rate is not None) or Modality.AUDIO not in spec.modalities

    def test_gives_one_unit_row_for_each_input(self, encoder: Encoder) -> None:
        for modality, batch in self.cases(encoder, 5):
            rows = encoder.encode(batch, modality)
            assert rows.shape == (5, encoder.spec.dim)
            check_unit_rows(rows)

    def test_an_empty_batch_gives_no_rows(self, encoder: Encoder) -> None:
        for modality, _ in self.cases(encoder, 0):
            assert encoder.encode([], modality).shape == (0, encoder.spec.dim)

    def test_keeps_the_order(self, encoder: Encoder) -> None:
        for modality, batch in self.cases(encoder, 6):
            rows, reverse = encoder.encode(batch, modality), encoder.encode(batch[::-1], modality)
            np.testing.assert_allclose(rows, reverse[::-1], atol=BATCH_NOISE)
            assert np.abs(rows[0] - rows[1]).max() > 10 * BATCH_NOISE, "different inputs, different rows"

    def test_an_input_does_not_feel_its_batch(self, encoder: Encoder) -> None:
        for modality, batch in self.cases(encoder, 64):
            together = encoder.encode(batch, modality)
            for i in (0, 31, 63):
                np.testing.assert_allclose(encoder.encode([batch[i]], modality)[0], together[i], atol=BATCH_NOISE)

    def test_refuses_a_modality_that_it_lacks(self, encoder: Encoder) -> None:
        for modality in set(Modality) - encoder.spec.modalities:
            with pytest.raises(EncoderError):
                encoder.encode(self.inputs(encoder, modality, 1), modality)

    def test_the_same_model_has_the_same_space(self, encoder: Encoder) -> None:
        assert self.make().spec == encoder.spec
