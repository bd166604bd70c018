"""Trees as they are: drives that go, links that loop, names that are no text, files that change under our hands."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import unicodedata

import pytest

from mmsearch import Library
from mmsearch.errors import UsageError
from mmsearch.indexer.ingest import Options
from mmsearch.media import files

from .harness import oracle
from .harness.world import World


def index(library: Library, world: World, *more: bytes, **options):
    return library.index([world.root, *more], model="fake", device="cpu", options=Options(**options))


def findable(library: Library) -> set[bytes]:
    with Library(library.folder) as opened:
        return {hit.path for hit in opened.search("red", k=1000)}


# -- drives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_drive_that_is_unplugged_and_back(library, world, encoded, left) -> None:
    index(library, world)
    aside = world.root + b".aside"
    os.rename(world.root, aside)
    if left == "an empty folder":
        os.mkdir(world.root)
    for _ in range(2):
        summary = index(library, world)
        assert (summary.offline, summary.missing, summary.seen) == ([world.root], 0, 0)
        assert findable(library) == set(world.files), "what is on the drive can still be found"
        assert library.prune() == []
    if left == "an empty folder":
        os.rmdir(world.root)
    os.rename(aside, world.root)
    encoded[0] = 0
    summary = index(library, world)
    assert (summary.unchanged, summary.seen, encoded[0]) == (20, 20, 0)
    assert findable(library) == set(world.files)


def test_a_drive_that_comes_back_with_other_inodes(library, world, encoded) -> None:
    """Another mount of the same content: read again, never encoded again."""
    index(library, world)
    shutil.copytree(world.root, world.root + b".copy")
    shutil.rmtree(world.root)
    os.rename(world.root + b".copy", world.root)
    encoded[0] = 0
    assert (index(library, world).unchanged, encoded[0]) == (20, 0)
    assert oracle.content(oracle.snapshot(library.folder), world) == []


def test_an_unreadable_folder_costs_only_itself(library, world, monkeypatch) -> None:
    """Root may read anything, so the system's refusal is played."""
    inner, scandir = os.path.join(world.root, b"locked"), os.scandir
    world.write(os.path.join(inner, b"x.png"), world.files[min(world.files)])
    index(library, world)

    def refused(path):
        if path == inner:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(path)

    with monkeypatch.context() as locked:
        locked.setattr(os, "scandir", refused)
        summary = index(library, world)
    assert [(f.path, f.state, f.reason) for f in summary.failures] == [(inner, "transient", "permission denied")]
    assert summary.missing == 0
    assert findable(library) == set(world.files)


# -- hazards ---------------------------------------------------------------------------------------------------------


def test_everything_strange_in_one_tree(library, world) -> None:
    root = world.root
    os.symlink(root, os.path.join(root, b"loop"))
    os.symlink(b"self", os.path.join(root, b"self"))
    os.symlink(min(world.files), os.path.join(root, b"link.png"))
    os.symlink(b"/nowhere", os.path.join(root, b"dangling.png"))
    os.mkfifo(os.path.join(root, b"fifo.png"))
    here = os.getcwd()
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(b"socket.png")
        os.chdir(here)
        sha256 = world.files[min(world.files)]
        for name in (b"\xff\xfe.png", b"new\nline.png", b"tab\t.png", b"\x1b[31m.png", b"y" * 251 + b".png", b" .png"):
            world.write(os.path.join(root, name), sha256)
        for form in ("NFC", "NFD"):
            world.write(os.path.join(root, unicodedata.normalize(form, "café.png").encode()), sha256)
        world.write(os.path.join(root, *[b"d" * 100] * 20, b"deep.png"), sha256)
        for follow in (False, True):
            summary = index(library, world, follow_links=follow)
            assert summary.failures == [] and summary.searchable - follow == len(world.files)
    assert findable(library) - {os.path.join(root, b"link.png")} == set(world.files)
    assert library.check("data") == []


def test_the_library_inside_the_tree_is_not_indexed(world) -> None:
    library = Library(os.fsdecode(os.path.join(world.root, b"my library")))
    for _ in range(2):
        index(library, world, retry=True)
        assert findable(library) == set(world.files)
        shutil.copy(min(world.files), os.path.join(os.fsencode(library.folder), b"inside.png"))


def test_files_that_vanish_while_they_are_indexed(library, world, monkeypatch) -> None:
    read, doomed = files.read, set(sorted(world.files)[::3])

    def vanishing(path, *arguments, **options):
        if path in doomed and os.path.exists(path):
            os.unlink(path)
        return read(path, *arguments, **options)

    monkeypatch.setattr("mmsearch.indexer.prepare.read", vanishing)
    summary = index(library, world)
    assert (summary.added, summary.missing, summary.failures) == (20 - len(doomed), len(doomed), [])
    assert findable(library) == set(world.files) - doomed


def test_a_file_that_grows_while_it_is_read(library, world, monkeypatch) -> None:
    growing, digest = min(world.files), files._digest

    def append(path: bytes) -> None:
        with open(path, "ab") as file:
            file.write(b"more")

    def grows(file, most, stopped):
        if os.path.samestat(os.fstat(file.fileno()), os.stat(growing)):
            append(growing)
        return digest(file, most, stopped)

    with monkeypatch.context() as busy:
        busy.setattr(files, "_digest", grows)
        summary = index(library, world)
    assert [(f.path, f.state, f.reason) for f in summary.failures] == [
        (growing, "transient", "changed while it was read")
    ]
    assert findable(library) == set(world.files) - {growing}
    assert index(library, world).failures == [], "the next run finds it at rest"
    assert findable(library) == set(world.files)


# -- changes ---------------------------------------------------------------------------------------------------------


def test_renamed_copied_and_touched_files_are_not_encoded_again(library, world, encoded) -> None:
    index(library, world)
    encoded[0] = 0
    for change, expected in ((world._rename, "reused"), (world._copy, "reused"), (world._touch, "unchanged")):
        files_before = set(world.files)
        change(min(world.files))
        summary = index(library, world)
        assert getattr(summary, expected) == (1 if expected == "reused" else len(files_before)), expected
        assert findable(library) == set(world.files)
    assert encoded[0] == 0
    assert oracle.content(oracle.snapshot(library.folder), world) == []


def test_a_folder_that_is_renamed_is_not_encoded_again(library, world, encoded) -> None:
    index(library, world)
    encoded[0] = 0
    world._move(next(path for path in sorted(world.files) if os.path.dirname(path) != world.root))
    index(library, world)
    assert encoded[0] == 0 and findable(library) == set(world.files)


def test_a_changed_file_gets_new_ids(library, world) -> None:
    index(library, world)
    path = min(world.files)
    before = oracle.snapshot(library.folder)
    world._change(path)
    assert index(library, world).updated == 1
    found = oracle.snapshot(library.folder)
    known: dict[tuple[str, int], str] = {}
    assert oracle.reused_ids(before, known) + oracle.reused_ids(found, known) == []
    assert found.by_path()[path].item_id > max(row.item_id for row in before.rows)


def test_a_removed_file_is_missing_until_it_is_back(library, world, encoded) -> None:
    index(library, world)
    path = min(world.files)
    os.rename(path, world.root + b".aside")
    for _ in range(2):
        summary = index(library, world)
        assert (summary.missing, summary.seen) == (1, 20)
        assert findable(library) == set(world.files) - {path}
    os.rename(world.root + b".aside", path)
    encoded[0] = 0
    assert (index(library, world).missing, encoded[0]) == (0, 0)
    assert findable(library) == set(world.files)


def test_prune_and_forget(library, world, encoded) -> None:
    index(library, world)
    path, other = sorted(world.files)[:2]
    world._delete(path)
    index(library, world)
    assert library.prune(dry_run=True) == [path] == library.prune() and library.prune() == []
    assert library.forget(other) == 1
    assert findable(library) == set(world.files) - {other}
    encoded[0] = 0
    assert (index(library, world).added, encoded[0]) == (1, 1)


# -- roots -----------------------------------------------------------------------------------------------------------


def _relocated(library: Library, world: World, old: bytes, new: bytes, encoded: list[int]) -> None:
    os.makedirs(os.path.dirname(new), exist_ok=True)
    os.rename(old, new)
    for path in [p for p in world.files if p.startswith(old + b"/")]:
        world._moved(path, new + path[len(old) :])
    encoded[0] = 0
    library.relocate(old, new)
    assert findable(library) == set(world.files)


def test_a_root_that_moved(library, world, encoded) -> None:
    index(library, world)
    new = world.root + b".new/place"
    _relocated(library, world, world.root, new, encoded)
    summary = library.index([new], device="cpu")
    assert (summary.unchanged, summary.seen, encoded[0]) == (20, 20, 0)


def test_a_folder_of_a_root_that_moved(library, world, encoded) -> None:
    index(library, world)
    old = os.path.join(world.root, b"a")
    moved = sum(path.startswith(old + b"/") for path in world.files)
    assert moved
    new = world.root + b".elsewhere"
    _relocated(library, world, old, new, encoded)
    summary = library.index([world.root, new], device="cpu")
    assert (summary.unchanged, summary.seen, encoded[0]) == (20, 20, 0)
    with pytest.raises(UsageError):
        library.relocate(old, new)


def test_an_ancestor_takes_over_its_folders(library, world, encoded) -> None:
    inner = os.path.join(world.root, b"a")
    library.index([inner], model="fake", device="cpu")
    encoded[0] = 0
    summary = index(library, world)
    below = sum(path.startswith(inner + b"/") for path in world.files)
    assert (summary.unchanged, summary.added, encoded[0]) == (below, 20 - below, 20 - below)
    assert oracle.content(oracle.snapshot(library.folder), world) == []
    assert index(library, world, inner).unchanged == 20, "each file is seen once"
    assert findable(library) == set(world.files)
