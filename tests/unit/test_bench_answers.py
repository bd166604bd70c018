"""`bench.answers`: its measures, its two parts, its floors, the encoder with narrow cosines."""

from __future__ import annotations

import numpy as np
import pytest

from bench.answers import make, questions
from bench.answers.ask import BASE, Found
from bench.answers.data import PARTS, forms, nouns, part_of, telling
from bench.answers.floors import Floor, below, short
from bench.answers.make import File, Photo
from bench.answers.rank import wrong_first
from bench.answers.score import area, average_precision, hit, interval, precision
from mmsearch.types import Modality


def test_measures_of_one_question():
    paths, right = ["a", "b", "c", "d"], {"b", "d", "z"}
    assert hit(paths, right, 1) == 0 and hit(paths, right, 2) == 1
    assert precision(paths, right, 2) == 1 / 2
    assert precision(paths, right, 10) == 2 / 3  # three can be right
    assert average_precision(paths, right) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert average_precision([], right) == 0


def test_an_interval_holds_its_mean_and_narrows_with_more_questions():
    few, many = ([0.0, 1.0] * count for count in (10, 1000))
    (mean, low, high), (_, least, most) = interval(few), interval(many)
    assert low < mean == 50 < high and low < least < 50 < most < high
    assert interval(few) == interval(few)


def test_area_counts_ties_half():
    assert area([0.9, 0.5], [0.5, 0.1]) == pytest.approx((1 + 1 + 0.5 + 1) / 4)


def test_words_and_their_forms():
    assert telling("The dog and a Dog's ball") == ["dog", "s", "ball"]
    assert {"puppy", "puppies"} <= forms("puppy") and "women" in forms("woman")
    assert {"dog", "dogs", "puppies"} <= nouns()["dog"]


def test_a_part_never_changes():
    parts = [part_of(f"photo {i}") for i in range(1000)]
    assert set(parts) == set(PARTS) and 450 < parts.count("test") < 550
    assert parts[:6] == ["constants", "constants", "test", "constants", "constants", "test"]


def photo(number: int, *captions: str) -> Photo:
    from pathlib import Path

    words = frozenset(word for caption in captions for word in telling(caption))
    return Photo(Path(f"{number}.jpg"), captions, words=words)


def test_copies_and_whatever_a_caption_names_are_right():
    folder = dict.fromkeys(make.ARRANGEMENTS, "misc")
    dogs = [
        File(f"IMG_{i:04}.JPG", "image", folder, photo(i, "puppies in snow", "two dogs", "a run", "fun", "snow"))
        for i in range(12)
    ]
    copy = File("IMG_0001 (1).JPG", "image", folder, dogs[1].photo, copy_of="IMG_0001.JPG")
    cat = File("IMG_0099.JPG", "image", folder, photo(99, "a cat"))
    place = questions.Place([*dogs, copy, cat], make.FIRST, "number")
    assert place.same(dogs[1]) == {"misc/IMG_0001.JPG", "misc/IMG_0001 (1).JPG"}
    (dog,) = [question for question in questions.single_nouns(place) if question.text == "dog"]
    assert len(dog.right) == 13 and "misc/IMG_0099.JPG" not in dog.right
    assert not [question for question in questions.single_nouns(place) if question.text == "cat"]  # one is too few
    named = {question.text for question in questions.names(place) if question.right == place.same(dogs[1])}
    assert named == {"IMG_0001.JPG", "IMG_0001", "0001", "img 0001"}


def test_a_text_is_wrong_unless_it_has_the_word():
    dog = questions.Question("dog", frozenset(["right.jpg"]), "test")
    said = {"a.txt": {"puppies"}, "b.txt": {"ok"}}
    hits = {name: Found(name, "text" if "txt" in name else "image", None) for name in (*said, "x.jpg", "right.jpg")}
    order = lambda *names: [hits[name] for name in names]  # noqa: E731
    assert wrong_first(dog, order("a.txt", "x.jpg", "right.jpg", "b.txt"), said) == 0
    assert wrong_first(dog, order("x.jpg", "b.txt", "right.jpg"), said) == 1


def figures(one: float, ten: float, over: tuple[float, float] = (1.0, 1.0)) -> dict[str, list[float]]:
    return {
        "hit@1": [one, one - 1, one + 1],
        "hit@10": [ten, ten - 1, ten + 1],
        f"hit@1 over {BASE}": [over[0], over[0] - 1, over[0] + 1],
        f"hit@10 over {BASE}": [over[1], over[1] - 1, over[1] + 1],
    }


def test_floors_name_what_falls_short():
    results = {("case", "hybrid"): figures(20, 60), ("case", BASE): figures(19, 59)}
    assert not short(Floor("case", "hit@1", least=20), results, "hybrid")
    assert "at least 21" in short(Floor("case", "hit@1", least=21), results, "hybrid")
    assert not short(Floor("case", "hit@10", over=1), results, "hybrid")
    assert "at least 61" in short(Floor("case", "hit@10", over=2), results, "hybrid")
    assert "at most 19" in short(Floor("case", "hit@1", most=19), results, "hybrid")
    assert not short(Floor("not asked", "hit@1", least=21), results, "hybrid")


def test_no_kind_may_be_worse_than_the_bare_vectors():
    case = "Chinese captions, by number"
    results = {(case, BASE): figures(10, 40)}
    assert not below({**results, (case, "hybrid"): figures(10, 41)})
    worse = below({**results, (case, "hybrid"): figures(8, 41, over=(-2.0, 1.0))})
    assert len(worse) == 1 and "hit@1 is worse" in worse[0]


def test_confidence_beside_many_more_files():
    plain, more = "confidence: absent nouns", "confidence: absent nouns beside 26000 more"
    results = {(plain, "hybrid"): {"with a hit of 0.5": [6.0]}, (more, "hybrid"): {"with a hit of 0.5": [9.0]}}
    assert not below(results)
    results[more, "hybrid"]["with a hit of 0.5"] = [9.1]
    assert len(below(results)) == 1


def test_narrow_cosines_keep_the_order_of_photos():
    from bench.answers.narrow import load
    from mmsearch.encoders import mini

    pictures = [np.full((224, 224, 3), level, np.uint8) for level in (0, 90, 255)]
    texts = ["a black cat", "snow on a mountain"]
    narrow, plain = (
        [one.encode(texts, Modality.TEXT), one.encode(pictures, Modality.IMAGE)] for one in (load(), mini.load())
    )
    assert all(np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3) for rows in narrow)
    wide, close = plain[0] @ plain[1].T, narrow[0] @ narrow[1].T
    assert np.allclose(close, 0.3 * wide + 0.7 * 0.2, atol=1e-3)
    assert (narrow[0] @ narrow[0].T).min() > 0.6 > close.max()
