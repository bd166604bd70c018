"""Reading a file once: what is regular, what changed, what the system refused."""

import errno
import hashlib
import os
import socket

import pytest

from mmsearch.errors import Rejected, Transient, Unsupported
from mmsearch.media import files, sniff
from mmsearch.media.files import read

GIF = b"GIF89a" + bytes(64)  # enough to be taken for a picture


def _write(folder, name, content):
    path = os.path.join(os.fsencode(folder), name)
    with open(path, "wb") as file:
        file.write(content)
    return path


def test_content_hash_and_identity(tmp_path):
    path = _write(tmp_path, b"\xff\n name", GIF * 5000)
    source = read(path)
    status = os.stat(path)
    assert len(source.data) == sniff.HEAD and source.content() == GIF * 5000
    assert source.sha256 == hashlib.sha256(GIF * 5000).digest()
    assert (source.size, source.mtime_ns, source.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


def test_empty_file(tmp_path):
    with pytest.raises(Rejected, match=r"^empty file$"):
        read(_write(tmp_path, b"a.jpg", b""))


def test_zero_filled_file(tmp_path):
    with pytest.raises(Rejected, match=r"^holds only zero bytes$"):
        read(_write(tmp_path, b"a.jpg", bytes(100_000)))


def test_too_large_file_is_rejected_before_it_is_read(tmp_path):
    path = _write(tmp_path, b"a.gif", GIF)
    os.truncate(path, files.MAX_BYTES + 1)  # sparse: reading it would take 256 MiB
    with pytest.raises(Rejected, match="larger than 256 MiB"):
        read(path)
    os.truncate(path, 5000)
    with pytest.raises(Rejected, match="larger than"):
        read(path, limit=4999)
    assert read(path, limit=5000).size == 5000


def test_content_that_is_not_indexed_is_not_read_whole(tmp_path):
    path = _write(tmp_path, b"photo.jpg", b"MThd\0\0\0\6" + bytes(100))
    os.truncate(path, 40 * 1024**3)  # 40 GiB, sparse
    with pytest.raises(Unsupported, match="MIDI"):
        read(path)


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device"])
def test_what_is_no_regular_file(tmp_path, kind):
    path = os.fsencode(tmp_path / "x")
    if kind == "fifo":
        os.mkfifo(path)  # opening it must not wait for a writer
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
    elif kind == "folder":
        os.mkdir(path)
    else:
        path = b"/dev/null"
    with pytest.raises(Rejected, match=r"^not a regular file$"):
        read(path)


def test_links_are_followed_only_when_asked(tmp_path):
    target = _write(tmp_path, b"a.gif", GIF)
    link = os.fsencode(tmp_path / "link")
    os.symlink(target, link)
    with pytest.raises(Unsupported, match=r"^a symbolic link$"):
        read(link)
    assert read(link, follow_links=True).content() == GIF


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(os.fsencode(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        read(_write(tmp_path, b"file", GIF) + b"/below")


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "permission denied"),
        (errno.EIO, "input/output error"),
        (errno.EMFILE, "too many open files"),
        (errno.ENOMEM, "cannot allocate memory"),
        (errno.ENOSPC, "no space left on device"),
    ],
)
def test_what_the_system_refuses_is_transient_and_names_no_path(tmp_path, monkeypatch, number, reason):
    path = _write(tmp_path, b"a.gif", GIF)

    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(Transient) as caught:
        read(path)
    assert str(caught.value) == reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_unreadable_file(tmp_path):
    path = _write(tmp_path, b"a.gif", GIF)
    os.chmod(path, 0)
    with pytest.raises(Transient, match="permission denied"):
        read(path)


def _change_after_open(monkeypatch, change, times):
    """Call ``change`` between the first and the second look at the file, for the first ``times`` attempts."""
    real, calls = os.fstat, []

    def fstat(descriptor):
        calls.append(descriptor)
        if len(calls) % 2 == 0 and len(calls) // 2 <= times:
            change()
        return real(descriptor)

    monkeypatch.setattr(os, "fstat", fstat)
    return calls


@pytest.mark.parametrize("change", ["grow", "touch"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_file_that_changes_while_it_is_read_is_read_again(tmp_path, monkeypatch, change, times):
    path = _write(tmp_path, b"a.gif", GIF)

    def mutate():
        if change == "grow":
            with open(path, "ab") as file:
                file.write(b"more")
        else:
            os.utime(path, ns=(1, os.stat(path).st_mtime_ns + 1))

    calls = _change_after_open(monkeypatch, mutate, times)
    source = read(path)
    assert len(calls) == 2 * (times + 1)
    assert source.size == os.stat(path).st_size == len(source.data)
    assert source.mtime_ns == os.stat(path).st_mtime_ns


def test_a_file_that_keeps_changing_is_transient(tmp_path, monkeypatch):
    path = _write(tmp_path, b"a.gif", GIF)

    def grow():
        with open(path, "ab") as file:
            file.write(b"more")

    calls = _change_after_open(monkeypatch, grow, times=99)
    with pytest.raises(Transient, match=r"^changed while it was read$"):
        read(path)
    assert len(calls) == 6


def test_no_descriptor_is_left_open(tmp_path):
    good, bad = _write(tmp_path, b"a.gif", GIF), _write(tmp_path, b"b.py", b"words")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        read(good)
        with pytest.raises(Rejected):
            read(os.fsencode(tmp_path))
        with pytest.raises(Unsupported):
            read(bad)
    assert len(os.listdir("/proc/self/fd")) == before
