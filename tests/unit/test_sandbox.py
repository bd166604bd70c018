"""Decoding in another process: the same pieces as in this one, and whatever happens there costs one file."""

import io
import os
import signal
import threading
import time
from contextlib import closing
from dataclasses import replace

import numpy as np
import psutil
import pytest
from PIL import Image

from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import Rejected, Transient, Unsupported
from mmsearch.media import budget, decode
from mmsearch.media.files import Source, read
from mmsearch.media.sandbox import _MAIN, Sandbox
from mmsearch.media.worker import MEMORY
from mmsearch.types import Modality

SPEC = FakeEncoder().spec


def source_of(data):
    return Source(data, bytes(32), len(data), 0, 0)


def png(colour="red", size=(40, 30)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return source_of(buffer.getvalue())


def all_of(pieces):
    found = []
    while True:
        try:
            found.append(next(pieces))
        except StopIteration as stop:
            return found, stop.value


def children():
    return {child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE} - FORMER


FORMER = set()


@pytest.fixture
def sandbox():
    FORMER.update(children())  # of other tests
    opened = Sandbox()
    yield opened
    opened.close()
    assert not children()


def test_the_same_as_in_this_process(sandbox, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 44_100 * 30)
    soundfile.write(tmp_path / "noise.flac", noise, 44_100)
    for source in (png(), read(bytes(tmp_path / "noise.flac"))):
        (here, ending), (there, other_ending) = all_of(decode.pieces(source, SPEC)), all_of(sandbox(source, SPEC))
        assert ending == other_ending and len(here) == len(there)
        for one, other in zip(here, there, strict=True):
            assert np.array_equal(one.content, other.content) and one.content.dtype == other.content.dtype
            assert (one.span, one.modality, one.detail) == (other.span, other.modality, other.detail)
    assert len(children()) == 2  # one that loads decoders of pictures, one of sounds


def test_failures_come_through_and_the_process_goes_on(sandbox):
    list(sandbox(png(), SPEC))
    (before,) = children()
    with pytest.raises(Rejected, match=r"truncated|broken"):
        list(sandbox(source_of(b"\x89PNG\r\n\x1a\n" + bytes(30)), SPEC))
    with pytest.raises(Unsupported, match="MIDI"):
        list(sandbox(source_of(b"MThd\0\0\0\6" + bytes(30)), SPEC))
    with pytest.raises(Unsupported, match="takes no image files"):
        list(sandbox(png(), replace(SPEC, modalities=frozenset({Modality.TEXT}))))
    assert children() == {before}


@pytest.mark.parametrize(
    ("number", "kind", "reason"),
    [
        (signal.SIGSEGV, Rejected, r"^breaks its decoder \(SIGSEGV\)$"),
        (signal.SIGKILL, Transient, "killed from outside"),
        (signal.SIGPROF, Rejected, r"^takes more than 60 s to decode$"),
    ],
)
def test_a_dead_worker_is_one_file(sandbox, tmp_path, number, kind, reason):
    soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 600), 16_000)
    pieces = sandbox(read(bytes(tmp_path / "long.wav")), SPEC)
    next(pieces)
    (worker,) = children()
    worker.send_signal(number)
    with pytest.raises(kind, match=reason):
        list(pieces)
    assert len(list(sandbox(png(), SPEC))) == 1  # the next one has a new worker


def test_too_much_memory_is_the_files_fault():
    with closing(Sandbox(memory=300 << 20)) as sandbox:
        buffer = io.BytesIO()
        Image.new("CMYK", (7900, 8000)).save(buffer, "TIFF", compression="tiff_lzw")  # 253 MB of pixels
        with pytest.raises(Rejected, match=r"^takes too much memory to decode$"):
            list(sandbox(source_of(buffer.getvalue()), SPEC))
        assert len(list(sandbox(png(), SPEC))) == 1


def test_too_much_time_is_the_files_fault():
    with closing(Sandbox(cpu_s=0.1)) as sandbox:
        buffer = io.BytesIO()
        Image.new("RGB", (7900, 8000)).save(buffer, "PNG", compress_level=1)
        with pytest.raises(Rejected, match="takes more than 0 s to decode"):
            list(sandbox(source_of(buffer.getvalue()), SPEC))


def test_a_small_file_gets_less_time(tmp_path):
    from mmsearch.media.worker import CPU_S, time_for

    assert (time_for(10, CPU_S), time_for(2_000_000, CPU_S), time_for(1 << 30, CPU_S)) == (10, 20, 60)
    assert time_for(1 << 30, 0.1) == 0.1


def test_what_is_left_in_the_midst_of_a_file_is_not_used_again(sandbox, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")
    soundfile.write(tmp_path / "long.wav", np.zeros(16_000 * 600), 16_000)
    pieces = sandbox(read(bytes(tmp_path / "long.wav")), SPEC)
    next(pieces)
    pieces.close()
    (piece,) = sandbox(png("blue"), SPEC)
    assert piece.modality is Modality.IMAGE


def test_many_threads_share_the_processes(sandbox):
    colours = [(i, 0, 255 - i) for i in range(60)]
    found = {}

    def work(mine):
        for colour in mine:
            (piece,) = sandbox(png(colour), SPEC)
            found[colour] = tuple(piece.content[0, 0].tolist())

    threads = [threading.Thread(target=work, args=(colours[i::3],)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {colour: colour for colour in colours}
    assert 1 <= len(children()) <= 3


def test_workers_do_not_outlive_the_program():
    import subprocess
    import sys

    program = (
        "import os; from mmsearch.media.sandbox import Sandbox; from tests.unit import test_sandbox as t\n"
        "sandbox = Sandbox(); list(sandbox(t.png(), t.SPEC)); import psutil\n"
        "print(psutil.Process().children()[0].pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    for _ in range(100):
        if not psutil.pid_exists(int(done.stdout)) or psutil.Process(int(done.stdout)).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    os.kill(int(done.stdout), 9)
    pytest.fail("the worker went on")


def test_a_process_that_dies_as_it_starts_is_one_transient_file_after_three_tries(sandbox, tmp_path, monkeypatch):
    births = tmp_path / "births"
    dies = f"import os; open({str(births)!r}, 'a').write('x'); os.kill(os.getpid(), 9)"
    with monkeypatch.context() as patched:
        patched.setattr("mmsearch.media.sandbox._MAIN", dies)
        with pytest.raises(Transient, match="does not start: its decoder was killed from outside"):
            list(sandbox(png(), SPEC))
    assert births.read_text() == "xxx"
    assert len(list(sandbox(png(), SPEC))) == 1


def test_a_system_that_makes_no_process_is_a_passing_failure(sandbox, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("sys.executable", "/nowhere/python")
        with pytest.raises(Transient, match="does not start"):
            list(sandbox(png(), SPEC))
    assert len(list(sandbox(png(), SPEC))) == 1


def test_a_file_that_is_gone_or_another_when_it_is_decoded_is_a_passing_failure(sandbox, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png().data)
    source = read(bytes(path))
    path.write_bytes(png("blue", (50, 50)).data)
    with pytest.raises(Transient, match="changed while it was read"):
        list(sandbox(source, SPEC))
    path.unlink()
    with pytest.raises(Transient, match="gone before it was decoded"):
        list(sandbox(source, SPEC))
    path.mkdir()
    with pytest.raises(Transient):
        list(sandbox(source, SPEC))


def test_what_dies_once_as_it_starts_is_not_noticed(sandbox, tmp_path, monkeypatch):
    dead = str(tmp_path / "dead")
    once = f"import os\nif not os.path.exists({dead!r}):\n    os.mkdir({dead!r})\n    os.abort()\n"
    monkeypatch.setattr("mmsearch.media.sandbox._MAIN", once + _MAIN)
    assert len(list(sandbox(png(), SPEC))) == 1


def test_what_needs_more_than_its_share_is_decoded_alone(sandbox, monkeypatch):
    buffer = io.BytesIO()
    Image.new("CMYK", (7900, 8000), (255, 0, 0, 0)).save(buffer, "TIFF", compression="tiff_lzw")  # 253 MB of pixels
    source = source_of(buffer.getvalue())
    (expected,) = sandbox(source, SPEC)
    with closing(Sandbox()) as small:
        small._share = budget.Share(300 << 20, MEMORY)
        (piece,) = small(source, SPEC)
        assert np.array_equal(piece.content, expected.content)
        assert len(list(small(png(), SPEC))) == 1


@pytest.mark.parametrize("threads", [1, 2, 4, 16, 64])
@pytest.mark.parametrize("gigabytes", [4, 8, 16, 64, 512])
def test_all_together_stay_below_half_of_the_memory(gigabytes, threads):
    half = (gigabytes << 30) // 2
    each, alone, most = budget.share(gigabytes << 30, threads)
    assert most == threads + 1 and budget.LEAST <= each <= MEMORY
    if half >= (threads + 2) * budget.LEAST:
        assert (threads + 1) * each + (alone or 0) <= half
    assert alone is None or alone >= each or alone == budget.LEAST


def test_a_question_decodes_nothing_in_this_process(sandbox, tmp_path, monkeypatch):
    """A file, an address, `classify`, `dedup` and a measured model's photos: all by the processes."""
    from mmsearch.hub.measure import _photo
    from mmsearch.retrieval.dedup import _hash_of
    from mmsearch.retrieval.embed import file_vector

    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    monkeypatch.setattr("mmsearch.media.decode.pieces", None)
    monkeypatch.setattr("mmsearch.media.image.decode_image", None)
    monkeypatch.setattr("mmsearch.media.sandbox.shared", lambda: sandbox)
    path = str(tmp_path / "red.png")
    assert file_vector(FakeEncoder(), path).shape == (32,)
    assert _hash_of(os.fsencode(path)) is not None
    assert _photo(path, FakeEncoder()).shape == (8, 8, 3)
    assert len(children()) == 1


QUESTION = """
import sys, resource
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.retrieval.embed import file_vector
import mmsearch.media.files, mmsearch.media.sandbox, numpy
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = peak()
file_vector(FakeEncoder(), sys.argv[1])
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc tells the peak of memory here")
def test_a_large_file_as_a_question_costs_this_process_little(tmp_path):
    import subprocess
    import sys

    Image.new("RGB", (8000, 7000), "red").save(tmp_path / "large.bmp")  # 168 MB
    command = [sys.executable, "-c", QUESTION, str(tmp_path / "large.bmp")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 64 * 1024, f"{grown} kB"
