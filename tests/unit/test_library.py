"""The library through its public door: index, search, change, search again. Pictures of one colour make ranks exact."""

from __future__ import annotations

import dataclasses
import os
import shutil
import threading
import zlib

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import EncoderError, MissingExtra, NoLibrary, SpaceMismatch, UsageError
from mmsearch.indexer.ingest import Options
from mmsearch.store import artifacts
from mmsearch.types import Modality, State

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


class Counting(FakeEncoder):
    """A fake encoder that counts the pictures it was given."""

    encoded = 0

    def encode(self, batch, modality):
        if modality is Modality.IMAGE:
            type(self).encoded += len(batch)
        return super().encode(batch, modality)


def of_space(space: str, name: str = "fake") -> Counting:
    """A model whose vectors are not comparable: as after a change of its weights."""
    encoder = Counting()
    encoder.spec = dataclasses.replace(encoder.spec, space=space, name=name)
    return encoder


@pytest.fixture(autouse=True)
def counting(monkeypatch):
    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": Counting())
    Counting.encoded = 0


def paint(path, colour, size=(40, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, COLOURS.get(colour, colour)).save(path)


@pytest.fixture
def photos(tmp_path):
    for name in COLOURS:
        paint(tmp_path / "photos" / f"{name}.png", name)
    return tmp_path / "photos"


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def names(answer) -> list[str]:
    return [os.path.basename(os.fsdecode(hit.path)) for hit in answer]


def test_words_find_the_picture(library, photos):
    summary = library.index([photos])
    assert (summary.added, summary.seen) == (3, 3)
    answer = library.search("a red thing", k=1)
    assert names(answer) == ["red.png"]
    assert answer.hits[0].rank == 1
    assert set(answer.took_ms) == {"load", "encode", "search", "total"}


def test_a_picture_finds_itself_first(library, photos):
    library.index([photos])
    answer = library.search(images=[photos / "green.png"])
    assert names(answer)[0] == "green.png"
    assert answer.hits[0].cosine == pytest.approx(1, abs=1e-3)


def test_words_and_a_picture_add_up(library, photos):
    library.index([photos])
    assert set(names(library.search("red", images=[photos / "green.png"], k=2))) == {"red.png", "green.png"}


def test_within_asks_only_a_folder_and_never_loses_a_result(library, photos):
    for i in range(30):
        paint(photos / "others" / f"{i}.png", (220, 20, 20 + i))
    library.index([photos])
    assert len(library.search("blue", k=3, within=photos / "others")) == 3
    assert names(library.search("blue", k=5, within=photos / "red.png")) == ["red.png"]
    assert names(library.search("blue", within=photos / "oth")) == []


def test_equal_scores_come_in_the_order_of_paths_and_by_vectors_alone_of_ids(library, photos):
    for i in range(10):
        shutil.copy(photos / "red.png", photos / f"copy{i}.png")
    library.index([photos])
    for mode, order in (("hybrid", lambda hit: hit.path), ("dense", lambda hit: hit.segment_id)):
        first = library.search("red", k=5, mode=mode, where="name ~ copy").hits
        assert len(first) == 5 and list(first) == sorted(first, key=order)
        assert first == library.search("red", k=5, mode=mode, where="name ~ copy").hits


@pytest.mark.parametrize("kind", ["auto", "exact", "flat"])
def test_every_exact_kind_of_index_gives_the_same_answer(library, photos, kind):
    for i in range(40):
        paint(photos / f"{i:02}.png", (5 * i, 255 - 5 * i, 40))
    library.index([photos], index="auto")
    scanned = library.search("red green", k=12)
    assert scanned.index == "scan"
    library.index([photos], index=kind)
    answer = library.search("red green", k=12)
    assert answer.index == ("scan" if kind == "auto" else kind)
    assert names(answer) == names(scanned)


def test_what_came_after_the_index_is_found_and_what_is_gone_is_not(library, photos):
    library.index([photos], index="exact")
    paint(photos / "redder.png", (255, 0, 0))
    (photos / "red.png").unlink()
    library.index([photos])
    with artifacts_untouched(library):
        assert names(library.search("red", k=1)) == ["redder.png"]
        assert "red.png" not in names(library.search("red"))


class artifacts_untouched:
    """Asserts that the answer inside came from an index that is older than the newest rows."""

    def __init__(self, library):
        self.library = library

    def __enter__(self):
        space = self.library.active_space()
        opened = artifacts.open_newest(self.library.reader, self.library.folder, space)
        assert self.library.reader.count(space.id, after=opened.max_seq) == 1

    def __exit__(self, *error):
        pass


def test_a_second_run_encodes_nothing(library, photos):
    library.index([photos])
    Counting.encoded = 0
    summary = library.index([photos])
    assert (summary.unchanged, summary.seen, Counting.encoded) == (3, 3, 0)


def test_a_changed_picture_is_encoded_under_a_new_id(library, photos):
    library.index([photos])
    before = library.search("red", k=1).hits[0]
    paint(photos / "red.png", "red", size=(50, 50))
    summary = library.index([photos])
    assert (summary.updated, summary.unchanged) == (1, 2)
    after = library.search("red", k=1).hits[0]
    assert after.path == before.path and after.item_id > before.item_id


def test_a_renamed_and_a_copied_picture_reuse_their_vectors(library, photos):
    library.index([photos])
    Counting.encoded = 0
    (photos / "red.png").rename(photos / "rouge.png")
    shutil.copy(photos / "blue.png", photos / "bleu.png")
    summary = library.index([photos])
    assert (summary.reused, summary.missing, summary.unchanged, Counting.encoded) == (2, 1, 2, 0)
    assert names(library.search("red", k=1)) == ["rouge.png"]


def test_a_touched_picture_is_unchanged(library, photos):
    library.index([photos])
    Counting.encoded = 0
    os.utime(photos / "red.png", (1, 1))
    assert library.index([photos]).unchanged == 3
    assert Counting.encoded == 0


def test_a_missing_picture_is_not_found_until_it_is_back(library, photos, tmp_path):
    library.index([photos])
    (photos / "red.png").rename(tmp_path / "away.png")
    assert library.index([photos]).missing == 1
    assert "red.png" not in names(library.search("red"))
    (tmp_path / "away.png").rename(photos / "red.png")
    Counting.encoded = 0
    assert library.index([photos]).unchanged == 3
    assert names(library.search("red", k=1)) == ["red.png"] and Counting.encoded == 0


def test_prune_forgets_what_is_missing(library, photos):
    library.index([photos])
    (photos / "red.png").unlink()
    library.index([photos])
    assert library.prune(dry_run=True) == library.prune() == [os.fsencode(photos / "red.png")]
    assert library.prune() == []


def test_an_unplugged_drive_loses_nothing(library, photos, tmp_path):
    library.index([photos])
    photos.rename(tmp_path / "unplugged")
    summary = library.index([photos])
    assert summary.offline == [os.fsencode(photos)] and summary.seen == 0
    photos.mkdir()
    assert library.index([photos]).offline == [os.fsencode(photos)]
    photos.rmdir()
    (tmp_path / "unplugged").rename(photos)
    Counting.encoded = 0
    assert library.index([photos]).unchanged == 3
    assert Counting.encoded == 0


def test_a_folder_that_moved_is_relocated(library, photos, tmp_path):
    library.index([photos])
    photos.rename(tmp_path / "elsewhere")
    assert library.relocate(photos, tmp_path / "elsewhere") == 3
    Counting.encoded = 0
    assert library.index([tmp_path / "elsewhere"]).unchanged == 3
    assert Counting.encoded == 0


def test_forgetting_leaves_the_file(library, photos):
    library.index([photos])
    assert library.forget(photos / "red.png") == 1
    assert (photos / "red.png").exists() and "red.png" not in names(library.search("red"))


def test_broken_and_foreign_files_are_counted_with_reasons(library, photos):
    (photos / "empty.jpg").touch()
    (photos / "program.py").write_text("hello")
    whole = (photos / "red.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    summary = library.index([photos])
    assert (summary.added, summary.rejected + summary.partial, summary.skipped, summary.seen) == (3, 2, 1, 6)
    assert {os.path.basename(f.path): f.state for f in summary.failures}[b"empty.jpg"] is State.REJECTED
    assert library.index([photos]).counts() == {**summary.counts(), "added": 0, "unchanged": 3}


def test_a_mended_file_is_taken_in(library, photos):
    (photos / "new.png").touch()
    library.index([photos])
    paint(photos / "new.png", (250, 10, 10))
    assert library.index([photos]).updated == 1
    assert library.reader.failures() == []


def test_include_and_exclude(library, photos):
    assert library.index([photos], options=Options(include=["r*.png"])).seen == 1
    assert library.index([photos], options=Options(exclude=["b*"])).seen == 2
    # What is not listed but there is neither missing nor forgotten.
    assert library.index([photos], options=Options(include=["nothing"])).missing == 0
    assert len(library.search("red")) == 2


def test_a_dry_run_writes_nothing(library, photos):
    summary = library.index([photos], options=Options(dry_run=True))
    assert summary.added == 3 and not os.path.exists(library.folder)
    library.index([photos])
    paint(photos / "new.png", "red")
    before = dump(library)
    assert library.index([photos], options=Options(dry_run=True)).counts()["added"] == 1
    assert library.index([photos.parent], options=Options(dry_run=True), model="other").seen == 4
    assert dump(library) == before


def dump(library) -> list:
    tables = ("item", "root", "run", "segment", "embedding", "setting", "space")
    return [library.reader.query(f"SELECT * FROM {table}") for table in tables]


def test_the_library_in_the_tree_is_not_indexed(photos):
    with Library(str(photos / "library")) as library:
        library.index([photos])
        assert library.index([photos]).seen == 3


def test_a_single_file_can_be_indexed(library, photos):
    assert library.index([photos / "red.png"]).seen == 1
    assert library.index([photos]).counts()["added"] == 2


def test_overlapping_paths_are_seen_once(library, photos):
    assert library.index([photos, photos / "red.png", photos]).seen == 3


def test_stopping_keeps_what_was_committed(library, photos, monkeypatch):
    monkeypatch.setattr("mmsearch.indexer.ingest.COMMIT_ROWS", 1)
    monkeypatch.setattr("mmsearch.indexer.ingest.BATCH", 1)
    for i in range(200):
        paint(photos / f"{i}.png", (i, 20, 20))
    stop = threading.Event()
    summary = library.index([photos], progress=lambda summary: stop.set(), stop=stop)
    assert summary.interrupted and 0 < summary.added < 203
    assert len(library.search("red", k=500)) == summary.added
    rest = library.index([photos])
    assert rest.added + summary.added == 203 and rest.unchanged == summary.added


def test_another_model_is_built_beside_and_taken_over_when_complete(library, photos, monkeypatch, tmp_path):
    library.index([photos])
    paint(tmp_path / "more" / "red2.png", "red")
    library.index([tmp_path / "more"])
    old = library.active_space()

    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": of_space("other", "other"))
    summary = library.index([photos], model="other")
    assert summary.updated == 3 and library.active_space() == old
    assert "1 files have no vectors" in summary.notes[0]
    library.index([tmp_path / "more"], model="other")
    assert library.active_space().fingerprint == "other"
    assert library.gc(dry_run=True)[0].startswith("would drop 4 vectors of fake")
    assert library.gc()[0].startswith("dropped 4 vectors of fake")
    assert [space.fingerprint for space in library.reader.spaces()] == ["other"]
    assert library.check("data") == []


def test_a_model_that_changed_is_refused(library, photos, monkeypatch):
    library.index([photos])

    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": of_space("changed"))
    with Library(library.folder) as again, pytest.raises(SpaceMismatch, match="changed"):
        again.search("red")


def test_gc_keeps_the_only_vectors_of_a_file(library, photos, monkeypatch):
    library.index([photos])
    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": of_space("other", "other"))
    paint(photos / "new" / "new.png", (90, 90, 90))
    library.index([photos / "new"], model="other")
    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": Counting())
    library.index([photos / "red.png"], model="fake")
    assert library.gc()[0].startswith("kept 1 vectors of other")
    library.index([photos], model="fake")
    assert library.gc()[0].startswith("dropped 1 vectors of other")


def test_a_model_that_changed_answers_from_its_new_vectors_at_once(library, photos, monkeypatch):
    library.index([photos])
    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": of_space("changed"))
    with Library(library.folder) as again:
        again.index([photos / "red.png"])
        assert names(again.search("red")) == ["red.png"]
        again.index([photos])
        assert len(again.search("red")) == 3


def test_what_a_photo_says_about_itself_is_kept(library, photos):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110], exif[0x0112] = "Canon", "Canon EOS R5", 6
    exif.get_ifd(0x8769)[0x9003] = "2024:06:01 12:30:00"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 30.0, 0.0), 3: "W", 4: (2.0, 15.0, 0.0)})
    Image.new("RGB", (60, 40)).save(photos / "trip.jpg", exif=exif)
    library.index([photos])
    (item,) = library.reader.items(named="trip")
    facts = item.facts
    assert (facts.width, facts.height) == (40, 60)  # turned by its orientation
    assert (facts.taken, facts.camera, facts.lat, facts.lon) == ("2024-06-01T12:30:00", "Canon EOS R5", 48.5, -2.25)


def test_one_poison_file_costs_one_file_wherever_it_stands(library, photos, monkeypatch):
    for i in range(20):
        paint(photos / f"{i:02}.png", (i, 20, 20))
    paint(photos / "poison.png", (255, 255, 255))

    class Poisoned(FakeEncoder):
        def encode(self, batch, modality):
            vectors = super().encode(batch, modality)
            if modality is Modality.IMAGE:
                vectors[[bool((pixels == 255).all()) for pixels in batch]] = np.nan
            return vectors

    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": Poisoned())
    summary = library.index([photos])
    assert (summary.added, summary.rejected) == (23, 1)
    assert summary.failures[0].path.endswith(b"poison.png")
    assert library.check("data") == []


def test_a_model_that_fails_on_everything_marks_no_file(library, photos, monkeypatch):
    for i in range(20):
        paint(photos / f"{i:02}.png", (i, 20, 20))

    class Broken(FakeEncoder):
        def encode(self, batch, modality):
            raise RuntimeError("no kernel image")

    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": Broken())
    with pytest.raises(EncoderError, match="no kernel image"):
        library.index([photos])
    assert library.reader.items() == []


def test_a_runtime_that_is_not_installed_is_no_fault_of_the_files(library, photos, monkeypatch):
    class Bare(FakeEncoder):
        def encode(self, batch, modality):
            raise MissingExtra("reading photos with this model", "cpu")

    monkeypatch.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": Bare())
    with pytest.raises(MissingExtra, match=r"mmsearch\[cpu\]"):
        library.index([photos])
    assert library.reader.items() == []


@pytest.mark.parametrize("path", ["nothing-here", "fifo"])
def test_a_path_that_cannot_be_indexed_leaves_no_library(library, tmp_path, path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UsageError, match=path):
        library.index([tmp_path / path])
    assert not os.path.exists(library.folder)


def test_asking_nothing_or_of_nothing(library, photos):
    with pytest.raises(NoLibrary):
        library.search("red")
    library.index([photos])
    with pytest.raises(UsageError):
        library.search("   ")
    with pytest.raises(UsageError, match="no such file"):
        library.search(images=[photos / "purple.png"])
    with pytest.raises(UsageError):
        library.search("red", k=0)


def test_repair_drops_a_damaged_vector_and_index_encodes_it_again(library, photos):
    library.index([photos], index="exact")
    with library.catalog() as catalog, catalog.transaction() as connection:
        connection.exec_driver_sql("UPDATE embedding SET vector = zeroblob(length(vector)) WHERE seq = 2")
    assert [problem.code for problem in library.check("data")] == ["vector"]
    assert library.check("fast") == []
    assert "1 damaged vectors" in library.repair(dry_run=True)[0]
    assert "1 damaged vectors" in library.repair()[0]
    Counting.encoded = 0
    library.index([photos])
    assert Counting.encoded == 1 and library.check("deep") == []


def test_deep_check_finds_a_vector_that_an_index_lost(library, photos):
    library.index([photos], index="exact")
    with library.catalog() as catalog, catalog.transaction() as connection:
        other = np.zeros(FakeEncoder().spec.dim, np.float32)
        other[-1] = 1
        blob = other.astype("<f2").tobytes()
        connection.exec_driver_sql("UPDATE embedding SET vector = ?, crc32 = ? WHERE seq = 1", (blob, zlib.crc32(blob)))
    assert library.check("data") == []
    assert [problem.code for problem in library.check("deep")] == ["lost"]
