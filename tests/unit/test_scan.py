"""The tree walk, on trees made here: what is found, what is left out, what is reported, what it must survive."""

import errno
import itertools
import os
import socket
import subprocess

import pytest

from mmsearch.indexer.scan import walk
from mmsearch.types import FileStat


@pytest.fixture
def root(tmp_path):
    return os.fsencode(tmp_path / "root")


def make(root, *paths, content=b"x"):
    for path in paths:
        full = os.path.join(root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as file:
            file.write(content)


def found(root, *args, **options):
    return sorted(entry.path for entry in walk(root, *args, **options))


def errors(root, *args, **options):
    seen = []
    paths = sorted(
        e.path for e in walk(root, *args, on_error=lambda path, error: seen.append((path, error)), **options)
    )
    return paths, [(path, error.errno) for path, error in seen]


def test_every_regular_file_with_its_status(root):
    make(root, b"a.jpg", b"b/c/d.png", b"b/e.gif")
    entries = sorted(walk(root))
    assert [entry.path for entry in entries] == [b"a.jpg", b"b/c/d.png", b"b/e.gif"]
    for entry in entries:
        status = os.stat(os.path.join(root, entry.path))
        assert entry == FileStat(entry.path, status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns)


def test_names_are_bytes(root):
    names = [b"\xff\xfe.jpg", b"new\nline.jpg", b"\x1b[31m.jpg", b"caf\xc3\xa9.jpg", b"cafe\xcc\x81.jpg", b"n" * 255]
    make(root, *names, *(b"folder\xff/" + name for name in names))
    assert found(root) == sorted([*names, *(b"folder\xff/" + name for name in names)])
    assert found(root, include=["*.jpg"], exclude=["*line*"]) == [
        p for p in found(root) if b"line" not in p and b"jpg" in p
    ]


def test_start_may_be_a_folder_or_a_file(root):
    make(root, b"a/b/x.jpg", b"a/y.jpg", b".hidden/z.jpg", b"top.jpg")
    assert found(root, b"a") == [b"a/b/x.jpg", b"a/y.jpg"]
    assert found(root, b"a/b/x.jpg") == [b"a/b/x.jpg"]
    assert found(root, b".hidden") == [b".hidden/z.jpg"]
    assert found(os.path.join(root, b"top.jpg")) == [b""]


def test_a_missing_start_is_reported(root):
    make(root, b"a.jpg")
    assert errors(root, b"gone") == ([], [(b"gone", errno.ENOENT)])
    assert errors(root + b"gone") == ([], [(b"", errno.ENOENT)])


def test_hidden_files_and_system_junk_are_left_out(root):
    junk = [
        *(b".hidden.jpg", b"._a.jpg", b".git/a.jpg", b".DS_Store", b"@eaDir/a.jpg", b"node_modules/m/a.jpg"),
        *(b"$RECYCLE.BIN/a.jpg", b"System Volume Information/a", b"Thumbs.db", b"thumbs.DB", b"desktop.ini"),
        *(b"__MACOSX/a.jpg", b"lost+found/a.jpg"),
    ]
    make(root, b"a.jpg", b"sub/b.jpg", *junk, *(b"sub/" + path for path in junk))
    assert found(root) == [b"a.jpg", b"sub/b.jpg"]


def test_a_folder_with_nomedia_is_left_out_with_all_below(root):
    make(root, b"a.jpg", b"no/.nomedia", b"no/b.jpg", b"no/deep/c.jpg")
    assert found(root) == [b"a.jpg"]


def test_include_and_exclude(root):
    make(root, b"a.JPG", b"b.jpeg", b"2023/c.jpg", b"2023/raw/d.jpg", b"Trash/e.jpg", b"f.txt")
    assert found(root, include=["*.jpg"]) == [b"2023/c.jpg", b"2023/raw/d.jpg", b"Trash/e.jpg", b"a.JPG"]
    assert found(root, include=["*.jpg", "*.jpeg"], exclude=["trash", "2023/raw"]) == [
        b"2023/c.jpg",
        b"a.JPG",
        b"b.jpeg",
    ]
    assert found(root, include=["2023/*"], exclude=["raw/"]) == [b"2023/c.jpg"]
    assert found(root, exclude=["[a-e]*.jp*g", "*.TXT"]) == []


def test_an_excluded_folder_is_not_entered(root):
    make(root, b"big/a.jpg", b"b.jpg")
    os.chmod(os.path.join(root, b"big"), 0)
    assert errors(root, exclude=["big"]) == ([b"b.jpg"], [])


def test_only_regular_files(root, tmp_path):
    make(root, b"a.jpg")
    os.mkfifo(os.path.join(root, b"fifo.jpg"))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.join(root, b"s.jpg"))
        os.symlink(b"/dev/zero", os.path.join(root, b"device.jpg"))
        for follow in (False, True):
            assert errors(root, follow_links=follow) == ([b"a.jpg"], [])


def test_links_are_followed_only_when_asked(root):
    make(root, b"root/a.jpg", b"outside/b.jpg")
    tree = os.path.join(root, b"root")
    os.symlink(b"a.jpg", os.path.join(tree, b"link.jpg"))
    os.symlink(b"../outside", os.path.join(tree, b"out"))
    os.symlink(b"nowhere", os.path.join(tree, b"broken"))
    os.symlink(b"itself", os.path.join(tree, b"itself"))
    assert errors(tree) == ([b"a.jpg"], [])
    assert errors(tree, follow_links=True) == ([b"a.jpg", b"link.jpg", b"out/b.jpg"], [])


def test_loops_end_and_the_real_path_wins(root):
    make(root, b"z/real/a.jpg", b"b.jpg")
    os.symlink(b"..", os.path.join(root, b"z/up"))
    os.symlink(b"z/real", os.path.join(root, b"aaa"))
    os.symlink(b".", os.path.join(root, b"self"))
    os.symlink(root, os.path.join(root, b"z/real/root"))
    assert errors(root, follow_links=True) == ([b"b.jpg", b"z/real/a.jpg"], [])


def test_folders_to_avoid_are_not_entered_by_any_path(root):
    make(root, b"a.jpg", b"library/catalog.sqlite", b"library/thumbs/t.jpg")
    os.symlink(b"library", os.path.join(root, b"link"))
    status = os.stat(os.path.join(root, b"library"))
    avoid = frozenset({(status.st_dev, status.st_ino)})
    assert found(root, avoid=avoid, follow_links=True) == [b"a.jpg"]
    assert found(root, b"library", avoid=avoid) == []


def _deny(monkeypatch, name, failing, number):
    real = getattr(os, name)

    def refuse(path, *args, **kwargs):
        if isinstance(path, bytes) and path.endswith(failing):
            raise OSError(number, os.strerror(number), path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, name, refuse)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_is_walked(root, monkeypatch, number):
    make(root, b"bad/a.jpg", b"good/b.jpg", b"c.jpg")
    _deny(monkeypatch, "scandir", b"/bad", number)
    assert errors(root) == ([b"c.jpg", b"good/b.jpg"], [(b"bad", number)])


def test_a_folder_that_vanishes_meanwhile_is_left_out(root):
    make(root, *(b"%d/%d.jpg" % (i, j) for i, j in itertools.product(range(5), range(5))))
    seen, reported = [], []
    for entry in walk(root, on_error=lambda *args: reported.append(args)):
        seen.append(entry.path)
        for other in range(5):  # once the first folder is listed, the others go
            if not entry.path.startswith(b"%d/" % other) and os.path.isdir(os.path.join(root, b"%d" % other)):
                for name in os.listdir(os.path.join(root, b"%d" % other)):
                    os.unlink(os.path.join(root, b"%d" % other, name))
                os.rmdir(os.path.join(root, b"%d" % other))
    assert len(seen) == 5 and not reported


def test_files_that_vanish_between_listing_and_status_are_left_out(root):
    make(root, *(b"%d.jpg" % i for i in range(100)))
    seen = []
    for entry in walk(root):
        seen.append(entry.path)
        for name in os.listdir(root):
            if name != entry.path:
                os.unlink(os.path.join(root, name))
    assert len(seen) == 1


def test_a_deep_tree_needs_one_handle_and_no_recursion(root):
    os.makedirs(root)
    here = os.open(root, os.O_RDONLY)
    try:
        for _ in range(1200):
            os.mkdir(b"d", dir_fd=here)
            deeper = os.open(b"d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(os.open(b"leaf.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
        before, handles = len(os.listdir("/proc/self/fd")), []
        for entry in walk(root):
            handles.append(len(os.listdir("/proc/self/fd")))
            assert entry.path == b"d/" * 1200 + b"leaf.jpg"
        assert handles == [before + 1]
    finally:
        subprocess.run(["rm", "-rf", root], check=True)  # shutil's rmtree, and so pytest's own, would recurse


def test_a_folder_is_streamed(root, monkeypatch):
    """The first file comes before the folder's end was read: nothing is sorted or gathered."""
    make(root, *(b"%d.jpg" % i for i in range(5000)))
    listed = []
    real = os.scandir

    class Counting:
        def __init__(self, path):
            self.items = real(path)

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.items.close()

        def __iter__(self):
            for item in self.items:
                listed.append(item.name)
                yield item

    monkeypatch.setattr(os, "scandir", Counting)
    walker = walk(root)
    next(walker)
    assert len(listed) == 1
    walker.close()
