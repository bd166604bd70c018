"""Questions through `Library`: arithmetic, words by the letter, several spaces, confidence, order, near-duplicates."""

from __future__ import annotations

import dataclasses
import http.server
import os
import threading

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import UsageError
from mmsearch.retrieval.ask import WORDS
from mmsearch.retrieval.dedup import phash
from mmsearch.retrieval.fuse import K, fuse
from mmsearch.store import roots
from mmsearch.store.catalog import Catalog, Record
from mmsearch.types import Asked, Detail, FileStat, MediaFacts, Modality, Query, Span, State

RED, GREEN, BLUE, DARK = (220, 20, 20), (20, 220, 20), (20, 20, 220), (40, 40, 40)


class Second(FakeEncoder):
    """A model of another space, which knows sounds only."""

    def __init__(self) -> None:
        super().__init__(16)
        self.spec = dataclasses.replace(self.spec, name="second", modalities=frozenset({Modality.AUDIO, Modality.TEXT}))


@pytest.fixture(autouse=True)
def models(monkeypatch):
    known = {"fake": FakeEncoder(), "second": Second()}
    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": known[name])


def picture(name: str, colour, **more) -> Record:
    pixels = np.broadcast_to(np.array(colour, np.uint8), (8, 8, 3))
    return Record(
        file=FileStat(os.fsencode(name), 1, 1, 1),
        state=State.OK,
        modality=Modality.IMAGE,
        spans=(None,),
        vectors=FakeEncoder().encode([pixels], Modality.IMAGE),
        **more,
    )


def stock(folder: str, records, encoder=None) -> None:
    encoder = encoder or FakeEncoder()
    with Catalog(folder) as catalog:
        scope = roots.claim(catalog, b"/files")
        catalog.write_batch(scope.root_id, catalog.space(encoder.spec).id, records)


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def names(answer) -> list[str]:
    return [os.fsdecode(os.path.relpath(hit.path, b"/files")) for hit in answer]


PLAIN = [picture("1.jpg", RED), picture("2.jpg", GREEN), picture("3.jpg", BLUE)]


def test_weights_and_signs(library):
    stock(library.folder, [*PLAIN, picture("4.jpg", (200, 200, 20))])
    both = (Asked("text", "red"), Asked("text", "green"))
    assert names(library.ask(Query(parts=both, k=1))) == ["4.jpg"]
    assert names(library.ask(Query(parts=(both[0], both[1]._replace(weight=-1)), k=1))) == ["1.jpg"]
    assert names(library.ask(Query(parts=(both[0]._replace(weight=0.2), both[1]), k=1))) == ["2.jpg"]
    assert names(library.ask(Query(parts=(both[0]._replace(weight=-1),))))[-1] == "1.jpg"


def test_files_are_parts_of_a_question(library, tmp_path):
    stock(library.folder, PLAIN)
    Image.new("RGB", (9, 9), RED).save(tmp_path / "mine.png")
    file = Asked("file", str(tmp_path / "mine.png"))
    assert names(library.ask(Query(parts=(file,), k=1))) == ["1.jpg"]
    minus = (file, Asked("text", "blue", 2.0), Asked("text", "red", -1.0))
    assert names(library.ask(Query(parts=minus, k=1))) == ["3.jpg"]


def test_an_address_is_fetched_only_when_allowed(library, tmp_path, monkeypatch):
    stock(library.folder, PLAIN)
    Image.new("RGB", (9, 9), BLUE).save(tmp_path / "mine.png")
    (tmp_path / "page.html").write_text("<html>no picture</html>")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        query = Query(parts=(Asked("url", f"{address}/mine.png"),), k=1)
        with pytest.raises(UsageError, match="--allow-url"):
            library.ask(query)
        with pytest.raises(UsageError, match="this machine or in a local network"):
            library.ask(query, allow_url=True)
        monkeypatch.setenv("MMSEARCH_ALLOW_PRIVATE", "1")
        assert names(library.ask(query, allow_url=True)) == ["3.jpg"]
        for bad in ("page.html", "nothing.png"):
            with pytest.raises(UsageError, match=bad):
                library.ask(dataclasses.replace(query, parts=(Asked("url", f"{address}/{bad}"),)), allow_url=True)
        server.shutdown()


# -- by the letter ---------------------------------------------------------------------------------------------------

WORDED = [
    picture("holiday/beach.jpg", DARK),
    picture("x1.jpg", RED, caption="奶奶在沙滩上 with a red ball"),
    picture("x2.jpg", RED, facts=MediaFacts(camera="FUJIFILM X100V")),
    picture("x3.jpg", GREEN),
]


def test_words_are_found_by_the_letter(library):
    stock(library.folder, WORDED)
    for question, found in (
        ("beach", "holiday/beach.jpg"),
        ("沙滩", "x1.jpg"),
        ("奶奶", "x1.jpg"),
        ("X100V", "x2.jpg"),
    ):
        answer = library.search(question, mode="lexical")
        assert names(answer) == [found], question
        assert answer.hits[0].found_by == (WORDS,) and answer.hits[0].confidence == 1.0 and answer.spaces == ()
    assert names(library.search("nowhere", mode="lexical")) == []
    assert names(library.search("the of", mode="lexical")) == []


def test_hybrid_fuses_meaning_and_letters(library):
    stock(library.folder, WORDED)
    dense = library.search("red beach", mode="dense", k=4)
    hybrid = library.search("red beach", mode="hybrid", k=4)
    by_name = dict(zip(names(hybrid), hybrid, strict=True))
    assert WORDS in by_name["holiday/beach.jpg"].found_by and by_name["x3.jpg"].found_by == ("fake-1-32",)
    assert names(hybrid)[0] == "x1.jpg", "red by its vector and by its caption"
    cosines = {name: hit.score for name, hit in zip(names(dense), dense, strict=True)}
    assert all(hit.cosine == pytest.approx(cosines[name], abs=1e-5) for name, hit in by_name.items())


def test_without_a_word_in_common_the_order_is_that_of_the_vectors(library):
    stock(library.folder, PLAIN)
    dense, hybrid = (library.search("red", mode=mode) for mode in ("dense", "hybrid"))
    assert names(hybrid) == names(dense) and all(hit.found_by == ("fake-1-32",) for hit in hybrid)


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_the_score_is_what_the_order_is_by(library, mode):
    stock(library.folder, WORDED)
    scores = [hit.score for hit in library.search("red ball beach X100V", mode=mode)]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]


def test_a_hit_says_why_it_stands_where_it_stands(library):
    stock(library.folder, WORDED)
    hit = library.search("red beach").hits[0]
    assert hit.why.matched == (("red", "caption"),) and hit.why.words > 0 == hit.why.folder
    assert hit.score == pytest.approx(hit.why.z + hit.why.words + hit.why.folder)
    (beach,) = [hit for hit in library.search("red beach") if b"beach" in hit.path]
    assert beach.why.matched == (("beach", "name"),)


def test_a_folder_is_no_merit_of_its_own(library):
    own = [picture("red/1.jpg", BLUE), picture("red/2.jpg", (200, 40, 40)), picture("3.jpg", RED)]
    stock(library.folder, [*own, *many(40)])
    answer = library.search("red", k=43)
    by_name = dict(zip(names(answer), answer, strict=True))
    assert by_name["3.jpg"].score > by_name["red/1.jpg"].score and by_name["red/1.jpg"].why.folder < 0.5
    assert by_name["red/1.jpg"].confidence < 0.5, "what a folder is called is no certainty"


def test_a_whole_name_comes_first(library):
    stock(library.folder, [picture("red.jpg", BLUE), *[picture(f"red red {i}.jpg", RED) for i in range(9)]])
    stock(library.folder, [picture("a.jpg", BLUE)])
    assert names(library.search("a"))[0] == "a.jpg", "words of grammar, where there are no others"
    for question in ("red.jpg", "red", "RED.JPG"):
        assert names(library.search(question))[0] == "red.jpg", question


def test_equal_files_stand_in_the_order_of_their_paths(library):
    stock(library.folder, [picture(f"{name}/x.jpg", RED) for name in "cab"])
    for mode in ("hybrid", "lexical"):
        assert names(library.search("x", mode=mode)) == ["a/x.jpg", "b/x.jpg", "c/x.jpg"], mode


def test_words_that_nearly_all_files_have_say_nearly_nothing(library):
    stock(library.folder, [picture(f"IMG_{i:04}.jpg", GREEN if i % 2 else DARK) for i in range(60)])
    assert names(library.search("img 0007"))[0] == "IMG_0007.jpg"
    assert max(hit.why.words for hit in library.search("img red")) < 0.1


def test_equal_libraries_answer_equally_whatever_came_first(tmp_path):
    pictures = [picture(f"{i}.jpg", (i * 3 % 250, i * 7 % 250, 50), sha256=bytes([i]) * 32) for i in range(80)]
    answers = []
    for name, records in (("one", pictures), ("other", pictures[::-1])):
        with Library(str(tmp_path / name)) as library:
            stock(library.folder, records)
            hits = library.search("red low")
            answers.append([(hit.path, round(hit.score, 4), round(hit.confidence, 6)) for hit in hits])
    assert answers[0] == answers[1]


def test_quoted_words_are_literal(library):
    stock(library.folder, WORDED)
    assert names(library.search('green "red ball"', mode="hybrid")) == ["x1.jpg"]
    assert names(library.search('"ball red"', mode="hybrid")) == []
    assert names(library.search('"red ball" "奶奶"', mode="lexical")) == ["x1.jpg"]
    assert len(library.search('a sign that says "stop"', mode="dense")) == 4, "by meaning alone nothing is literal"


def test_a_chunk_is_found_where_it_stands(library):
    chunks = ("the first chunk is green", "金门大桥 is red")
    document = dataclasses.replace(
        picture("doc.txt", DARK),
        modality=Modality.TEXT,
        spans=(Span(0, 24, "char"), Span(24, 40, "char")),
        details=tuple(Detail(None, text, page) for page, text in enumerate(chunks, 1)),
        vectors=FakeEncoder().encode(chunks, Modality.TEXT),
    )
    stock(library.folder, [*PLAIN, document])
    (hit,) = library.search("大桥", mode="lexical")
    assert (hit.path, hit.page, hit.text, hit.span) == (b"/files/doc.txt", 2, chunks[1], Span(24, 40, "char"))
    assert names(library.search("red", modalities=[Modality.TEXT])) == ["doc.txt"]


# -- several spaces --------------------------------------------------------------------------------------------------


def tone(name: str, pitch: float) -> Record:
    samples = np.sign(np.sin(np.arange(1600) * pitch)).astype(np.float32)
    return dataclasses.replace(
        picture(name, DARK), modality=Modality.AUDIO, vectors=Second().encode([samples], Modality.AUDIO)
    )


def test_a_kind_of_media_that_the_space_lacks_is_asked_of_the_space_that_has_it(library):
    stock(library.folder, PLAIN)
    stock(library.folder, [tone("low.ogg", 0.1), tone("high.ogg", 3.0)], Second())
    answer = library.search("high red", k=5)
    assert [space.model for space, _ in answer.spaces] == ["fake", "second"]
    assert set(names(answer)[:2]) == {"1.jpg", "high.ogg"}, "the best of each space come first"
    assert {name: hit.space for name, hit in zip(names(answer), answer, strict=True)}["high.ogg"] == "fake-1-16"
    assert names(library.search("high", modalities=[Modality.AUDIO])) == ["high.ogg", "low.ogg"]


def test_a_second_space_of_the_same_files_is_not_mixed_in(library):
    stock(library.folder, PLAIN)
    other = FakeEncoder(64)
    with library.catalog() as catalog:
        records = [dataclasses.replace(one, vectors=np.zeros((1, 64), np.float32) + 0.125) for one in PLAIN]
        for record in records:
            item = next(i for i in catalog.reader.items() if i.path.endswith(record.file.path))
            catalog.write_batch(1, catalog.space(other.spec).id, [dataclasses.replace(record, item_id=item.id)])
    assert len(library.reader.spaces()) == 2
    assert len(library.search("red").spaces) == 1


def test_rank_fusion_is_the_sum_of_reciprocal_ranks():
    rankings = {"a": ["x", "y", "z"], "b": ["z", "w"]}
    sums = {"x": 1 / (K + 1), "y": 1 / (K + 2), "z": 1 / (K + 3) + 1 / (K + 1), "w": 1 / (K + 2)}
    fused = fuse(rankings)
    assert [key for key, *_ in fused] == ["z", "x", "y", "w"] == sorted(sums, key=lambda key: -sums[key])
    assert {key: (total, names) for key, total, names in fused}["z"] == (sums["z"], ("a", "b"))


# -- confidence ------------------------------------------------------------------------------------------------------


def many(count: int = 60) -> list[Record]:
    rng = np.random.default_rng(1)
    return [picture(f"grey{i}.jpg", np.full(3, rng.integers(20, 250))) for i in range(count)]


def test_what_stands_out_is_confident_and_what_does_not_is_not(library):
    stock(library.folder, [*many(), picture("1.jpg", RED)])
    red, low = library.search("red", k=3), library.search("low", k=3)
    assert names(red)[0] == "1.jpg"
    assert red.hits[0].confidence > 0.9 > 0.5 > low.hits[0].confidence
    assert all(0 <= hit.confidence <= 1 for hit in (*red, *low))
    assert names(library.search("red", min_confidence=0.9))[0] == "1.jpg"
    assert names(library.search("low", min_confidence=0.9)) == []


def test_what_a_word_finds_is_as_sure_however_much_of_the_library_shows_it(tmp_path):
    sure = []
    for reds in (1, 30):
        with Library(str(tmp_path / str(reds))) as library:
            stock(library.folder, [*many(30), *[picture(f"red{i}.jpg", (200 + i % 20, 20, 20)) for i in range(reds)]])
            sure.append([hit.confidence for hit in library.search("red", mode="dense", k=1)])
    assert sure[0] == pytest.approx(sure[1], abs=0.02) and sure[0][0] > 0.5


# -- order and near-duplicates ---------------------------------------------------------------------------------------

DAYS = [
    picture("b/1.jpg", RED, facts=MediaFacts(taken="2024-06-01T10:00:00")),
    picture("a/2.jpg", (200, 30, 30), facts=MediaFacts(taken="2024-06-02T10:00:00")),
    picture("b/3.jpg", (180, 60, 60), facts=MediaFacts(taken="2024-06-01T20:00:00")),
    picture("a/4.jpg", (170, 90, 90)),
    picture("c/5.jpg", BLUE, facts=MediaFacts(taken="2025-01-01T00:00:00")),
]


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({}, ["b/1.jpg", "a/2.jpg", "b/3.jpg", "a/4.jpg"]),
        ({"sort": "taken"}, ["a/2.jpg", "b/3.jpg", "b/1.jpg", "a/4.jpg"]),
        ({"sort": "path"}, ["a/2.jpg", "a/4.jpg", "b/1.jpg", "b/3.jpg"]),
        ({"sort": "path:desc"}, ["b/3.jpg", "b/1.jpg", "a/4.jpg", "a/2.jpg"]),
        ({"sort": "taken:asc"}, ["b/1.jpg", "b/3.jpg", "a/2.jpg", "a/4.jpg"]),
        ({"sort": "date"}, ["a/2.jpg", "b/3.jpg", "b/1.jpg", "a/4.jpg"]),
        ({"sort": "date:asc"}, ["a/4.jpg", "b/1.jpg", "b/3.jpg", "a/2.jpg"]),
        ({"sort": "score:asc"}, ["a/4.jpg", "b/3.jpg", "a/2.jpg", "b/1.jpg"]),
        ({"group": "folder"}, ["b/1.jpg", "b/3.jpg", "a/2.jpg", "a/4.jpg"]),
        ({"group": "day"}, ["b/1.jpg", "b/3.jpg", "a/2.jpg", "a/4.jpg"]),
        ({"sort": "taken", "group": "day"}, ["a/2.jpg", "b/3.jpg", "b/1.jpg", "a/4.jpg"]),
    ],
)
def test_order_comes_after_the_cut(library, options, order):
    stock(library.folder, DAYS)
    answer = library.search("red", k=4, **options)
    assert names(answer) == order  # never c/5.jpg, however new it is
    assert sorted(hit.rank for hit in answer) == [1, 2, 3, 4]
    assert next(hit for hit in answer if hit.rank == 1).path == b"/files/b/1.jpg"


@pytest.mark.parametrize("sort", ["size", "date:up", "date:", "asc", ""])
def test_an_order_that_there_is_not_is_named(library, sort):
    stock(library.folder, DAYS)
    with pytest.raises(UsageError, match="there are score, date"):
        library.search("red", sort=sort)


def test_groups_are_named(library):
    stock(library.folder, DAYS)
    assert [hit.group for hit in library.search("red", group="day", k=4)] == ["2024-06-01"] * 2 + [
        "2024-06-02",
        "no date",
    ]
    assert library.search("red", group="folder", k=1).hits[0].group == "/files/b"
    assert library.search("red", group="modality", k=1).hits[0].group == "image"


def test_of_near_duplicates_only_the_best_stays(library):
    twins = [dataclasses.replace(picture(f"t{i}.jpg", RED)) for i in range(150)]
    stock(library.folder, [*twins, *PLAIN[1:], picture("4.jpg", (200, 120, 20))])
    assert len(library.search("red", k=10)) == 10
    assert names(library.search("red", k=10, unique=True))[:2] == ["t0.jpg", "4.jpg"]
    assert len(library.search("red", k=10, unique=True)) == 4


# -- files like a file -----------------------------------------------------------------------------------------------


def test_similar_leaves_the_file_itself_out(library, tmp_path):
    for name, colour in (("a", RED), ("b", (210, 40, 40)), ("c", BLUE)):
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"{name}.png")
    library.index([tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"], model="fake")
    answer = library.similar(tmp_path / "a.png")
    assert [os.path.basename(hit.path) for hit in answer] == [b"b.png", b"c.png"]
    assert [hit.rank for hit in answer] == [1, 2]
    # By its stored vectors: the file need not be there.
    os.unlink(tmp_path / "a.png")
    assert library.similar(tmp_path / "a.png", Query(parts=(), k=1)).hits[0].path.endswith(b"b.png")
    Image.new("RGB", (20, 20), (30, 30, 200)).save(tmp_path / "new.png")
    assert library.similar(tmp_path / "new.png").hits[0].path.endswith(b"c.png")
    with pytest.raises(UsageError, match="no such file"):
        library.similar(tmp_path / "nothing.png")


def test_the_order_of_similar_files_comes_after_the_cut_too(library):
    stock(library.folder, DAYS)
    like = library.similar("/files/c/5.jpg", Query(k=2))
    old_and_new = library.similar("/files/c/5.jpg", Query(k=2, sort="taken:asc"))
    assert set(names(old_and_new)) == set(names(like)) and [hit.rank for hit in like] == [1, 2]
    assert {hit.path: hit.rank for hit in like} == {hit.path: hit.rank for hit in old_and_new}
    assert [hit.group for hit in library.similar("/files/b/1.jpg", Query(k=3, group="day"))] == [
        "2024-06-02",
        "2024-06-01",
        "no date",
    ]


def scene(seed: int, size=(320, 240)) -> Image.Image:
    """A picture with structure: blobs of light, as a perceptual hash needs."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


def test_duplicates_are_found_by_bytes_and_by_looks(library, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(12):
        scene(seed).save(photos / f"{seed:02}.png")
    scene(3).resize((150, 110)).save(photos / "x-smaller.jpg", quality=60)
    (photos / "x-copy.png").write_bytes((photos / "05.png").read_bytes())
    library.index([photos], model="fake")
    groups = [[os.path.basename(path).decode() for path in group] for group in library.duplicates(close=0.9)]
    assert sorted(map(sorted, groups)) == [["03.png", "x-smaller.jpg"], ["05.png", "x-copy.png"]]


def test_the_perceptual_hash_bears_size_and_quality_and_tells_scenes_apart(tmp_path):
    def hashed(image) -> int:
        return phash(np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)))

    scene(0).save(tmp_path / "poor.jpg", quality=25)
    assert (hashed(scene(0)) ^ hashed(Image.open(tmp_path / "poor.jpg"))).bit_count() <= 4
    apart = [(hashed(scene(a)) ^ hashed(scene(b))).bit_count() for a in range(8) for b in range(a)]
    assert min(apart) > 10


def test_classify_names_what_fits_best(library, tmp_path):
    for name, colour in (("a", RED), ("b", BLUE)):
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = library.classify(["red", "green", "blue"], [str(tmp_path)], 2, model="fake")
    best = {os.path.basename(path): [label.name for label in labels] for path, labels in found.labels}
    assert {name: labels[0] for name, labels in best.items()} == {"a.png": "red", "b.png": "blue"}
    assert all(len(labels) == 2 for labels in best.values())
    assert [os.path.basename(path) for path, _ in found.failures] == ["broken.png"]
    assert not os.path.exists(library.folder)


def test_a_lone_sound_is_found_beside_many_pictures(library):
    """Of a kind with one file the mean is that file: what it scores above any word counts then."""
    sound = np.sign(np.sin(np.arange(1600) * 0.1)).astype(np.float32)
    lone = dataclasses.replace(
        picture("x.ogg", DARK), modality=Modality.AUDIO, vectors=FakeEncoder().encode([sound], Modality.AUDIO)
    )
    stock(library.folder, [*many(40), lone])
    assert names(library.search("low"))[0] == "x.ogg"
    assert names(library.search("green", modalities=[Modality.IMAGE, Modality.AUDIO]))[-1:] != ["x.ogg"]
