"""Filters: the language, its errors, and that a filtered search is brute force over the rows that pass."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.retrieval.dates import period
from mmsearch.retrieval.embed import questions
from mmsearch.retrieval.scale import scale_of
from mmsearch.retrieval.where import parse
from mmsearch.store import artifacts, roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.store.filters import And, Compare, Known, Not, Or, distance_km
from mmsearch.types import Detail, FileStat, MediaFacts, Modality, State


def test_the_language():
    assert parse("width > 2000 and (camera ~ 'X100' or not ext in (jpg, \"heic\")) and lat is known") == And(
        (
            Compare("width", ">", 2000.0),
            Or((Compare("camera", "~", "X100"), Not(Or((Compare("ext", "=", "jpg"), Compare("ext", "=", "heic")))))),
            Known("lat"),
        )
    )
    assert parse("size>=5MB") == Compare("size", ">=", 5e6)
    assert parse("duration_s < 2min") == Compare("duration_s", "<", 120.0)
    assert parse("taken = 2024-06") == Compare("taken", "=", ("2024-06-01T00:00:00", "2024-07-01T00:00:00"))
    june = Compare("taken", "=", ("2023-06-01T00:00:00", "2023-07-01T00:00:00"))
    assert parse("taken = June 2023 and (taken = '2023 june' or taken in (2023-06, jun 2023))") == And(
        (june, Or((june, Or((june, june)))))
    )
    assert parse(r"name = 'it\'s'") == Compare("name", "=", "it's")
    assert parse("a OR b".replace("a", "lat=1").replace("b", "lon=2")) == parse("lat = 1 or lon = 2")


@pytest.mark.parametrize(
    ("source", "column", "says"),
    [
        ("widht > 3", 1, "did you mean width"),
        ("width > big", 9, "width is a number"),
        ("width >", 8, "expected a value"),
        ("width 3", 7, "expected a comparison"),
        ("taken >= someday", 10, "no date"),
        ("width ~ 3", 7, "for texts"),
        ("(width > 3", 11, "expected `)`"),
        ("width > 3 height < 2", 11, "expected `and`"),
        ("camera = 'X100", 10, "not closed"),
        ("ext in jpg", 8, "expected `(`"),
        ("size > 5 apples", 10, "expected `and`"),
        ("size > 5apples", 8, "units: b, kb"),
        ("width > 3; DROP TABLE item", 9, "width is a number"),
        ("", 1, "expected a field"),
        ("lat is nice", 8, "known"),
        ("(" * 60 + "lat = 1", 51, "deep"),
    ],
)
def test_errors_point_at_the_column(source, column, says):
    with pytest.raises(UsageError) as error:
        parse(source)
    message = str(error.value)
    assert f"column {column}:" in message and says in message
    assert message.splitlines()[-1] == "  " + " " * (column - 1) + "^"


@given(st.text(max_size=60))
def test_no_text_does_more_than_be_refused(source):
    with suppress(UsageError):
        parse(source)


# -- filtered search is brute force ----------------------------------------------------------------------------------

CAMERAS = (None, "FUJIFILM X100V", "Canon EOS R5", "it's % an _odd_ one")
NAMES = (b"a.jpg", b"b.JPG", b"sub/c.heic", b"sub/d", b"e.tar.gz", b"\xff.jpg", b".jpg", b"sub/.hidden.jpg")


@pytest.fixture(scope="module")
def stocked(tmp_path_factory):
    """60 items with facts of every kind, or without; and what was written."""
    folder, rng = str(tmp_path_factory.mktemp("where") / "library"), np.random.default_rng(3)
    encoder, records = FakeEncoder(), []
    for i in range(60):
        stem, dot, end = NAMES[i % len(NAMES)].rpartition(b".")
        said = rng.random(6) < 0.7
        facts = MediaFacts(
            width=int(rng.integers(1, 5)) * 1000 if said[0] else None,
            taken=f"2024-{rng.integers(1, 13):02}-{rng.integers(1, 29):02}T{rng.integers(24):02}:00:00"
            if said[1]
            else None,
            camera=CAMERAS[rng.integers(len(CAMERAS))],
            lat=float(rng.uniform(-90, 90)) if said[2] else None,
            lon=float(rng.uniform(-180, 180)) if said[2] else None,
            duration_s=float(rng.integers(0, 60)) if said[3] else None,
        )
        colour = rng.integers(0, 255, 3).astype(np.uint8)
        pixels = np.broadcast_to(colour, (8, 8, 3))
        records.append(
            Record(
                file=FileStat(b"%s%d%s%s" % (stem, i, dot, end), int(rng.integers(1, 9)) * 10**6, i * 10**15, i),
                state=State.OK,
                modality=(Modality.IMAGE, Modality.VIDEO)[i % 2],
                spans=(None,),
                details=(Detail(Modality.AUDIO if i % 4 == 1 else None),),
                facts=facts,
                vectors=encoder.encode([pixels], Modality.IMAGE),
            )
        )
    with Catalog(folder) as catalog:
        scope = roots.claim(catalog, b"/files")
        catalog.write_batch(scope.root_id, catalog.space(encoder.spec).id, records)
    with Library(folder) as library:
        yield library, records


def say(record: Record, field: str):
    """What a file says of itself, found out without the code under test."""
    base = os.path.basename(record.file.path).decode(errors="replace")
    modified = datetime.fromtimestamp(record.file.mtime_ns / 1e9).isoformat()
    match field:
        case "name":
            return base
        case "ext":
            return base.rsplit(".", 1)[1] if "." in base[1:] else ""
        case "path":
            return record.file.path.decode(errors="replace")
        case "size":
            return record.file.size
        case "modified":
            return modified
        case "date":
            return record.facts.taken or modified
        case "modality":
            return str(record.details[0].modality or record.modality)
        case _:
            return getattr(record.facts, field)


def holds(record: Record, field: str, operator: str, value) -> bool:
    said = say(record, field)
    if said is None:
        return False
    if isinstance(value, str) and field in ("taken", "modified", "date"):
        first, after = period(value)
        return {
            "=": first <= said < after,
            "!=": not first <= said < after,
            "<": said < first,
            "<=": said < after,
            ">": said >= after,
            ">=": said >= first,
        }[operator]
    if isinstance(value, str):
        said, value = said.lower(), value.lower()
    return {
        "=": said == value,
        "!=": said != value,
        "<": said < value if operator == "<" else None,
        "<=": said <= value if operator == "<=" else None,
        ">": said > value if operator == ">" else None,
        ">=": said >= value if operator == ">=" else None,
        "~": isinstance(value, str) and value in said,
        "!~": isinstance(value, str) and value not in said,
    }[operator]


ORDER = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
NUMBERS = st.tuples(
    st.sampled_from(["width", "size", "duration_s", "lat", "lon"]),
    ORDER,
    st.sampled_from([0, 1000, 2000, 3000, 10, 30.5, -20, 5000000]),
)
DATES = st.tuples(
    st.sampled_from(["taken", "modified", "date"]),
    ORDER,
    st.sampled_from(["2024", "2024-06", "2024-06-15", "2024-06-15T12:00", "1970", "1970-01-05"]),
)
TEXTS = st.tuples(
    st.sampled_from(["camera", "name", "ext", "path", "modality"]),
    st.sampled_from(["=", "!=", "~", "!~"]),
    st.sampled_from(["x100", "it's % an _odd_ one", "jpg", "JPG", "sub/", "", "%", "video", "audio", "a0.jpg", "gz"]),
)


@st.composite
def conditions(draw, depth=3):
    """A condition as text, and the same as a Python function."""
    kind = draw(st.sampled_from(["compare"] * 3 + ["in", "known"] + (["and", "or", "not"] if depth else [])))
    if kind == "compare":
        field, operator, value = draw(st.one_of(NUMBERS, DATES, TEXTS))
        return f"{field} {operator} {write(value)}", lambda r: holds(r, field, operator, value)
    if kind == "in":
        values = draw(st.lists(st.sampled_from(["jpg", "heic", "gz", ""]), min_size=1, max_size=3))
        negated = draw(st.booleans())
        text = f"ext {'not ' * negated}in ({', '.join(map(write, values))})"
        return text, lambda r: (say(r, "ext").lower() in values) != negated
    if kind == "known":
        field, negated = draw(st.sampled_from(["camera", "taken", "lat"])), draw(st.booleans())
        return f"{field} is {'not ' * negated}known", lambda r: (say(r, field) is not None) != negated
    left, one = draw(conditions(depth - 1))
    if kind == "not":
        return f"not ({left})", lambda r: not one(r)
    right, other = draw(conditions(depth - 1))
    both = (lambda r: one(r) and other(r)) if kind == "and" else (lambda r: one(r) or other(r))
    return f"({left}) {kind} ({right})", both


def write(value) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'" if isinstance(value, str) else str(value)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conditions(), st.integers(1, 70))
def test_a_filtered_search_is_brute_force(stocked, condition, k):
    library, records = stocked
    text, passes = condition
    question = FakeEncoder().encode(["red blue"], Modality.TEXT)[0]
    scores = {r.file.path: float(r.vectors[0].astype(np.float16).astype(np.float32) @ question) for r in records}
    expected = sorted(
        (p for p in scores if passes(next(r for r in records if r.file.path == p))), key=lambda p: -scores[p]
    )
    answer = library.search("red blue", k=k, where=text, mode="dense")
    assert [os.path.relpath(hit.path, b"/files") for hit in answer] == expected[:k], text


@settings(max_examples=60, deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(0, 21000))
def test_near_is_the_distance_on_the_sphere(stocked, lat, lon, km):
    library, records = stocked
    places = [(r.file.path, r.facts.lat, r.facts.lon) for r in records if r.facts.lat is not None]
    expected = {path for path, *place in places if great_circle(lat, lon, *place) <= km}
    answer = library.search("red", k=100, near=(lat, lon, km))
    assert {os.path.relpath(hit.path, b"/files") for hit in answer} == expected


def great_circle(lat, lon, other_lat, other_lon) -> float:
    """By vectors, as another way than the haversine under test."""

    def point(a, b):
        a, b = math.radians(a), math.radians(b)
        return np.array([math.cos(a) * math.cos(b), math.cos(a) * math.sin(b), math.sin(a)])

    p, q = point(lat, lon), point(other_lat, other_lon)
    return 6371.0 * math.atan2(float(np.linalg.norm(np.cross(p, q))), float(p @ q))


def test_a_known_distance():
    assert distance_km(48.8566, 2.3522, 51.5074, -0.1278) == pytest.approx(343.6, abs=1)  # Paris to London


def test_since_and_until_take_the_day_in(stocked):
    library, records = stocked
    answer = library.search("red", k=100, since="2024-06", until="2024-06-15")
    expected = {r.file.path for r in records if "2024-06-01" <= say(r, "date") < "2024-06-16"}
    assert {os.path.relpath(hit.path, b"/files") for hit in answer} == expected != set()
    with pytest.raises(UsageError, match="--since"):
        library.search("red", since="someday")


def test_a_filter_that_was_asked_before_knows_what_came_since(tmp_path):
    encoder, folder = FakeEncoder(), str(tmp_path / "library")

    def add(catalog, root_id, space_id, number):
        file = FileStat(b"%d.jpg" % number, number, number, number)
        vectors = encoder.encode([np.full((8, 8, 3), number, np.uint8)], Modality.IMAGE)
        record = Record(file=file, state=State.OK, modality=Modality.IMAGE, spans=(None,), vectors=vectors)
        catalog.write_batch(root_id, space_id, [record])

    with Catalog(folder) as catalog:
        root_id, space_id = roots.claim(catalog, b"/files").root_id, catalog.space(encoder.spec).id
        add(catalog, root_id, space_id, 1)
        with Library(folder) as library:
            for number in (2, 3):
                assert len(library.search("red", where="size > 0").hits) == number - 1
                add(catalog, root_id, space_id, number)
            assert len(library.search("red", where="size > 0").hits) == 3


def test_a_very_long_word_is_no_error(stocked):
    library, _ = stocked
    assert not library.search("red", where=f"camera ~ '{'x' * 60_000}'").hits


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    """600 items, 500 of them in an index; width grows with the score for "red blue", two segments an item."""
    folder, rng = str(tmp_path_factory.mktemp("behind") / "library"), np.random.default_rng(5)
    encoder = FakeEncoder()
    question = encoder.encode(["red blue"], Modality.TEXT)[0]
    vectors = rng.standard_normal((600, 2, encoder.spec.dim)).astype(np.float32)
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float16).astype(np.float32)
    scores = (vectors @ question).max(axis=1)
    widths = np.argsort(np.argsort(scores)) + 1
    records = [
        Record(
            file=FileStat(b"%d.jpg" % i, 1, i, i),
            state=State.OK,
            modality=Modality.IMAGE,
            spans=(None, None),
            facts=MediaFacts(width=int(widths[i])),
            vectors=vectors[i],
        )
        for i in range(600)
    ]
    with Catalog(folder) as catalog:
        root_id, space = roots.claim(catalog, b"/files").root_id, catalog.space(encoder.spec)
        catalog.write_batch(root_id, space.id, records[:500])
        artifacts.refresh(catalog, space, "exact")
        catalog.write_batch(root_id, space.id, records[500:])
    with Library(folder) as library:
        assert library.search("red").index == "exact"
        yield library, scores, widths


@pytest.mark.parametrize("bounds", [(0, 600), (100, 600), (500, 600), (0, 590), (0, 400), (0, 150), (0, 3), (300, 300)])
@pytest.mark.parametrize("k", [1, 10, 120, 700])
def test_no_share_of_files_that_pass_loses_a_hit(behind, bounds, k):
    library, scores, widths = behind
    least, most = bounds
    passing = [i for i in np.argsort(-scores) if least < widths[i] <= most]
    for mode, expected in (("dense", passing), ("hybrid", [i for i in on_scale(library) if i in set(passing)])):
        answer = library.search("red blue", k=k, where=f"width > {least} and width <= {most}", mode=mode)
        assert [int(os.path.basename(hit.path)[:-4]) for hit in answer] == expected[:k], mode


def on_scale(library) -> list[int]:
    """The files in the order of their best ``z``, by brute force over all vectors."""
    reader, space = library.reader, library.active_space()
    scale = scale_of(reader, space, lambda: library.encoder("fake"))
    (question,) = questions(library.encoder("fake"), ["red blue"])
    best: dict[bytes, float] = {}
    for block in reader.blocks(space.id, space.dim):
        live = reader.live(block.ids.tolist())
        for segment, z in zip(block.ids.tolist(), scale.z(question, Modality.IMAGE, block.vectors), strict=True):
            best[live[segment].path] = max(float(z), best.get(live[segment].path, -np.inf))
    return [int(os.path.basename(path)[:-4]) for path in sorted(best, key=lambda path: -best[path])]


@pytest.mark.parametrize("condition", ["size > 4MB", "width is known", "modality = audio", "size > 99MB"])
def test_a_filter_leaves_the_order_by_the_letter(stocked, condition):
    library, records = stocked
    everything = [hit.path for hit in library.search("jpg gz sub", k=100, mode="lexical")]
    passing = {hit.path for hit in library.search("red", k=100, mode="dense", where=condition)}
    assert 10 < len(everything) <= len(records)
    found = [hit.path for hit in library.search("jpg gz sub", k=100, mode="lexical", where=condition)]
    assert found == [path for path in everything if path in passing]
