"""Evaluation on files whose right answers are known: the fake encoder knows colours, words for them, and pitch."""

from __future__ import annotations

import json
import os
import re
import wave
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.indexer.ingest import Options
from mmsearch.retrieval import confidence, datasets, mine, report, sheet, trec
from mmsearch.retrieval.datasets import Request
from mmsearch.retrieval.evaluate import linked
from mmsearch.retrieval.metrics import measure
from mmsearch.retrieval.texts import Words
from mmsearch.types import Modality

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}


@pytest.fixture
def photos(tmp_path):
    """Photos of one colour each, and captions that name it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def evaluated(tmp_path):
    """Read a set, index its files into a library of their own, ask it."""

    def evaluated(path, index="exact", model="fake", depth=100, mode="dense", **more):
        for name in ("scratch", "files"):
            (tmp_path / name).mkdir()
        request = Request(path=str(path), scratch=str(tmp_path / "scratch"), **more)
        dataset = linked(datasets.read(request), str(tmp_path / "files"))
        library = Library(str(tmp_path / "library"))
        library.index([tmp_path / "files"], model=model, index=index, options=Options(follow_links=True))
        result = library.evaluate(dataset, depth=depth, mode=mode)
        library.close()
        return result

    return evaluated


def captions(folder, rows):
    path = folder / "set.jsonl"
    path.write_text("".join(json.dumps({"image": image, "en": texts}) + "\n" for image, texts in rows))
    return path


def test_a_set_with_known_answers(evaluated, photos):
    """Five questions: three right at once, one right at third place, one whose photo is not there."""
    rows = [("red.png", ["red", "red red"]), ("green.png", ["green"]), ("blue.png", ["red red red green"])]
    result = evaluated(captions(photos, [*rows, ("lost.png", ["blue"])]))
    assert [direction.name for direction in result.directions] == ["text-to-image", "image-to-text"]
    figures = result.figures()
    assert figures["text-to-image/hit@1"] == figures["image_retrieval_recall@1"] == pytest.approx(3 / 5)
    assert figures["text-to-image/hit@5"] == figures["image_retrieval_recall@5"] == pytest.approx(4 / 5)
    assert figures["text-to-image/RR"] == pytest.approx((1 + 1 + 1 + 1 / 3 + 0) / 5)
    # Exact ranks: the lost photo's is the number of photos and one.
    assert sorted(result.directions[0].exact.ranks.tolist()) == [1, 1, 1, 3, 4]
    assert figures["text-to-image/index recall@10"] == 1.0
    # Photos: red finds "red" or "red red", green finds "green", blue finds "blue" first, which is not its own.
    assert figures["text_retrieval_recall@1"] == pytest.approx(2 / 4)
    assert result.directions[1].queries == ["red.png", "green.png", "blue.png", "lost.png"]
    assert result.notes == []  # the front door gave the same answers
    assert [problem.what.partition(":")[0] for problem in result.dataset.problems] == ["lost.png"]


def test_the_default_asks_what_query_asks(evaluated, photos):
    """Words beside a photo are found by the letter where meaning alone finds nothing."""
    (photos / "red.png.txt").write_text("zanzibar")
    rows = [("blue.png", ["blue"]), ("red.png", ["the zanzibar of old"])]
    shares = {}
    for mode in ("hybrid", "dense", "lexical"):
        dataset = datasets.read(Request(path=str(captions(photos, rows)), scratch=str(photos.parent)))
        library = Library(str(photos.parent / f"library of {mode}"))
        library.index([photos], model="fake", index="exact")
        result = library.evaluate(dataset, mode=mode)
        shares[mode] = result.figures()["text-to-image/hit@1"]
        assert result.facts["mode"] == mode and result.notes == []
    assert shares == {"hybrid": 1.0, "dense": 0.5, "lexical": 1.0}
    assert Library(str(photos.parent / "library of dense")).evaluate(dataset).facts["mode"] == "hybrid"


def test_every_report_says_on_what_and_with_what(evaluated, photos):
    result = evaluated(captions(photos, [(f"{name}.png", [name]) for name in COLOURS]))
    wanted = (
        "model", "space", "dataset", "split", "model licence", "revision", "seed", "index", "index settings",
        "search ms p50", "search ms p95", "search per second", "query ms p50", "machine", "peak memory MB", "versions",
    )  # fmt: skip
    assert not [name for name in wanted if result.facts.get(name) in (None, "")]
    assert result.facts["index"] == "exact" and result.facts["versions"]["numpy"] == np.__version__
    document = report.document(result)
    assert json.loads(json.dumps(document)) == document
    assert {f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)} <= set(document)
    page = report.markdown(result)
    assert "| text-to-image (3) | hit@1 | 100.0 | 100.0 - 100.0 |" in page and "| seed | 0 |" in page


def test_f1_at_the_confidence_that_a_query_shows(photos, tmp_path, monkeypatch):
    """Counted from the confidences of real answers: half or more is found."""
    monkeypatch.setattr(confidence, "GUESS", confidence.Fit(1.6, 3.45, -9.0))  # no colour stands out as a photo does
    rows = []
    for number in range(40):
        Image.new("RGB", (40, 30), (6 * number, 250 - 6 * number, 99)).save(photos / f"{number}.png")
        rows.append((f"{number}.png", [["red", "green", "blue"][number % 3] + " red" * (number % 4)]))
    dataset = datasets.read(Request(path=str(captions(photos, rows)), scratch=str(tmp_path)))
    library = Library(str(tmp_path / "library"))
    library.index([photos], model="fake", index="exact")
    found = right = 0
    for name, (text,) in rows:
        hits = library.search(text, k=100, modalities=[Modality.IMAGE])
        sure = [hit.path for hit in hits if (hit.confidence or 0) >= 0.5]
        found, right = found + len(sure), right + (os.fsencode(photos / name) in sure)
    assert 0 < right < len(rows) and found > right
    figures = library.evaluate(dataset).figures()
    assert figures["text-to-image/F1 at confidence 0.5"] == pytest.approx(2 * right / (found + len(rows)))
    assert "image-to-text/F1 at confidence 0.5" not in figures  # a query never looks for captions


class TwoWays(FakeEncoder):
    """Makes other vectors of questions than of documents, and counts the texts."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def encode(self, batch, modality):
        self.seen += batch
        return super().encode(batch, modality)

    def encode_query(self, batch, modality):
        return -super().encode(batch, modality)


def test_questions_are_encoded_as_questions_and_every_text_once():
    encoder, told = TwoWays(), []
    words = Words(encoder, told.append)
    encoder.seen.clear()
    texts = ["red", "a long one", "red", "blue"]
    assert np.array_equal(words.asked(texts), -words.found(texts))
    words.asked(["blue"])
    assert sorted(encoder.seen) == ["a long one", "blue", "red"] and told == [3, 6]
    assert words.found([]).shape == (0, encoder.spec.dim)
    alike = FakeEncoder()
    once = Words(alike, told.append)
    assert np.array_equal(once.asked(texts), once.found(texts)) and told == [3, 6, 3]


def test_a_photo_that_cannot_be_read_is_a_miss_both_ways(evaluated, photos):
    (photos / "green.png").write_bytes(b"\x89PNG broken")
    result = evaluated(captions(photos, [(f"{name}.png", [name]) for name in COLOURS]))
    assert result.figures()["image_retrieval_recall@10"] == pytest.approx(2 / 3)
    assert result.figures()["text_retrieval_recall@10"] == pytest.approx(2 / 3)


def test_other_files_of_the_library_are_wrong_answers(photos, tmp_path):
    Image.new("RGB", (40, 30), (255, 0, 0)).save(photos / "redder.png")
    dataset = datasets.read(Request(path=str(captions(photos, [("red.png", ["red"])])), scratch=str(tmp_path)))
    library = Library(str(tmp_path / "library"))
    library.index([photos], model="fake", index="exact")
    direction = library.evaluate(dataset).directions[0]
    assert len(direction.documents) == 4 and (direction.run >= 0).sum() == 4
    assert str(photos / "redder.png") in direction.documents


@pytest.mark.parametrize("kind", ["flat", "ivfpq"])
def test_approximate_indexes_are_measured_as_they_are(evaluated, photos, kind):
    pytest.importorskip("faiss", reason='no faiss: pip install "mmsearch[cpu]"')
    result = evaluated(captions(photos, [(f"{name}.png", [name]) for name in COLOURS]), index=kind)
    assert result.facts["index"] == kind
    assert result.figures()["image_retrieval_recall@1"] == result.figures()["text_retrieval_recall@1"] == 1.0


def test_classes_photos_and_sounds_and_one_from_the_other(evaluated, tmp_path):
    """Classes by folder: `red` holds photos, `high` sounds, and both have a class `low blue` in common."""
    pytest.importorskip("soundfile", reason='no soundfile: pip install "mmsearch[audio]"')
    for folder in ("red", "low_blue", "high"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (40, 30), (250, number, 0)).save(tmp_path / "set" / "red" / f"{number}.png")
    Image.new("RGB", (40, 30), COLOURS["blue"]).save(tmp_path / "set" / "low_blue" / "1.png")
    for folder, hertz in (("low_blue", 50), ("high", 7900)):
        wave_file(tmp_path / "set" / folder / "1.wav", hertz)
    result = evaluated(tmp_path / "set")
    kinds = ("image", "audio")
    ways = [f"{a}-to-{b}" for kind in kinds for a, b in (("text", kind), (kind, "text"))]
    assert [direction.name for direction in result.directions] == [*ways, "image-to-audio", "audio-to-image"]
    figures = result.figures()
    assert figures["acc1"] == figures["mean_per_class_recall"] == 1.0
    assert figures["audio-to-text/hit@1"] == 1.0
    # Only one photo shares its class with a sound, and the other way round.
    assert [len(direction.queries) for direction in result.directions] == [2, 3, 2, 2, 1, 1]


def wave_file(path, hertz):
    samples = (20000 * np.sin(2 * np.pi * hertz * np.arange(16000) / 16000)).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(samples.tobytes())


def test_texts_that_find_texts(evaluated, tmp_path):
    folder = tmp_path / "set"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": n, "text": f"all {n}"}) + "\n" for n in COLOURS))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "red"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tred\t2\nq\tnone\t1\n")
    result = evaluated(folder)
    (direction,) = result.directions
    assert direction.name == "text-to-text" and direction.documents[int(direction.run[0, 0])] == "red"
    # A document that is not in the corpus is right, and can't be found.
    assert result.figures()["text-to-text/hit@1"] == 1.0
    assert result.figures()["text-to-text/recall@10"] == 0.5


def test_run_and_qrels_read_back_give_the_same_figures(evaluated, photos, tmp_path):
    rows = [("red.png", ["red", "green green red"]), ("green.png", ["green", "blue"])]
    result = evaluated(captions(photos, [*rows, ("blue.png", ["blue"])]))
    direction = result.directions[0]
    # Two photos of the same score must not change places in a tool that breaks ties in its own way.
    tied = replace(direction, scores=np.ones_like(direction.scores))
    trec.write_run(str(tmp_path / "run"), tied, "my model")
    trec.write_qrels(str(tmp_path / "qrels"), tied)
    lines = (tmp_path / "run").read_text().splitlines()
    assert re.fullmatch(r"red\.png#0 Q0 red\.png 1 1 my%20model", lines[0])
    loaded = trec.load(str(tmp_path / "qrels"), [str(tmp_path / "run")])
    assert loaded.queries == direction.queries
    for name, values in measure(loaded.runs[0], loaded.qrels).items():
        assert values.tolist() == pytest.approx(direction.values[name].tolist()), name


@pytest.mark.parametrize(
    ("qrels", "run", "says"),
    [
        ("q 0 d 1\n", "q Q0 d 1\n", "run:1: 4 fields, not 6"),
        ("q 0 d 1\n", "q Q0 d 1 x t\n", "run:1: 'x' is no number"),
        ("q 0 d 1\n", "q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", "run:2: q found d twice"),
        ("q 0 d 0\n", "q Q0 d 1 0.5 t\n", "no right answers"),
        ("q 0 d 1\n", "other Q0 d 1 0.5 t\n", "answers no question"),
    ],
)
def test_trec_files_that_are_wrong(tmp_path, qrels, run, says):
    (tmp_path / "qrels").write_text(qrels)
    (tmp_path / "run").write_text(run)
    with pytest.raises(UsageError, match=says):
        trec.load(str(tmp_path / "qrels"), [str(tmp_path / "run")])


def test_captions_of_my_own_files(photos, tmp_path):
    """Lines of text and rows of tables ask alone, a title and keywords together; photos without are wrong answers."""
    for name, colour in (("plain", (9, 9, 9)), ("deep", (250, 0, 250))):
        Image.new("RGB", (40, 30), colour).save(photos / f"{name}.png")
    (photos / "red.txt").write_text("red\nvery red\n")
    (photos / "green.png.txt").write_text("green")
    (photos / "green.png.json").write_text('{"title": "Meadow", "keywords": ["grass", "green"]}')
    (photos / "captions.csv").write_text("file,caption\nblue.png,the sea\nblue.png,all blue\n")
    exif = Image.Exif()
    exif[0x010E] = "a magenta wall"
    Image.new("RGB", (40, 30), (250, 0, 250)).save(photos / "deep.jpg", exif=exif)
    library = Library(str(tmp_path / "library"))
    library.index([photos], model="fake")
    dataset = mine.read(library.reader)
    found = [(text.text, dataset.documents[d].id) for text, (_, d, _) in zip(dataset.texts, dataset.pairs, strict=True)]
    wanted = [("the sea", "blue.png"), ("all blue", "blue.png"), ("a magenta wall", "deep.jpg"), ("green", "green.png")]
    wanted += [("Meadow grass", "green.png"), ("red", "red.png"), ("very red", "red.png")]
    assert found == [(text, str(photos / name)) for text, name in wanted] and not dataset.problems
    result = library.evaluate(dataset)
    assert len(result.directions[0].documents) == 6 and result.figures()["image_retrieval_recall@5"] > 0.5
    for caption in (*photos.glob("*.txt"), *photos.glob("*.json"), photos / "captions.csv", photos / "deep.jpg"):
        caption.unlink()
    library.index([photos])
    with pytest.raises(UsageError, match="no captions of your files"):
        mine.read(library.reader)


def test_the_failures_page_shows_what_came_and_what_was_right(evaluated, photos, tmp_path):
    result = evaluated(captions(photos, [("red.png", ["green <b>"]), ("green.png", ["green"])]))
    path = tmp_path / "failures.html"
    assert sheet.write(result, str(path)) == len(re.findall('class="row"', path.read_text()))
    page = path.read_text()
    assert "1 of 2 not right at once" in page and "green &lt;b&gt;" in page
    assert f'src="file://{photos}/red.png" loading="lazy" class="right"' in page


def test_plots(evaluated, photos, tmp_path):
    pytest.importorskip("matplotlib", reason='no matplotlib: pip install "mmsearch[plots]"')
    from mmsearch.retrieval import plots

    result = evaluated(captions(photos, [(f"{name}.png", [name]) for name in COLOURS]))
    plots.draw(result, str(tmp_path / "plot.png"))
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.size == (1440, 840)
    plots.draw_settings([("nprobe 1", 0.1, 0.5), ("nprobe 8", 0.7, 0.99)], str(tmp_path / "plot.svg"))
    assert "<svg" in (tmp_path / "plot.svg").read_text()
    with pytest.raises(UsageError, match=r"ends in \.png"):
        plots.draw(result, str(tmp_path / "plot.doc"))
