"""The catalog: tables, ids, the lock, what a reader sees, and indexes as artifacts."""

from __future__ import annotations

import os
import sqlite3

import numpy as np
import pytest
from sqlalchemy import text

from mmsearch.errors import LibraryTooNew, Locked, NoLibrary, UsageError
from mmsearch.store import artifacts, layout, roots, rowsums, schema
from mmsearch.store.catalog import Catalog, Record, Write
from mmsearch.store.check import check
from mmsearch.store.lock import WriterLock
from mmsearch.store.migrations import MIGRATIONS
from mmsearch.store.reader import Reader, is_below
from mmsearch.types import Detail, EncoderSpec, FileStat, Modality, Span, State

DIM = 16
SPEC = EncoderSpec(name="test", space="space-1", dim=DIM, modalities=frozenset({Modality.IMAGE}), licence="none")


def vectors(n: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def record(name: bytes, vector: np.ndarray | None = None, **more) -> Record:
    row = vectors(1, seed=len(name))[0] if vector is None else vector
    facts = {"state": State.OK, "sha256": name.ljust(32), "modality": Modality.IMAGE, "spans": (None,), **more}
    return Record(file=FileStat(name, 1, 2, 3), vectors=np.atleast_2d(row), **facts)


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / "library")


@pytest.fixture
def catalog(folder):
    with Catalog(folder) as opened:
        yield opened


def fill(catalog: Catalog, records: list[Record]) -> tuple[int, int]:
    """Write records below /data; returns the ids of the root and of the space."""
    space, scope = catalog.space(SPEC), roots.claim(catalog, b"/data")
    catalog.activate(space.id)
    catalog.write_batch(scope.root_id, space.id, records)
    return scope.root_id, space.id


def test_the_migrated_tables_are_those_of_the_schema(catalog):
    with catalog.transaction() as connection:
        for table in schema.metadata.sorted_tables:
            columns = {row[1] for row in connection.execute(text(f"PRAGMA table_info({table.name})"))}
            assert columns == set(table.columns.keys()), table.name
            if table.name not in ("embedding", "staged"):
                assert columns == {*rowsums.COLUMNS[table.name], "crc32"}, table.name


def test_the_format_is_the_number_of_the_last_migration(catalog):
    assert len(MIGRATIONS) == layout.FORMAT


def test_a_library_of_a_newer_version_is_refused_by_reader_and_writer(folder):
    Catalog(folder).close()
    with sqlite3.connect(os.path.join(folder, layout.CATALOG)) as db:
        db.execute(f"PRAGMA user_version = {layout.FORMAT + 1}")
        db.execute("INSERT INTO migration (number, name) VALUES (?, 'from the future')", (layout.FORMAT + 1,))
    for opened in (Reader, Catalog):
        with pytest.raises(LibraryTooNew, match="pip install -U mmsearch"):
            opened(folder)


def test_no_library_is_named_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(NoLibrary, match="mmsearch index"):
        Reader(str(tmp_path))


def test_a_folder_with_other_things_is_not_taken_for_a_library(tmp_path):
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        Catalog(str(tmp_path))
    assert os.listdir(tmp_path) == ["diary.txt"]


def test_what_a_killed_creation_left_is_cleared_away(tmp_path, folder):
    os.mkdir(f"{folder}.tmp-4194399")
    WriterLock(f"{folder}.tmp-4194399").close()
    Catalog(folder).close()
    assert os.listdir(tmp_path) == ["library"]


def test_a_second_writer_is_told_who_holds_the_lock(catalog, folder):
    with pytest.raises(Locked, match=f"process {os.getpid()} on"):
        Catalog(folder)


def test_the_lock_is_free_after_closing(folder):
    Catalog(folder).close()
    with Catalog(folder) as again:
        assert again.reader.spaces() == []


def test_readers_see_a_batch_whole_and_at_once(catalog, folder):
    root_id, space_id = fill(catalog, [record(b"a.jpg")])
    reader = Reader(folder)
    with reader.snapshot():
        assert reader.count(space_id) == 1
        catalog.write_batch(root_id, space_id, [record(b"b.jpg"), record(b"c.jpg")])
        assert reader.count(space_id) == 1
    assert reader.count(space_id) == 3
    reader.close()


def test_ids_are_never_used_again(catalog):
    root_id, space_id = fill(catalog, [record(b"a.jpg"), record(b"b.jpg")])
    before = catalog.reader.items()
    catalog.remove_items([item.id for item in before])
    catalog.write_batch(root_id, space_id, [record(b"a.jpg")])
    assert catalog.reader.items()[0].id > max(item.id for item in before)
    assert catalog.reader.max_seq(space_id) == 3


def test_vectors_come_back_as_they_were_written_to_float16(catalog):
    rows = vectors(5)
    _, space_id = fill(catalog, [record(b"%d.jpg" % i, row) for i, row in enumerate(rows)])
    (block,) = catalog.reader.blocks(space_id, DIM)
    assert np.array_equal(block.vectors, rows.astype(np.float16).astype(np.float32))


def test_replacing_a_file_removes_its_segments_and_vectors(catalog):
    root_id, space_id = fill(catalog, [record(b"a.jpg")])
    (item,) = catalog.reader.items()
    changed = record(b"a.jpg", vectors(1, seed=9)[0], item_id=item.id)
    catalog.write_batch(root_id, space_id, [changed])
    (now,) = catalog.reader.items()
    assert now.id != item.id
    assert catalog.reader.count(space_id) == 1
    assert check(catalog.folder, "data") == []


def test_filling_a_second_space_keeps_the_segments_of_the_first(catalog):
    root_id, first = fill(catalog, [record(b"a.jpg")])
    (item,) = catalog.reader.items()
    second = catalog.space(EncoderSpec(name="other", space="space-2", dim=DIM, modalities=frozenset(), licence=""))
    assert catalog.pending(second.id) == 1
    catalog.write_batch(root_id, second.id, [record(b"a.jpg", write=Write.FILL, item_id=item.id)])
    assert catalog.pending(second.id) == 0
    ids = [next(iter(catalog.reader.blocks(space_id, DIM))).ids.tolist() for space_id in (first, second.id)]
    assert ids[0] == ids[1]


def test_compare_returns_only_what_needs_a_look(catalog):
    root_id, space_id = fill(catalog, [record(b"same.jpg"), record(b"changed.jpg")])
    catalog.start_listing()
    listed = [FileStat(b"same.jpg", 1, 2, 3), FileStat(b"changed.jpg", 9, 2, 3), FileStat(b"new.jpg", 1, 2, 3)]
    known = catalog.compare(root_id, listed, space_id, complete=False)
    assert [(k.file.path, k.item_id is None, k.same) for k in known] == [
        (b"changed.jpg", False, False),
        (b"new.jpg", True, False),
    ]
    assert list(catalog.unlisted(root_id, b"")) == []


def test_unlisted_stays_inside_its_folder(catalog):
    root_id, space_id = fill(catalog, [record(b"a/x.jpg"), record(b"ab/x.jpg"), record(b"b.jpg")])
    catalog.start_listing()
    catalog.compare(root_id, [], space_id, complete=True)
    assert [path for _, path in catalog.unlisted(root_id, b"a")] == [b"a/x.jpg"]


@pytest.mark.parametrize(
    ("path", "folder", "below"),
    [(b"/a/b", b"/a", True), (b"/a", b"/a", True), (b"/ab", b"/a", False), (b"/x", b"/", True), (b"/", b"/a", False)],
)
def test_is_below_compares_whole_names(path, folder, below):
    assert is_below(path, folder) is below


def test_a_new_root_takes_over_the_roots_inside_it(catalog):
    inner = roots.claim(catalog, b"/data/2024/june")
    space = catalog.space(SPEC)
    catalog.write_batch(inner.root_id, space.id, [record(b"a.jpg")])
    outer = roots.claim(catalog, b"/data")
    assert [item.path for item in catalog.reader.items()] == [b"/data/2024/june/a.jpg"]
    assert roots.claim(catalog, b"/data/2024").root_id == outer.root_id
    assert catalog.reader.query("SELECT count(*) FROM root") == [(1,)]


@pytest.mark.parametrize(
    ("old", "new", "moved"),
    [
        (b"/data", b"/mnt/data", b"/mnt/data/a/x.jpg"),
        (b"/data/a", b"/mnt/a", b"/mnt/a/x.jpg"),
    ],
)
def test_relocate_moves_a_root_or_a_part_of_one(catalog, old, new, moved):
    fill(catalog, [record(b"a/x.jpg"), record(b"y.jpg")])
    count = roots.relocate(catalog, old, new)
    paths = [item.path for item in catalog.reader.items()]
    assert moved in paths
    assert count == len(paths) if old == b"/data" else count == 1


def test_relocate_of_something_unknown_says_so_and_changes_nothing(catalog):
    fill(catalog, [record(b"a/x.jpg")])
    with pytest.raises(UsageError, match="nothing is indexed below /elsewhere"):
        roots.relocate(catalog, b"/elsewhere", b"/mnt")
    assert catalog.reader.query("SELECT path FROM root") == [(b"/data",)]


def test_gone_files_keep_their_vectors_and_rows_without_vectors_go(catalog, tmp_path):
    fill(catalog, [record(b"a.jpg"), Record(file=FileStat(b"b.jpg", 1, 1, 1), state=State.REJECTED, reason="broken")])
    catalog.mark_gone([item.id for item in catalog.reader.items()])
    assert [(item.path, item.state) for item in catalog.reader.items()] == [(b"/data/a.jpg", "missing")]
    assert roots.prune(catalog) == [], "its folder is not there"
    (tmp_path / "photos" / "another").mkdir(parents=True)
    roots.relocate(catalog, b"/data", bytes(tmp_path / "photos"))
    assert roots.prune(catalog) == [bytes(tmp_path / "photos" / "a.jpg")]
    assert catalog.reader.items() == []


def test_spans_survive_the_store(catalog):
    spans = (Span(0.0, 5.0, "s"), Span(5.0, 7.5, "s"))
    details = (Detail(), Detail(Modality.AUDIO, "spoken words", 3))
    root_id, space_id = fill(catalog, [])
    catalog.write_batch(root_id, space_id, [record(b"a.mp4", vectors(2), spans=spans, details=details)])
    (block,) = catalog.reader.blocks(space_id, DIM)
    found = [catalog.reader.live(block.ids.tolist())[i] for i in block.ids.tolist()]
    assert tuple(segment.span for segment in found) == spans
    assert [segment.modality for segment in found] == [Modality.IMAGE, Modality.AUDIO]
    assert (found[1].text, found[1].page) == ("spoken words", 3)
    donation = catalog.reader.donation(found[0].item_id, catalog.reader.spaces()[0])
    named = (Detail(Modality.IMAGE), details[1])  # the kind of every segment is written down
    assert (donation.spans, donation.details) == (spans, named)
    assert catalog.reader.setting(f"holds:{space_id}") == "audio,image"


def test_names_are_found_by_their_words(catalog):
    fill(catalog, [record(b"Holiday/red_boat 7.jpg"), record(b"b\xff.jpg")])
    assert [item.path for item in catalog.reader.items(named="boat 7")] == [b"/data/Holiday/red_boat 7.jpg"]
    assert [item.path for item in catalog.reader.items(named='a "quoted')] == []


class TestArtifacts:
    """An index is a cache: published whole or not at all, proved before it is used."""

    @pytest.fixture
    def space(self, catalog):
        fill(catalog, [record(b"%d.jpg" % i, row) for i, row in enumerate(vectors(50))])
        return catalog.reader.active_space()

    def opened(self, catalog, space):
        return artifacts.open_newest(catalog.reader, catalog.folder, space)

    def path(self, catalog, artifact):
        return os.path.join(catalog.folder, layout.ARTIFACTS, artifact.file)

    def test_few_rows_are_not_worth_an_index_until_one_is_asked_for(self, catalog, space):
        assert artifacts.refresh(catalog, space) is None
        assert artifacts.refresh(catalog, space, "exact") is not None
        assert artifacts.refresh(catalog, space) is None
        assert self.opened(catalog, space).kind == "exact"

    def test_an_index_that_is_far_behind_is_built_again(self, catalog, space, monkeypatch):
        monkeypatch.setattr(artifacts, "SCANNED", 10)
        first = artifacts.refresh(catalog, space)
        root_id = roots.claim(catalog, b"/data").root_id
        catalog.write_batch(root_id, space.id, [record(b"new%d.jpg" % i, row) for i, row in enumerate(vectors(11, 5))])
        second = artifacts.refresh(catalog, space)
        assert (first.rows, second.rows) == (50, 61)

    def test_two_generations_are_kept(self, catalog, space):
        made = [artifacts.publish(catalog, space, "exact") for _ in range(4)]
        assert [a.id for a in catalog.reader.artifacts(space.id)] == [made[3].id, made[2].id]
        assert sorted(os.listdir(os.path.join(catalog.folder, layout.ARTIFACTS))) == [made[2].file, made[3].file]

    def test_a_damaged_index_gives_way_to_the_one_before_and_says_so(self, catalog, space):
        older, newer = artifacts.publish(catalog, space, "exact"), artifacts.publish(catalog, space, "exact")
        with open(self.path(catalog, newer), "r+b") as file:
            file.seek(7)
            byte = file.read(1)
            file.seek(7)
            file.write(bytes([byte[0] ^ 1]))
        opened = self.opened(catalog, space)
        assert opened.max_seq == older.max_seq and "sha256" in opened.notes[0] and "repair" in opened.notes[0]

    def test_a_copied_library_is_proved_by_its_hash(self, catalog, space):
        artifact = artifacts.publish(catalog, space, "exact")
        os.utime(self.path(catalog, artifact))
        assert artifacts.signature(self.path(catalog, artifact)) != artifact.stat
        assert self.opened(catalog, space).notes == ()

    def test_without_a_usable_index_everything_is_scanned(self, catalog, space):
        os.truncate(self.path(catalog, artifacts.publish(catalog, space, "exact")), 100)
        opened = self.opened(catalog, space)
        assert opened.index is None and opened.max_seq == 0 and opened.kind == "scan"

    def test_files_that_no_row_names_are_swept_up(self, catalog, space):
        stray = os.path.join(catalog.folder, layout.ARTIFACTS, "99.exact.tmp")
        open(stray, "w").close()
        artifacts.publish(catalog, space, "exact")
        assert not os.path.exists(stray)

    def test_an_unknown_kind_is_a_usage_error(self, catalog, space):
        with pytest.raises(UsageError):
            artifacts.publish(catalog, space, "exakt")
