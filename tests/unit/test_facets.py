"""Counts of what was found: right, and each with a filter that finds just so many."""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections import Counter

import pytest

from mmsearch import Library
from mmsearch.cli import query as command
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.retrieval.facets import FIELDS, MOST, of_hits
from mmsearch.types import Detail, Modality, Query, Span
from tests.unit.test_ask import BLUE, models, picture, stock  # noqa: F401
from tests.unit.test_listing import file

ODD = """it's "an" $odd \\ `one`"""
FILES = [
    file("a/1.jpg", "2024-06-01T10:00:00", "Canon EOS R5"),
    file("a/2.jpg", "2024-06-30T10:00:00", "CANON EOS R5"),
    file("a/b/3.jpg", "2024-01-01T00:00:00", "Canon EOS R5"),
    file("a/b/c d's/4.jpg", None, ODD, 19_000),
    file(os.fsdecode(b"ab/\xff/5.jpg"), "2023-12-31T23:59:59"),
    file("6.jpg", "2023-12-31T23:59:59"),
    dataclasses.replace(file("7.jpg"), file=file("7.jpg").file._replace(mtime_ns=-(2**63))),
    dataclasses.replace(
        picture("8.mp4", BLUE),
        modality=Modality.VIDEO,
        spans=(Span(0, 1, "s"), Span(0, 3, "s")),
        details=(Detail(), Detail(Modality.AUDIO)),
        vectors=FakeEncoder().encode(["blue", "low"], Modality.TEXT),
    ),
]


@pytest.fixture
def library(tmp_path):
    stock(str(tmp_path / "library"), FILES)
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def typed(filters: str) -> Query:
    """What the shell and the command line make of a filter that is pasted."""
    arguments = shlex.split(filters)
    given = dict(zip((name.lstrip("-") for name in arguments[::2]), arguments[1::2], strict=True))
    return command.options(
        100, given.get("in"), given.get("modality"), [given["where"]] if "where" in given else [], None, None, None
    )


QUESTIONS = [Query(where="size > 0"), Query(where="date >= 2023"), Query(where="camera is known")]


@pytest.mark.parametrize("query", QUESTIONS)
def test_each_filter_finds_just_what_was_counted(library, query):
    counted = library.facets(query, FIELDS)
    everything = {hit.path for hit in library.ask(dataclasses.replace(query, k=100))}
    assert (counted.files, counted.more) == (len(everything), False)
    for field, value, count, selects in counted:
        found = {hit.path for hit in library.ask(typed(selects))}
        assert len(found & everything) == count > 0, (field, value, selects)


def test_counts_of_a_listing(library):
    counted = library.facets(Query(where="size > 0"), ["year", "month", "camera", "folder", "modality"])
    found = {field: [(value, count) for f, value, count, _ in counted if f == field] for field in FIELDS}
    assert found["year"] == [("2024", 3), ("2023", 2), ("2022", 1), ("1970", 1), ("1677", 1)]
    assert found["month"][:3] == [("2024-06", 2), ("2024-01", 1), ("2023-12", 2)]
    assert [(value and value.lower(), count) for value, count in found["camera"]] == [
        ("canon eos r5", 3),
        (ODD, 1),
        (None, 4),
    ]
    assert found["folder"] == [
        ("/files", 8),
        ("/files/a", 4),
        ("/files/a/b", 2),
        ("/files/a/b/c d's", 1),
        ("/files/ab/\udcff", 1),
    ]
    assert found["modality"] == [("image", 7), ("audio", 1), ("video", 1)]


def test_hits_are_counted_as_a_listing_is(library):
    fields = ["year", "month", "camera", "folder"]
    asked, listed = (library.facets(query, fields) for query in (library_query("red"), Query(where="size > 0")))
    assert [facet[:3] for facet in asked if facet.field != "camera"] == [
        facet[:3] for facet in listed if facet.field != "camera"
    ]
    assert asked.files == 8 and not asked.more
    filtered = library.facets(library_query("red", where="date = 2024", k=1, sort="path", unique=True), ["year"])
    assert [facet[:3] for facet in filtered] == [("year", "2024", 3)]


def library_query(text: str, **more) -> Query:
    from mmsearch.types import Asked

    return Query(parts=(Asked("text", text),), **more)


def test_the_cut_cuts_the_counts(library):
    greys = [file(f"grey/{i}.jpg", "2020-01-01T00:00:00") for i in range(60)]
    dark = [dataclasses.replace(one, vectors=picture("x", (40 + i, 40, 40)).vectors) for i, one in enumerate(greys)]
    stock(library.folder, dark)
    everything = library.ask(library_query("low", k=100))
    known = sorted((hit.confidence for hit in everything if hit.confidence is not None), reverse=True)
    cut = (known[0] + known[-1]) / 2
    passing = [hit for hit in everything if hit.confidence is None or hit.confidence >= cut]
    assert 0 < len(passing) < len(everything) == 68
    counted = library.facets(library_query("low", min_confidence=cut), ["modality"])
    assert counted.files == len(passing)
    assert {facet.value: facet.files for facet in counted} == Counter(hit.modality for hit in passing)


@pytest.mark.parametrize("count", [99, 100, 101, 150])
def test_a_cut_that_many_pass_loses_none(library, count):
    stock(library.folder, [file(f"more/{i}.jpg") for i in range(count)])
    query = library_query("red", min_confidence=1e-9, within=b"/files/more")
    assert library.facets(query, ["folder"]).files == len(library.ask(dataclasses.replace(query, k=1000))) == count


def test_more_than_is_counted_is_said(library):
    (hit,) = library.search("red", k=1)
    some, more = (of_hits(library.reader, [hit] * count, ["modality"]) for count in (MOST, MOST + 1))
    assert (some.files, some.more, more.files, more.more) == (MOST, False, MOST, True)
    assert some.counted[0].files == more.counted[0].files == MOST


def test_what_makes_no_sense_is_named(library):
    with pytest.raises(UsageError, match="there are year"):
        library.facets(library_query("red"), ["colour"])
    with pytest.raises(UsageError, match="nothing was asked"):
        library.facets(Query(), ["year"])
    assert list(library.facets(Query(where="camera = nobody"), FIELDS)) == []
