"""Measures against their definitions written out slowly, against other packages, and on cases with known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmsearch.retrieval.metrics import KS, Qrels, mean_per_class_recall, measure, ranks_in, score_all
from mmsearch.retrieval.significance import bootstrap, permutation_test

TOLERANCE = 1e-9


def random_run(seed: int, queries: int = 60, documents: int = 40):
    """Scores with many ties, judgements with grades and wrong ones, some queries unanswered: as dicts of dicts."""
    draw = np.random.default_rng(seed)
    qrels, run = {}, {}
    for q in range(queries):
        judged = draw.choice(documents, size=draw.integers(1, 8), replace=False)
        qrels[f"q{q}"] = {f"d{d:02}": int(draw.integers(0, 4)) for d in judged} | {f"d{judged[0]:02}": 2}
        found = draw.choice(documents, size=draw.integers(0, 30), replace=False) if q % 10 else []
        if len(found):
            run[f"q{q}"] = {f"d{d:02}": int(draw.integers(0, 6)) / 5 for d in found}
    return qrels, run


def numbered(qrels, run, order):
    """The same as arrays; ``order`` sorts the (document, score) pairs of a query."""
    names = sorted({d for judged in qrels.values() for d in judged} | {d for r in run.values() for d in r})
    number = {name: i for i, name in enumerate(names)}
    pairs = [(q, number[d], gain) for q, judged in enumerate(qrels.values()) for d, gain in judged.items()]
    table = np.full((len(qrels), len(names)), -1, np.int64)
    for q, query in enumerate(qrels):
        ranked = [number[d] for d, _ in order(run.get(query, {}))]
        table[q, : len(ranked)] = ranked
    return table, Qrels.of(pairs, len(qrels))


def by_trec(results):
    """trec_eval's order: by score, ties by the greater name first."""
    return sorted(results.items(), key=lambda pair: (pair[1], pair[0]), reverse=True)


def by_definition(ranked: list[int], gains: dict[int, float], k: int) -> dict[str, float]:
    right = [d for d, gain in gains.items() if gain > 0]
    found = [i for i, d in enumerate(ranked[:k], 1) if d in right]
    ideal = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
    dcg = sum(max(gains.get(d, 0), 0) / math.log2(i + 1) for i, d in enumerate(ranked[:k], 1))
    ap = sum(sum(j <= i for j in found) / i for i in found) / len(right)
    return {
        f"hit@{k}": float(bool(found)),
        f"recall@{k}": len(found) / len(right),
        f"precision@{k}": len(found) / k,
        f"AP@{k}": ap,
        f"nDCG@{k}": dcg / sum(gain / math.log2(i + 1) for i, gain in enumerate(ideal, 1)),
        "RR": next((1 / i for i, d in enumerate(ranked, 1) if d in right), 0.0),
    }


@pytest.mark.parametrize("seed", range(5))
def test_every_measure_is_its_definition(seed):
    qrels, run = random_run(seed)
    table, judged = numbered(qrels, run, by_trec)
    values = measure(table, judged, (1, 3, 5, 10, 100))
    for q in range(len(table)):
        pairs = judged.query == q
        gains = dict(zip(judged.document[pairs].tolist(), judged.gain[pairs].tolist(), strict=True))
        ranked = [d for d in table[q].tolist() if d >= 0]
        for k in (1, 3, 5, 10, 100):
            for name, value in by_definition(ranked, gains, k).items():
                assert values[name][q] == pytest.approx(value, abs=TOLERANCE), (name, q)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_ir_measures_with_ties(seed):
    ir_measures = pytest.importorskip("ir_measures", reason='no ir_measures: pip install -e ".[crosscheck]"')
    from ir_measures import AP, RR, P, R, Success, nDCG

    qrels, run = random_run(seed)
    table, judged = numbered(qrels, run, by_trec)
    ours = measure(table, judged)
    wanted = {RR: "RR"}
    for k in KS:
        wanted |= {Success @ k: f"hit@{k}", R @ k: f"recall@{k}", P @ k: f"precision@{k}"}
        wanted |= {AP @ k: f"AP@{k}", nDCG @ k: f"nDCG@{k}"}
    theirs = ir_measures.calc_aggregate(wanted, qrels, run)
    for name, value in theirs.items():
        assert ours[wanted[name]].mean() == pytest.approx(value, abs=TOLERANCE), wanted[name]


@pytest.mark.filterwarnings("ignore")  # numba's
@pytest.mark.parametrize("seed", range(3))
def test_the_same_as_ranx_with_ties(seed):
    ranx = pytest.importorskip("ranx", reason='no ranx: pip install -e ".[crosscheck]"')
    qrels, run = random_run(seed)
    run = {query: run.get(query) or {"none": 0.0} for query in qrels}  # ranx wants a result for each
    their_run = ranx.Run(run)
    their_run.sort()
    order = {query: list(results) for query, results in their_run.to_dict().items()}
    table, judged = numbered(
        qrels, run, lambda results: [(d, 0) for d in next(o for q, o in order.items() if run[q] is results)]
    )
    ours = measure(table, judged)
    positive = {q: {d: gain for d, gain in judged_.items() if gain > 0} for q, judged_ in qrels.items()}
    wanted = {"mrr": "RR"}
    for k in KS:
        wanted |= {f"hit_rate@{k}": f"hit@{k}", f"recall@{k}": f"recall@{k}", f"precision@{k}": f"precision@{k}"}
        wanted |= {f"map@{k}": f"AP@{k}", f"ndcg@{k}": f"nDCG@{k}"}
    theirs = ranx.evaluate(ranx.Qrels(positive), their_run, list(wanted))
    for name, value in theirs.items():
        assert ours[wanted[name]].mean() == pytest.approx(value, abs=TOLERANCE), name


def test_a_query_without_results_is_a_miss_and_stays_in_the_mean():
    judged = Qrels.of([(0, 3, 1.0), (1, 4, 1.0)], 2)
    values = measure(np.array([[3, 1], [-1, -1]]), judged, (1, 2))
    assert {name: value.tolist()[1] for name, value in values.items()} == dict.fromkeys(values, 0.0)
    assert values["hit@1"].mean() == 0.5


def test_hit_and_recall_differ_where_a_query_has_several_right_documents():
    judged = Qrels.of([(0, d, 1.0) for d in range(5)], 1)
    values = measure(np.array([[0, 7, 1, 8, 9]]), judged, (5,))
    assert (values["hit@5"][0], values["recall@5"][0], values["precision@5"][0]) == (1.0, 0.4, 0.4)


def clip_benchmark(scores, positive, k: int) -> float:
    """CLIP_benchmark's retrieval figure, from its definition: the mean over a score matrix's rows of "recall@k > 0"."""
    first = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(positive, first, axis=1).sum(axis=1)
    return float((found / positive.sum(axis=1) > 0).mean())


def test_hit_is_what_clip_benchmark_prints():
    draw = np.random.default_rng(0)
    images = unit(draw.standard_normal((200, 32)))
    texts = unit(np.repeat(images, 5, axis=0) + 0.35 * draw.standard_normal((1000, 32)))
    owner = np.repeat(np.arange(200), 5)
    positive = owner[:, None] == np.arange(200)
    scores = texts @ images.T
    to_images = Qrels.of([(t, int(i), 1.0) for t, i in enumerate(owner)], 1000)
    to_texts = Qrels.of([(int(i), t, 1.0) for t, i in enumerate(owner)], 200)
    ours = measure(score_all(texts, images, np.arange(200), to_images).nearest, to_images)
    back = measure(score_all(images, texts, np.arange(1000), to_texts).nearest, to_texts)
    for k in KS:
        assert 0.05 < ours[f"hit@{k}"].mean() < 0.999
        assert ours[f"hit@{k}"].mean() == pytest.approx(clip_benchmark(scores, positive, k), abs=1e-6)
        assert back[f"hit@{k}"].mean() == pytest.approx(clip_benchmark(scores.T, positive.T, k), abs=1e-6)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_exact_ranks_on_a_circle():
    """Documents at 0, 10, 20, ... degrees; a query at 0 whose right document is at 30 has rank 4, one at 34 rank 2."""

    def at(degrees):
        radians = np.radians(np.array(degrees, np.float64))
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)

    judged = Qrels.of([(0, 3, 1.0), (1, 4, 1.0), (2, 9, 1.0)], 4)
    scores = score_all(at([0, 34, 0, 0]), at(range(0, 90, 10)), np.arange(9), judged)
    assert scores.ranks.tolist() == [4, 2, 10, 10]  # document 9 is not there, query 3 has none: last, and one more
    assert scores.nearest[1, :3].tolist() == [3, 4, 2]
    assert scores.matches.sum() == 2 and scores.others.sum() == 4 * 9 - 2 and scores.pairs == 3


def test_an_item_ranks_by_its_best_segment():
    segments = unit(np.array([[1, 0], [0, 1], [1, 1]]))
    scores = score_all(unit(np.array([[0.0, 1.0]])), segments, np.array([7, 7, 8]), Qrels.of([(0, 7, 1.0)], 1))
    assert scores.nearest[0, :2].tolist() == [7, 8] and scores.ranks.tolist() == [1]


def test_best_f1():
    judged = Qrels.of([(0, 0, 1.0), (1, 1, 1.0)], 2)
    documents = unit(np.array([[1, 0], [0.6, 0.8]]))
    questions = unit(np.array([[1.0, 0], [1.0, 0.02]]))
    # Scores: 1.00 right, 0.60 wrong; 1.00 wrong, 0.62 right.
    best, cut = score_all(questions, documents, np.arange(2), judged).best_f1()
    assert best == pytest.approx(0.8) and 0.6 < cut <= 0.62


def test_ranks_of_a_run_are_those_of_the_first_right_answer():
    judged = Qrels.of([(0, 5, 1.0), (0, 7, 1.0), (1, 1, 1.0), (2, 9, 1.0)], 3)
    run = np.array([[3, 7, 5], [1, 2, 3], [1, 2, -1]])
    assert ranks_in(run, judged).tolist() == [2, 1, 4]


def test_mean_per_class_recall_counts_every_class_alike():
    right = np.array([1, 1, 1, 0, 0.0])
    assert mean_per_class_recall(right, np.array([3, 3, 3, 3, 8])) == pytest.approx((0.75 + 0) / 2)


def test_bootstrap_covers_a_known_mean():
    """Of 200 intervals for the mean of a fair coin, about 95 % hold 0.5; drawn by groups, they are wider."""
    draw = np.random.default_rng(1)
    held = 0
    for seed in range(200):
        interval = bootstrap({"x": draw.integers(0, 2, 200).astype(float)}, resamples=200, seed=seed)["x"]
        held += interval.low <= 0.5 <= interval.high
    assert 180 <= held <= 199
    together = np.repeat(draw.integers(0, 2, 100).astype(float), 5)
    alone = bootstrap({"x": together})["x"]
    grouped = bootstrap({"x": together}, np.repeat(np.arange(100), 5))["x"]
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)
    assert grouped.mean == alone.mean == together.mean()
    assert bootstrap({"x": together}, seed=3) == bootstrap({"x": together}, seed=3)


def test_permutation_test_on_cases_that_can_be_counted():
    # Three differences of 1: of the eight assignments of signs, two are as extreme: p = 0.25.
    assert permutation_test(np.zeros(3), np.ones(3)).p == pytest.approx(0.25, abs=0.02)
    assert permutation_test(np.ones(50), np.ones(50)) == (0.0, 1.0)
    draw = np.random.default_rng(0)
    worse, better = draw.random(300), draw.random(300) + 0.1
    assert permutation_test(worse, better).p < 0.01
    assert permutation_test(worse, draw.random(300)).p > 0.05
