"""Several moments of a file: the best spans, its own first, none over another."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders.fake import AXES, FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.types import Detail, FileStat, Modality, Span, State
from tests.unit.test_ask import Record, picture, stock

# How high each window of three seconds sounds, one second shared with the next: best at 10, then 8, 4, 0, 14.
HEIGHTS = (0.5, 0.1, 0.7, 0.2, 0.8, 0.9, 0.05, 0.3)


def sound(name: str, heights) -> Record:
    rows = np.full((len(heights), 32), 1e-3)
    rows[:, AXES.index("high")] += heights
    rows[:, AXES.index("low")] += 1 - np.array(heights)
    return Record(
        file=FileStat(os.fsencode(name), 1, 1, 1),
        state=State.OK,
        modality=Modality.AUDIO,
        spans=tuple(Span(2.0 * i, 2.0 * i + 3, "s") for i in range(len(heights))),
        vectors=(rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32),
    )


@pytest.fixture
def library(tmp_path):
    folder = str(tmp_path / "library")
    stock(folder, [sound("sweep.wav", HEIGHTS), picture("red.png", (220, 20, 20)), letter()])
    with Library(folder) as library:
        yield library


def letter() -> Record:
    texts = ["a pear and an apple", "red", "an apple a day", "a pear"]
    return Record(
        file=FileStat(b"fruit.txt", 1, 1, 1),
        state=State.OK,
        modality=Modality.TEXT,
        spans=tuple(Span(100.0 * i, 100.0 * i + 90, "char") for i in range(len(texts))),
        vectors=FakeEncoder().encode(texts, Modality.TEXT),
        details=tuple(Detail(None, text, i + 1) for i, text in enumerate(texts)),
    )


def starts(hit) -> list[float]:
    return [moment.span.start for moment in hit.moments]


@pytest.mark.parametrize("mode", ["hybrid", "dense"])
def test_the_best_that_do_not_overlap_best_first(library, mode):
    (hit,) = library.search("high", modalities=[Modality.AUDIO], mode=mode, moments=3)
    assert starts(hit) == [10, 4, 0], "what begins at 8 is second best, but shares a second with the best"
    first = hit.moments[0]
    assert (first.span, first.segment_id, first.cosine) == (hit.span, hit.segment_id, pytest.approx(hit.cosine))
    assert [moment.score for moment in hit.moments] == sorted((moment.score for moment in hit.moments), reverse=True)
    assert first.score == pytest.approx(hit.score, abs=1e-5)


def test_more_than_there_are(library):
    (hit,) = library.search("high", modalities=[Modality.AUDIO], moments=100)
    assert starts(hit) == [10, 4, 0, 14]
    spans = [moment.span for moment in hit.moments]
    assert all(a.end <= b.start or b.end <= a.start for a, b in itertools.combinations(spans, 2))


def test_one_is_the_hits_own_and_a_photo_has_none(library):
    hits = {hit.path: hit for hit in library.search("high")}
    assert [moment.span for moment in hits[b"/files/sweep.wav"].moments] == [hits[b"/files/sweep.wav"].span]
    assert hits[b"/files/red.png"].moments == ()
    with pytest.raises(UsageError, match="moments"):
        library.search("high", moments=0)


def test_passages_of_a_document(library):
    (hit,) = library.search("apple", mode="lexical", moments=3)
    assert sorted(moment.page for moment in hit.moments) == [1, 3], "by the letter only what has a word of the question"
    (hit,) = library.search("pear", modalities=[Modality.TEXT], moments=2)
    assert {moment.text for moment in hit.moments} == {"a pear and an apple", "a pear"}, "ranked with their words"
    (hit,) = library.search("pear", modalities=[Modality.TEXT], moments=3, where="page > 1")
    assert sorted(moment.page for moment in hit.moments) == [2, 3, 4], "what the filter leaves"


def test_scenes_of_a_film(tmp_path):
    pytest.importorskip("av", reason="the extra [video] is not installed")
    from tests.unit.test_video import film

    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "flags.mp4").write_bytes(film(["red", "green", "blue", "red", "green"]))
    with Library(str(tmp_path / "library")) as library:
        library.index([str(tmp_path / "films")], model="fake")
        (hit,) = library.search("red", moments=2)
        assert sorted(round(start) for start in starts(hit)) == [0, 9]
        (hit,) = library.search("red", moments=10)
        assert len(hit.moments) == 5 and sorted(round(start) for start in starts(hit)[:2]) == [0, 9]
