"""A part of a sound or a film as the question, from the file or from what is stored of it."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.errors import UsageError
from mmsearch.retrieval.moments import split, touches, within
from mmsearch.types import Asked, Query, Span


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("90", 90, 90),
        ("90s", 90, 90),
        ("12.5-14s", 12.5, 14),
        ("1:30", 90, 90),
        ("75:00-75:01.5", 4500, 4501.5),
        ("1:02:03", 3723, 3723),
        ("0:38-0:41", 38, 41),
    ],
)
def test_times(text, start, end):
    assert split(f"a folder@home/talk@2.wav@{text}") == ("a folder@home/talk@2.wav", Span(start, end, "s"))


@pytest.mark.parametrize("text", ["", "x", "1:75", "1:2:3:4", "-5", "5-", "1m", "1:00s", " 5", "٣", "5-6-7"])
def test_what_is_no_time_belongs_to_the_name(text):
    name = f"talk.wav@{text}"
    assert split(name) == (name, None)


def test_a_file_of_the_whole_name_comes_first(tmp_path):
    (tmp_path / "me@12").touch()
    assert split(str(tmp_path / "me@12")) == (str(tmp_path / "me@12"), None)
    assert split(str(tmp_path / "me@13")) == (str(tmp_path / "me"), Span(13, 13, "s"))


def test_a_moment_lies_in_one_of_two_neighbours():
    parts = [Span(i, i + 1, "s") for i in range(5)]
    assert [part.start for part in parts if touches(part, Span(2, 2, "s"))] == [2]
    assert [part.start for part in parts if touches(part, Span(1.5, 3, "s"))] == [1, 2]
    assert [part.start for part in parts if touches(part, Span(1, 3.1, "s"))] == [1, 2, 3]


def test_no_more_is_read_than_is_asked():
    def parts():
        for i in range(10):
            assert i < 4
            yield Span(i, i + 1, "s"), i

    assert within(parts(), Span(1, 2.5, "s"), "a", 32) == [1, 2]
    assert within(parts(), Span(0, 9, "s"), "a", 3) == [0, 1, 2]


# -- sounds and films ------------------------------------------------------------------------------------------------


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as opened:
        yield opened


@pytest.fixture
def talk(tmp_path):
    """A low tone of 15 seconds, then a high one; and each alone."""
    soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")
    rate = 16_000
    low, high = (0.5 * np.sin(2 * np.pi * h * np.arange(rate * 15) / rate) for h in (200, 7000))
    (tmp_path / "media").mkdir()
    for name, samples in (("low", low), ("high", high)):
        soundfile.write(tmp_path / "media" / f"{name}.wav", samples[: rate * 9], rate)
    soundfile.write(tmp_path / "talk.wav", np.concatenate([low, high]), rate)
    return tmp_path / "talk.wav"


def nearest(answer) -> str:
    return os.path.basename(answer.hits[0].path).decode()


def test_a_part_of_a_sound_is_the_question(library, talk):
    library.index([str(talk.parent / "media")], model="fake")
    for part, found in (("0:02-0:05", "low.wav"), ("20-22.5s", "high.wav"), ("0:25", "high.wav"), ("3", "low.wav")):
        assert nearest(library.search(sounds=[f"{talk}@{part}"])) == found, part
        assert nearest(library.ask(Query(parts=(Asked("file", f"{talk}@{part}"),)))) == found
        assert nearest(library.similar(f"{talk}@{part}")) == found


def test_stored_parts_answer_where_the_file_is_indexed(library, talk):
    library.index([str(talk), str(talk.parent / "media")], model="fake")
    from_file = library.search(sounds=[f"{talk}@20-25"], mode="dense")
    stored = library.similar(f"{talk}@20-25")
    assert [hit.path for hit in stored] == [hit.path for hit in from_file if hit.path != os.fsencode(talk)]
    assert stored.hits[0].score == pytest.approx(from_file.hits[1].score, abs=1e-3)
    os.unlink(talk)
    assert nearest(library.similar(f"{talk}@20-25")) == "high.wav"
    assert nearest(library.similar(f"{talk}@0:02")) == "low.wav"
    with pytest.raises(UsageError, match="no such file"):
        library.search(sounds=[f"{talk}@20-25"])


@pytest.mark.parametrize("part", ["0:31", "0:20-0:32", "40-50", "5-3"])
def test_a_part_that_the_file_does_not_have_is_named(library, talk, part):
    library.index([str(talk)], model="fake")
    copy = shutil.copy(talk, talk.with_name("other.wav"))
    for asks in (library.similar, lambda path: library.search(sounds=[path])):
        for file in (talk, copy):
            with pytest.raises(UsageError, match=f"{file}@{part}: .*(ends at 30 s|before it begins)"):
                asks(f"{file}@{part}")


def test_whole_seconds_may_be_rounded_up(library, talk):
    library.index([str(talk.parent / "media")], model="fake")
    assert nearest(library.search(sounds=[f"{talk}@20-31"])) == "high.wav"


def test_a_photo_and_a_text_have_no_seconds(library, tmp_path):
    Image.new("RGB", (9, 9), "red").save(tmp_path / "red.png")
    Image.new("RGB", (9, 9), "red").save(tmp_path / "me@12", "PNG")
    (tmp_path / "note.txt").write_text("red words")
    library.index([str(tmp_path / "red.png"), str(tmp_path / "note.txt")], model="fake")
    for name in ("red.png", "note.txt"):
        for asks in (library.similar, lambda path: library.search(images=[path])):
            with pytest.raises(UsageError, match=f"{name}@3: only of sounds and videos"):
                asks(f"{tmp_path}/{name}@3")
    assert nearest(library.search(images=[tmp_path / "me@12"], mode="dense")) == "red.png"
    assert nearest(library.similar(tmp_path / "me@12")) == "red.png"


def test_a_part_of_a_film_is_its_pictures(library, tmp_path):
    pytest.importorskip("av", reason="the extra [video] is not installed")
    from tests.unit.test_video import film

    (tmp_path / "film.mp4").write_bytes(film(["red", "green", "blue"], 9))
    (tmp_path / "photos").mkdir()
    for colour in ("red", "lime", "blue"):
        Image.new("RGB", (9, 9), colour).save(tmp_path / "photos" / f"{colour}.png")
    library.index([str(tmp_path / "photos")], model="fake")
    parts = {"0:01": "red.png", "4-5": "lime.png", "8": "blue.png"}
    assert {part: nearest(library.search(images=[tmp_path / f"film.mp4@{part}"])) for part in parts} == parts
    from_file = library.search(images=[tmp_path / "film.mp4"], mode="dense")
    library.index([str(tmp_path / "film.mp4")])
    stored = library.similar(tmp_path / "film.mp4")  # its sound is left out either way
    assert [hit.score for hit in stored] == pytest.approx([hit.score for hit in from_file], abs=1e-3)
    assert {part: nearest(library.similar(tmp_path / f"film.mp4@{part}")) for part in parts} == parts
