"""Files as they are: whatever takes a file's place, `ls` says what the tree holds."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
from random import Random

import pytest

from mmsearch import Library
from mmsearch.cli.collect import collect
from mmsearch.indexer.ingest import Options
from mmsearch.store import presence
from mmsearch.store.presence import contents

from .harness.world import World
from .replace import check_sequence


def index(library: Library, world: World, **options):
    return library.index([world.root], model="fake", device="cpu", options=Options(**options))


def present(library: Library) -> set[bytes]:
    with Library(library.folder) as opened:
        return {item.path for item in opened.reader.items() if item.state == "ok"}


def replaced_by_a_folder(path: bytes) -> None:
    os.mkdir(path)


def replaced_by_a_link(path: bytes) -> None:
    os.symlink(os.path.basename(path) + b".target", path)
    with open(path + b".target", "wb") as file:
        file.write(b"not a picture")


def replaced_by_a_fifo(path: bytes) -> None:
    os.mkfifo(path)


def replaced_by_a_socket(path: bytes) -> None:
    here = os.getcwd()
    os.chdir(os.path.dirname(path))  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.basename(path))
    os.chdir(here)


@pytest.mark.parametrize(
    "replaced", [replaced_by_a_folder, replaced_by_a_link, replaced_by_a_fifo, replaced_by_a_socket]
)
def test_what_is_no_file_any_more_is_gone(library, world, replaced) -> None:
    index(library, world)
    path = min(world.files)
    os.unlink(path)
    replaced(path)
    assert index(library, world).missing == 1
    assert present(library) == set(world.files) - {path}
    assert library.prune() == [path]


def test_a_folder_that_became_a_link_or_a_file_is_gone_with_all_in_it(library, world) -> None:
    inner = os.path.join(world.root, b"x")
    world.write(os.path.join(inner, b"deep", b"1.png"), world.files[min(world.files)])
    inside = os.path.join(inner, b"deep", b"1.png")
    assert inside in world.files
    index(library, world)
    outside = world.root + b".outside"
    os.rename(inner, outside)
    os.symlink(outside, inner)
    assert index(library, world).missing == 1 and inside not in present(library)
    assert index(library, world, follow_links=True).missing == 0 and inside in present(library)
    os.unlink(inner)
    with open(inner, "w"):
        pass
    assert index(library, world, follow_links=True).missing == 1 and inside not in present(library)


@pytest.mark.parametrize("number", range(12))
def test_any_sequence_of_replacements(tmp_path, number) -> None:
    """1,000 of them: `make replace`."""
    assert check_sequence(str(tmp_path), Random(f"replace {number}")) == []


# -- odd numbers -----------------------------------------------------------------------------------------------------


class Odd:
    """A status with some numbers changed: what file systems of others hand out."""

    def __init__(self, status: os.stat_result, **numbers: int) -> None:
        self._status, self._numbers = status, numbers

    def __getattr__(self, name: str):
        return self._numbers.get(name, getattr(self._status, name))


@pytest.mark.parametrize(
    "numbers",
    [
        {"st_mtime_ns": (2**63 - 1) * 10**9, "st_ctime_ns": 2**63},
        {"st_mtime_ns": -(2**63) * 10**9, "st_ctime_ns": -(2**63) - 1},
        {"st_ino": 2**64 - 1},
        {"st_ino": 2**63},
    ],
)
def test_no_number_of_a_file_ends_a_run(library, world, monkeypatch, numbers) -> None:
    """A time after 2262 or an inode above 2^63 ended every run with an internal error, and nothing was indexed."""
    fstat, scandir = os.fstat, os.scandir

    class Entry:
        def __init__(self, entry: os.DirEntry[bytes]) -> None:
            self._entry = entry

        def __getattr__(self, name: str):
            return getattr(self._entry, name)

        def stat(self, **how):
            return Odd(self._entry.stat(**how), **numbers)

    class Listing:
        def __init__(self, path) -> None:
            self._listing = scandir(path)

        def __enter__(self):
            self._listing.__enter__()
            return map(Entry, self._listing)

        def __exit__(self, *error) -> None:
            self._listing.__exit__(*error)

    def odd(number: int):  # of the tree alone: the library's own lock is told by its inode
        theirs = os.readlink(f"/proc/self/fd/{number}").startswith(os.fsdecode(world.root))
        return Odd(fstat(number), **numbers) if theirs else fstat(number)

    monkeypatch.setattr(os, "fstat", odd)
    monkeypatch.setattr("mmsearch.indexer.scan.os.scandir", Listing)
    monkeypatch.setattr("mmsearch.store.presence.os.scandir", scandir, raising=False)
    assert index(library, world).added == len(world.files)
    assert index(library, world).unchanged == len(world.files)


def test_a_file_of_the_year_2300(library, world) -> None:
    os.utime(min(world.files), (2**33 + 2**31, 2**33 + 2**31))
    if os.stat(min(world.files)).st_mtime < 2**33:
        pytest.skip("this file system keeps no times after 2262")
    assert index(library, world).added == len(world.files)
    assert index(library, world).unchanged == len(world.files)


# -- in place --------------------------------------------------------------------------------------------------------


def test_a_change_in_place_that_keeps_size_and_time_is_seen(library, world) -> None:
    index(library, world)
    path, other = sorted(world.files)[:2]
    was = os.stat(path)
    with open(other, "rb") as file:
        content = file.read()
    with open(path, "r+b") as file:
        file.truncate(was.st_size)
        file.write(content[: was.st_size].ljust(was.st_size, b"\0"))
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert os.stat(path).st_size == was.st_size and os.stat(path).st_mtime_ns == was.st_mtime_ns
    summary = index(library, world)
    assert summary.unchanged == len(world.files) - 1


def test_what_only_got_another_mode_is_read_and_not_encoded(library, world, encoded) -> None:
    index(library, world)
    encoded[0] = 0
    os.chmod(min(world.files), 0o600)
    for _ in range(2):
        summary = index(library, world)
        assert (summary.unchanged, encoded[0]) == (len(world.files), 0)


def test_an_upgraded_library_learns_the_times_and_reads_nothing_again(library, world, monkeypatch) -> None:
    index(library, world)
    with library.catalog() as catalog, catalog.transaction() as connection:
        connection.exec_driver_sql("UPDATE item SET ctime_ns = NULL")
        connection.exec_driver_sql(f"DELETE FROM setting WHERE key LIKE '{presence.DEVICE}%'")
    library.close()
    with monkeypatch.context() as closed:
        closed.setattr("mmsearch.indexer.prepare.read", None)  # whoever reads a file fails
        assert index(library, world).unchanged == len(world.files)
    os.chmod(min(world.files), 0o600)
    read = []
    real = __import__("mmsearch.media.files", fromlist=["read"]).read
    monkeypatch.setattr("mmsearch.indexer.prepare.read", lambda path, *a, **k: read.append(path) or real(path, *a, **k))
    index(library, world)
    assert read == [min(world.files)]


# -- drives and folders ----------------------------------------------------------------------------------------------


def _other_device(monkeypatch, root: bytes, number: int = 424242) -> None:
    stat = os.stat

    def moved(path, *args, **how):
        found = stat(path, *args, **how)
        return Odd(found, st_dev=number) if path == root else found

    monkeypatch.setattr("mmsearch.store.presence.os.stat", moved)


def test_a_mount_point_with_strays_is_a_drive_that_is_not_there(library, world, monkeypatch) -> None:
    """One stray file in the mount point: all files were missing, and `prune` forgot them."""
    index(library, world)
    os.rename(world.root, world.root + b".drive")
    os.mkdir(world.root)
    world.write(os.path.join(world.root, b"stray.png"), min(world.files.values()))
    with monkeypatch.context() as unplugged:
        _other_device(unplugged, world.root)
        for _ in range(2):
            summary = index(library, world)
            assert (summary.offline, summary.missing, summary.seen) == ([world.root], 0, 0)
            assert library.prune() == []
    os.unlink(os.path.join(world.root, b"stray.png"))
    os.rmdir(world.root)
    del world.files[os.path.join(world.root, b"stray.png")]
    os.rename(world.root + b".drive", world.root)
    assert index(library, world).unchanged == len(world.files)


def test_a_drive_that_is_numbered_anew_is_there(library, world, monkeypatch) -> None:
    index(library, world)
    _other_device(monkeypatch, world.root)
    for _ in range(2):
        summary = index(library, world)
        assert (summary.offline, summary.unchanged) == ([], len(world.files))


def test_prune_looks_at_the_disk_first(library, world) -> None:
    """Moved away, indexed, moved back, pruned: it was forgotten."""
    index(library, world)
    path, other = sorted(world.files)[:2]
    os.rename(path, path + b".aside")
    os.unlink(other)
    index(library, world)
    os.rename(path + b".aside", path)
    assert library.prune(dry_run=True) == [other] == library.prune() and library.prune() == []
    assert index(library, world).unchanged == len(world.files) - 1


def test_a_folder_that_cannot_be_read_is_counted_and_in_errors(library, world) -> None:
    """A path that is longer than the system takes: no other way is barred to root."""
    here, deep = os.getcwd(), world.root
    os.chdir(world.root)
    for _ in range(25):
        os.mkdir(b"d" * 200)
        os.chdir(b"d" * 200)
        deep = os.path.join(deep, b"d" * 200)
    os.chdir(here)
    for _ in range(2):
        summary = index(library, world)
        assert (summary.transient, summary.seen) == (1, len(world.files) + 1)
        (failure,) = summary.failures
        assert failure.reason == "file name too long" and deep.startswith(failure.path)
        with Library(library.folder) as opened:
            assert opened.reader.failures() == [failure]
    os.rename(os.path.join(world.root, b"d" * 200), world.root + b".aside")
    assert index(library, world).failures == []
    with Library(library.folder) as opened:
        assert opened.reader.failures() == []


def test_a_folder_that_can_be_read_again_leaves_no_trace(library, world, monkeypatch) -> None:
    inner, scandir = os.path.join(world.root, b"locked"), os.scandir
    world.write(os.path.join(inner, b"x.png"), world.files[min(world.files)])

    def refused(path):
        if path == inner:
            raise PermissionError(13, os.strerror(13))
        return scandir(path)

    with monkeypatch.context() as locked:
        locked.setattr(os, "scandir", refused)
        for _ in range(2):
            assert index(library, world).transient == 1
            with Library(library.folder) as opened:
                assert [failure.path for failure in opened.reader.failures()] == [inner]
    assert index(library, world).failures == []
    assert present(library) == set(world.files)
    with Library(library.folder) as opened:
        assert opened.reader.failures() == []


# -- copies ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(library, world, tmp_path):
    """Copy what a question finds; gives what was done."""

    def copy(name: str = "copies"):
        with Library(library.folder) as opened:
            hits = opened.search("red", k=1000).hits
            return collect(hits, str(tmp_path / name), "copy", contents(opened.reader, [hit.item_id for hit in hits]))

    return copy


def test_a_copy_is_what_was_found_or_none(library, world, copied, tmp_path) -> None:
    """A link that took a file's place was followed, and what it led to was copied as if it had been found."""
    index(library, world)
    linked, changed, strange, gone = sorted(world.files)[:4]
    secret = world.root + b".secret"
    with open(secret, "wb") as file:
        file.write(b"secret")
    for path in (linked, strange, gone):
        os.unlink(path)
    os.symlink(secret, linked)
    with open(changed, "ab") as file:
        file.write(b"more")
    os.mkfifo(strange)
    done = copied()
    assert (done.new, len(done.failed)) == (len(world.files) - 4, 4)
    reasons = {why.rpartition(": ")[2] for why in done.failed}
    assert reasons == {
        "is a link now",
        "changed since it was indexed",
        "not a regular file",
        "no such file or directory",
    }
    expected = {os.path.basename(path): sha for path, sha in world.files.items() if path not in sorted(world.files)[:4]}
    found = {
        os.fsencode(path.name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (tmp_path / "copies").iterdir()
    }
    assert found == expected


def test_a_file_that_was_found_through_a_link_is_copied_through_it(library, world, copied) -> None:
    link = os.path.join(world.root, b"link.png")
    outside = world.root + b".outside.png"
    os.rename(min(world.files), outside)
    os.symlink(outside, link)
    index(library, world, follow_links=True)
    done = copied()
    assert (done.new, done.failed) == (len(world.files), [])


def test_a_copy_keeps_the_mode_of_its_source(library, world, copied, tmp_path) -> None:
    for number, path in enumerate(sorted(world.files)):
        os.chmod(path, (0o600, 0o640, 0o644)[number % 3])
    index(library, world)
    copied()
    for number, path in enumerate(sorted(world.files)):
        copy = os.path.join(os.fsencode(tmp_path), b"copies", os.path.basename(path))
        assert os.stat(copy).st_mode & 0o777 == (0o600, 0o640, 0o644)[number % 3]


def test_a_killed_copy_leaves_no_half_under_its_name(library, world, tmp_path) -> None:
    """Half a file stood under its final name, and the next run kept it and made another."""
    path = min(world.files)
    with open(path, "ab") as file:
        file.write(bytes(64 * 1024 * 1024))
    index(library, world)
    target = tmp_path / "copies"
    target.mkdir()
    (target / ".mmsearch-notes.part").write_text("somebody's own")
    program = (
        "import os, signal, sys\nfrom mmsearch.cli import collect\nfrom mmsearch.cli.app import main\n"
        "collect._keep_mode = lambda *a: os.kill(os.getpid(), signal.SIGKILL)\nmain()"
    )
    arguments = ["--library", library.folder, "query", "red", "-k", "1000", "--copy-to", str(target)]
    killed = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = {name for name in os.listdir(target) if not name.startswith(".")}
    assert left == set() and len(os.listdir(target)) == 2
    done = subprocess.run([sys.executable, "-m", "mmsearch", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    names = {os.path.basename(path) for path in world.files} | {b".mmsearch-notes.part"}
    assert set(os.listdir(os.fsencode(target))) == names


@pytest.mark.parametrize("links", [True, False])
def test_no_copy_overwrites_what_comes_between(library, world, copied, tmp_path, monkeypatch, links) -> None:
    """Also on a disk without hard links."""
    index(library, world)
    name = os.fsdecode(os.path.basename(min(world.files)))
    link = os.link

    def raced(half, final, **how):
        if not os.path.lexists(final) and os.path.basename(final) == os.fsencode(name):
            with open(final, "wb") as file:
                file.write(b"mine")
        if not links:
            raise PermissionError(1, "Operation not permitted")
        link(half, final, **how)

    monkeypatch.setattr(os, "link", raced)
    assert copied().failed == []
    assert (tmp_path / "copies" / name).read_bytes() == b"mine"
    assert len(os.listdir(tmp_path / "copies")) == len(world.files) + 1


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
def test_a_table_that_is_called_a_text_is_read_as_one(tmp_path, swapped) -> None:
    """It kept the chunks of the table, as its content was known."""
    tree, content = tmp_path / "tree", "one two three,four five six\n" * 20
    tree.mkdir()
    (tree / "a.csv").write_text(content)
    (tree / "b.txt").write_text("Another text.")

    def run(folder: str):
        with Library(folder) as library:
            return library.index([str(tree)], model="fake", device="cpu")

    run(str(tmp_path / "library"))
    if swapped:  # its content comes while what it was is overwritten
        (tree / "a.csv").write_text("another,table\n")
        (tree / "b.txt").write_text(content)
    else:
        (tree / "a.csv").rename(tree / "a.txt")
    summary = run(str(tmp_path / "library"))
    assert summary.reused == 0
    run(str(tmp_path / "fresh"))
    with Library(str(tmp_path / "library")) as kept, Library(str(tmp_path / "fresh")) as fresh:
        sql = (
            "SELECT i.path, s.text FROM item i JOIN segment s ON s.item_id = i.id "
            "WHERE i.gone IS NULL ORDER BY i.path, s.id"
        )
        assert kept.reader.query(sql) == fresh.reader.query(sql)
