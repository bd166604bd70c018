"""Measures of a real run, `mini` on photos of Flickr8k val, against other packages that read its TREC files."""

from __future__ import annotations

import pytest

from mmsearch import Library
from mmsearch.indexer.ingest import Options
from mmsearch.retrieval import datasets, trec
from mmsearch.retrieval.datasets import Request
from mmsearch.retrieval.evaluate import linked
from mmsearch.retrieval.metrics import KS
from tests.conftest import DATA

PHOTOS = 250
TOLERANCE = 1e-9
pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def directions(tmp_path_factory):
    """Both directions, with their run and qrels as files."""
    folder = tmp_path_factory.mktemp("real")
    source = DATA / "flickr8k" / "val.jsonl"
    if not source.exists():
        pytest.skip(f"no {source}: set MMSEARCH_DATA")
    captions = folder / "part.jsonl"
    captions.write_text("".join(source.read_text(encoding="utf-8").splitlines(keepends=True)[:PHOTOS]), "utf-8")
    (folder / "files").mkdir()
    request = Request(path=str(captions), images=str(DATA / "flickr8k" / "images"), scratch=str(folder))
    dataset = linked(datasets.read(request), str(folder / "files"))
    with Library(str(folder / "library")) as library:
        library.index([folder / "files"], index="exact", options=Options(follow_links=True))
        report = library.evaluate(dataset)
    assert not report.notes and not dataset.problems
    for direction in report.directions:
        trec.write_run(str(folder / f"{direction.name}.run"), direction, "mini")
        trec.write_qrels(str(folder / f"{direction.name}.qrels"), direction)
    return {direction.name: (direction, folder / direction.name) for direction in report.directions}


@pytest.mark.parametrize("name", ["text-to-image", "image-to-text"])
def test_the_same_as_ir_measures(directions, name):
    ir_measures = pytest.importorskip("ir_measures", reason='no ir_measures: pip install -e ".[crosscheck]"')
    from ir_measures import AP, RR, P, R, Success, nDCG

    direction, files = directions[name]
    run, qrels = ir_measures.read_trec_run(f"{files}.run"), ir_measures.read_trec_qrels(f"{files}.qrels")
    wanted = {RR: "RR"}
    for k in KS:
        wanted |= {Success @ k: f"hit@{k}", R @ k: f"recall@{k}", P @ k: f"precision@{k}"}
        wanted |= {AP @ k: f"AP@{k}", nDCG @ k: f"nDCG@{k}"}
    theirs = {wanted[measure]: value for measure, value in ir_measures.calc_aggregate(wanted, qrels, run).items()}
    assert 0.2 < theirs["hit@1"] < theirs["hit@10"] < 1
    assert theirs == pytest.approx({one: direction.figures[one].mean for one in theirs}, abs=TOLERANCE)


@pytest.mark.filterwarnings("ignore")  # numba's, which compiles for most of a minute: hence one direction
def test_the_same_as_ranx(directions):
    ranx = pytest.importorskip("ranx", reason='no ranx: pip install -e ".[crosscheck]"')
    direction, files = directions["text-to-image"]
    run = ranx.Run.from_file(f"{files}.run", kind="trec")
    qrels = ranx.Qrels.from_file(f"{files}.qrels", kind="trec")
    wanted = {"mrr": "RR"}
    for k in KS:
        wanted |= {f"hit_rate@{k}": f"hit@{k}", f"recall@{k}": f"recall@{k}", f"precision@{k}": f"precision@{k}"}
        wanted |= {f"map@{k}": f"AP@{k}", f"ndcg@{k}": f"nDCG@{k}"}
    theirs = {wanted[measure]: value for measure, value in ranx.evaluate(qrels, run, list(wanted)).items()}
    assert theirs == pytest.approx({one: direction.figures[one].mean for one in theirs}, abs=TOLERANCE)
