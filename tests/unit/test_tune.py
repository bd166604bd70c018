"""Tuning: that its figures are true, that what it chooses reaches the target, and that the library uses it."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.retrieval import tuning as tuning_of_library
from mmsearch.retrieval.search import nearest, spare
from mmsearch.retrieval.significance import Interval
from mmsearch.retrieval.tune import IMAGE, TEXT, TRIALS, Corpus, Point, Trial, choose, tune
from mmsearch.store import artifacts, indexes, roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.store.indexes import Setting
from mmsearch.testing import clustered, questions, unit
from mmsearch.types import Embeddings, FileStat, Modality, State

faiss = pytest.importorskip("faiss")

FEW = (
    Trial("exact"),
    Trial("ivfpq", {}, [{"share": 0.02}, {"share": 1.0}], (1, 20)),
    Trial("hnsw", {"links": 8}, [{"ef": 16}, {"ef": 200}]),
    Trial("hash", {"bits": 64}, refines=(1, 40)),
    Trial("sq8", {}, [{"share": 1.0}], (1, 2)),
)


@pytest.fixture(scope="module")
def corpus():
    embeddings = clustered(4000, 32)
    asking = {TEXT: questions(60, embeddings), IMAGE: unit(embeddings.vectors[:60] + 0.01)}

    def stored(ids):
        rows = np.flatnonzero(np.isin(embeddings.ids, ids))
        return Embeddings(embeddings.ids[rows], embeddings.vectors[rows])

    return Corpus(embeddings, asking, stored)


@pytest.fixture(scope="module")
def tuned(corpus):
    return tune(corpus, target=0.9, budget=60, trials=FEW)


def asked_again(corpus, setting, kind, k=10):
    """Recall of a setting by brute force and the public doors alone."""
    embeddings, shares = corpus.embeddings, []
    rows, dim = embeddings.vectors.shape
    made = indexes.build(setting, lambda: iter([embeddings]), rows, dim)
    index = indexes.find(setting.kind).open(_file(made), rows, dim, made.params, device="cpu")
    stored = embeddings.vectors.astype(np.float16).astype(np.float32)
    for vector in corpus.questions[kind]:
        best = embeddings.ids[np.argsort(-(stored @ vector))[:k]]
        ((ids, _),) = nearest(index, vector[None], spare(k), None, corpus.stored)
        shares.append(np.isin(best, ids[:k]).mean())
    return float(np.mean(shares))


def _file(made):
    import tempfile

    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(b"".join(made.chunks))
    return file.name


@pytest.mark.parametrize("kind", ["ivfpq", "hash", "sq8"])  # a graph is built by threads, not twice the same
def test_the_figures_are_those_of_a_real_search(corpus, tuned, kind):
    for point in [point for point in tuned.points if point.setting.kind == kind]:
        for asked in (TEXT, IMAGE):
            assert asked_again(corpus, point.setting, asked) == pytest.approx(point.recall[asked].mean, abs=0.005)


def test_every_kind_is_measured_and_exact_finds_everything(tuned):
    assert {point.setting.kind for point in tuned.points} == {"exact", "ivfpq", "hnsw", "hash", "sq8"}
    exact = tuned.points[0]
    assert exact.recall[TEXT] == exact.recall[IMAGE] == Interval(1.0, 1.0, 1.0)
    assert not tuned.skipped and tuned.asked == {TEXT: 60, IMAGE: 60}
    assert all(0 < point.p50_ms <= point.p95_ms and point.bytes_per_vector > 0 for point in tuned.points)
    code = next(point for point in tuned.points if point.setting.kind == "hash")
    assert code.bytes_per_vector < 32 < exact.bytes_per_vector


def test_what_looks_at_more_finds_no_less(tuned):
    graph = {p.setting.search["ef"]: p.recall[TEXT].mean for p in tuned.points if p.setting.kind == "hnsw"}
    assert list(graph) == sorted(graph) and list(graph.values()) == sorted(graph.values())


def test_the_chosen_one_reaches_the_target_and_is_the_fastest_that_does(tuned):
    good = [p for p in tuned.points if min(p.recall[TEXT].low, p.recall[IMAGE].low) >= 0.9]
    assert tuned.chosen in good
    assert tuned.chosen.p50_ms == min(point.p50_ms for point in good)


def test_the_pareto_set_is_what_nothing_beats(tuned):
    def beats(a, b):
        better = (a.p50_ms <= b.p50_ms, a.bytes_per_vector <= b.bytes_per_vector, a.worst >= b.worst)
        same = (a.p50_ms, a.bytes_per_vector, a.worst) == (b.p50_ms, b.bytes_per_vector, b.worst)
        return all(better) and not same

    for point in tuned.points:
        assert point.pareto == (not any(beats(other, point) for other in tuned.points))


def point(kind, ms, text, image):
    interval = {TEXT: Interval(text, text - 0.01, text + 0.01), IMAGE: Interval(image, image - 0.01, image + 0.01)}
    return Point(Setting(kind), 1.0, 8.0, interval, ms, ms)


def test_pictures_alone_choose_what_misses_for_words():
    points = [point("exact", 9, 1.02, 1.02), point("hnsw", 1, 0.6, 1.0), point("sq8", 3, 1.0, 1.0)]
    assert choose(points, 0.98, [IMAGE]).setting.kind == "hnsw"
    assert choose(points, 0.98, [TEXT, IMAGE]).setting.kind == "sq8"
    assert choose(points, 0.995, [TEXT, IMAGE]).setting.kind == "exact"  # the others' intervals reach below


def test_without_time_only_exact_is_measured_and_the_rest_is_named(corpus):
    short = tune(corpus, budget=0.0, trials=FEW)
    assert [p.setting.kind for p in short.points] == ["exact"]
    assert short.chosen.setting.kind == "exact" and len(short.skipped) == len(FEW) - 1
    assert all("time" in line for line in short.skipped)


def test_without_faiss_the_extra_is_named_and_codes_are_still_measured(corpus, monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = tune(corpus, budget=60, trials=FEW)
    assert {p.setting.kind for p in found.points} == {"exact", "hash"}
    assert len(found.skipped) == 3 and all("mmsearch[cpu]" in line for line in found.skipped)


def test_every_trial_of_the_table_can_be_built_and_searched():
    embeddings = clustered(300, 64)
    for trial in TRIALS:
        options = {**trial.searches[0], **({"refine": trial.refines[0]} if trial.refines else {})}
        setting = Setting(trial.kind, trial.build, options)
        made = indexes.build(setting, lambda: iter([embeddings]), 300, 64)
        assert setting.matches(made.params)
        index = indexes.open_index(trial.kind, _file(made), 300, 64, made.params)
        assert index.spec.refine == options.get("refine", index.spec.refine)
        assert index.search(embeddings.vectors[:2], 5).counts.min() > 0


# -- a library --------------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as library:
        add(library, 0, 1500)
        yield library


def add(library, start, stop, captions=None):
    encoder = FakeEncoder()
    vectors = encoder.encode(
        [np.full((8, 8, 3), (i % 256, i // 6 % 256, 99), np.uint8) for i in range(start, stop)], Modality.IMAGE
    )
    with Catalog(library.folder) as catalog:
        space, scope = catalog.space(encoder.spec), roots.claim(catalog, b"/photos")
        records = [
            Record(
                file=FileStat(b"%d.png" % i, 1, 1, i),
                state=State.OK,
                modality=Modality.IMAGE,
                spans=(None,),
                vectors=vectors[i - start : i - start + 1],
                caption=captions and f"{captions} {i}",
            )
            for i in range(start, stop)
        ]
        catalog.write_batch(scope.root_id, space.id, records)


def test_a_library_is_tuned_with_questions_of_its_own(library):
    found = library.tune(budget=3, questions=50, target=0.9)
    assert found.asked == {TEXT: 50, IMAGE: 50}
    assert found.rows == 1450  # what asks is left out of what is searched
    assert found.facts["text questions"] == "50 sentences of our own"
    assert json.loads(json.dumps(found.document()))["chosen"] == found.chosen.name
    assert artifacts.tuned(library.reader, library.active_space()) == found.chosen.setting


def test_a_small_library_is_scanned_and_nothing_else_is_built(library):
    found = library.tune(budget=100, questions=20)
    assert [point.name for point in found.points] == ["exact"] and found.chosen.name == "exact"
    assert found.skipped == ["all other kinds: FAISS takes longer to load than 1500 vectors to be scanned"]
    assert artifacts.tuned(library.reader, library.active_space()) == Setting("exact")


def test_a_larger_library_is_tried_with_every_kind(library, monkeypatch):
    monkeypatch.setattr(tuning_of_library, "SMALL", 0)
    told = []
    library.tune(budget=3, questions=20, dry_run=True, progress=told.append)
    assert told[0] == "20 texts encoded" and [line.partition(":")[0] for line in told[1:-1]] == [t.name for t in TRIALS]


def test_captions_ask_before_sentences(library):
    add(library, 1500, 1530, "a red thing")
    found = library.tune(budget=1, questions=50, dry_run=True)
    assert found.facts["text questions"] == "30 captions, 20 sentences of our own"
    assert artifacts.tuned(library.reader, library.active_space()) is None


def test_a_model_without_words_is_tuned_by_pictures(library):
    encoder = FakeEncoder()
    encoder.spec = dataclasses.replace(encoder.spec, modalities=frozenset({Modality.IMAGE}))
    found = tuning_of_library.tune_library(library.reader, library.active_space(), encoder, budget=1)
    assert list(found.asked) == [IMAGE] and found.facts["text questions"].startswith("none")


def test_a_sample_is_measured_of_a_large_library(library):
    found = library.tune(budget=1, rows=600, questions=50, dry_run=True)
    assert 400 < found.rows < 700 and found.facts["vectors"] == 1500


def test_auto_builds_what_was_chosen_and_answers_alike(library):
    before = [(hit.path, round(hit.score, 4)) for hit in library.search("red", k=5)]
    found = library.tune(budget=1, questions=50)
    setting = Setting("ivfpq", {"bits": 8}, {"share": 1.0, "refine": 60})
    chosen = dataclasses.replace(found, chosen=dataclasses.replace(found.chosen, setting=setting))
    with library.catalog() as catalog:
        space = library.active_space()
        tuning_of_library.keep(catalog, space, chosen)
        artifacts.refresh(catalog, space, "auto")
        artifact = artifacts.publish(catalog, space)
        assert artifact.kind == "ivfpq" and "PQ4x8" in artifact.params
        assert artifacts.publish(catalog, space, "ivfpq").params == artifact.params  # as `repair` does
        assert artifacts.refresh(catalog, space, "auto") is None  # nothing is built twice
        assert artifacts.refresh(catalog, space, "exact").kind == "exact"
        assert artifacts.refresh(catalog, space, "auto").kind == "ivfpq"
    answer = library.search("red", k=5)
    assert answer.index == "ivfpq"
    assert [(hit.path, round(hit.score, 4)) for hit in answer] == before


def test_what_can_not_be_built_here_is_not_used(library, monkeypatch):
    with library.catalog() as catalog:
        space = library.active_space()
        catalog.set(f"tuned:{space.id}", json.dumps({"setting": {"kind": "hnsw"}, "rows": 1500}))
        monkeypatch.setattr(indexes, "find_spec", lambda name: None)
        assert artifacts.publish(catalog, space).kind == "exact"


def test_a_library_that_has_doubled_is_to_be_tuned_again(library, tmp_path):
    library.tune(budget=1, questions=50)
    space = library.active_space()
    assert not artifacts.outgrown(library.reader, space)
    add(library, 1500, 3100)
    assert artifacts.outgrown(library.reader, space)


def test_too_few_vectors_are_not_tuned(tmp_path):
    with Library(str(tmp_path / "small")) as small:
        add(small, 0, 20)
        with pytest.raises(UsageError, match="20 vectors are too few"):
            small.tune()


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_plot_is_drawn(tuned, tmp_path, ending):
    pytest.importorskip("matplotlib", reason="no matplotlib: plots are not drawn here")
    from mmsearch.retrieval.tune_plot import draw

    path = tmp_path / f"tune.{ending}"
    draw(tuned, str(path))
    assert path.stat().st_size > 10_000
    with pytest.raises(UsageError, match="ends in"):
        draw(tuned, str(tmp_path / "tune.bmp"))
