"""Questions without words: what passes the filters, in an order, from the catalog alone."""

from __future__ import annotations

import dataclasses

import pytest

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.types import Detail, MediaFacts, Modality, Query, Span
from tests.unit.test_ask import BLUE, DARK, RED, names, picture, stock


def file(name: str, taken: str | None = None, camera: str | None = None, changed: int = 0, **more):
    record = picture(name, RED, facts=MediaFacts(taken=taken, camera=camera, **more))
    return dataclasses.replace(record, file=record.file._replace(mtime_ns=changed * 86_400_000_000_000))


FILES = [
    file("b/1.jpg", "2024-06-01T10:00:00", "Canon EOS R5"),
    file("a/2.jpg", "2024-06-03T10:00:00", "FUJIFILM X100V", lat=48.86, lon=2.35),
    file("a/3.jpg", "2023-01-01T00:00:00"),
    file("c/4.jpg", None, None, 19_000),  # 2022-01-08
    file("c/5.jpg", "2025-01-01T00:00:00", "Canon EOS R5"),
]
NEWEST_FIRST = ["c/5.jpg", "a/2.jpg", "b/1.jpg", "a/3.jpg", "c/4.jpg"]


@pytest.fixture
def library(tmp_path, monkeypatch):
    def refuse(name, device="cpu"):
        raise AssertionError("a listing loads no model")

    stock(str(tmp_path / "library"), FILES)
    monkeypatch.setattr("mmsearch.encoders.registry.load", refuse)
    with Library(str(tmp_path / "library")) as opened:
        yield opened


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"since": "2000"}, NEWEST_FIRST),
        ({"since": "2000", "k": 2}, NEWEST_FIRST[:2]),
        ({"since": "2000", "k": 2, "sort": "date:asc"}, ["c/4.jpg", "a/3.jpg"]),
        ({"since": "2000", "sort": "score:asc"}, NEWEST_FIRST[::-1]),
        ({"since": "2000", "sort": "taken"}, NEWEST_FIRST),
        ({"since": "2000", "sort": "taken:asc"}, ["a/3.jpg", "b/1.jpg", "a/2.jpg", "c/5.jpg", "c/4.jpg"]),
        ({"since": "2000", "sort": "path", "k": 3}, ["a/2.jpg", "a/3.jpg", "b/1.jpg"]),
        ({"since": "2000", "sort": "path:desc", "k": 2}, ["c/5.jpg", "c/4.jpg"]),
        ({"where": "camera ~ canon"}, ["c/5.jpg", "b/1.jpg"]),
        ({"until": "June 2024", "since": "2023"}, ["a/2.jpg", "b/1.jpg", "a/3.jpg"]),
        ({"near": (48.8, 2.3, 20.0)}, ["a/2.jpg"]),
        ({"within": "/files/a"}, ["a/2.jpg", "a/3.jpg"]),
        ({"modalities": [Modality.AUDIO]}, []),
        ({"where": "camera = nobody"}, []),
    ],
)
def test_filters_alone_list_files(library, options, found):
    answer = library.search(**options)
    assert names(answer) == found
    assert [hit.rank for hit in answer] == list(range(1, len(found) + 1))
    assert (answer.index, answer.spaces) == ("listing", ())
    assert all(
        (hit.score, hit.confidence, hit.space, hit.span, hit.found_by) == (0, None, "", None, ()) for hit in answer
    )


def test_a_hit_has_its_date(library):
    newest, *_, oldest = library.search(since="2000")
    assert newest.date == newest.taken == "2025-01-01T00:00:00"
    assert oldest.taken is None and oldest.date.startswith("2022-01-08")


def test_groups_keep_the_order(library):
    answer = library.search(since="2000", group="folder")
    assert names(answer) == ["c/5.jpg", "c/4.jpg", "a/2.jpg", "a/3.jpg", "b/1.jpg"]


def test_without_words_and_filters_nothing_is_asked(library):
    for empty in (library.search, lambda: library.ask(Query(parts=()))):
        with pytest.raises(UsageError, match="nothing was asked"):
            empty()
    with pytest.raises(UsageError, match="--where"):
        library.search(where="widht > 3")


def test_a_file_is_listed_once_however_many_of_its_parts_pass(library):
    chunks = ("one green", "two red", "three red")
    document = dataclasses.replace(
        picture("doc.txt", DARK, facts=MediaFacts(taken="2030-01-01T00:00:00")),
        modality=Modality.TEXT,
        spans=tuple(Span(i, i + 1, "char") for i in range(3)),
        details=tuple(Detail(None, text, page) for page, text in enumerate(chunks, 1)),
        vectors=FakeEncoder().encode(chunks, Modality.TEXT),
    )
    film = dataclasses.replace(
        picture("film.mp4", BLUE),
        modality=Modality.VIDEO,
        spans=(Span(0, 1, "s"), Span(0, 3, "s")),
        details=(Detail(), Detail(Modality.AUDIO)),
        vectors=FakeEncoder().encode(["blue", "low"], Modality.TEXT),
    )
    stock(library.folder, [document, film])
    (hit,) = library.search(where="page >= 2")
    assert (names([hit]), hit.text, hit.span) == (["doc.txt"], "two red", None)
    assert [hit.modality for hit in library.search(where="name = film.mp4")] == [Modality.VIDEO]
    assert [hit.modality for hit in library.search(modalities=[Modality.AUDIO])] == [Modality.AUDIO]
    assert names(library.search(since="2000", k=1)) == ["doc.txt"]


def test_what_is_gone_is_not_listed(library):
    with library.catalog() as catalog:
        item = next(item for item in catalog.reader.items() if item.path.endswith(b"5.jpg"))
        catalog.mark_gone([item.id])
    assert names(library.search(since="2000")) == NEWEST_FIRST[1:]


def test_near_duplicates_are_not_hidden_in_silence(library):
    assert library.search(since="2000", unique=True).notes
    assert not library.search(since="2000").notes


@pytest.mark.parametrize(("mtime_ns", "place"), [(2**63 - 1, 0), (-(2**63), 5)])
def test_any_time_that_a_disk_can_hold_has_its_place(library, mtime_ns, place):
    odd = file("z.jpg")
    stock(library.folder, [dataclasses.replace(odd, file=odd.file._replace(mtime_ns=mtime_ns))])
    assert names(library.search(within="/files")).index("z.jpg") == place
