"""Code that took over a decoder, played by a stand-in: what it tries fails, and what it answers is not believed."""

import json
import os
import platform
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import psutil
import pytest

import mmsearch
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import Rejected
from mmsearch.media import answers, sandbox
from mmsearch.media.files import read
from mmsearch.media.sandbox import Sandbox

SPEC = FakeEncoder().spec

TAKEN_OVER = """
import json, os, sys; sys.path[:] = json.loads(sys.argv[1])
import ctypes, encodings.idna, fcntl, resource, signal, socket, subprocess
environment = repr(dict(os.environ)).encode() + open("/proc/self/environ", "rb").read()
os.environ.update(OPENBLAS_NUM_THREADS="1")
from mmsearch.media import text, worker
from mmsearch.media.pieces import Ending, Piece
from mmsearch.types import MediaFacts, Modality

libc = ctypes.CDLL(None, use_errno=True)

def call(*numbers):
    if libc.syscall(*map(ctypes.c_long, numbers)) < 0:
        raise OSError(ctypes.get_errno(), "call")

def find(secret):
    if secret.encode() not in environment + repr(dict(os.environ)).encode():
        raise OSError("it is not there")

def pieces(source, kind, spec):
    found = []
    try:
        exec(source.content().decode(), {**globals(), "source": source, "found": found})
    except Exception as error:
        found.append(repr(error))
    yield Piece(json.dumps(found), Modality.TEXT)
    return Ending(Modality.TEXT, MediaFacts())

text.pieces = pieces
worker.main()
"""
"""A worker whose decoder of texts runs them."""

PROBES = {
    "read the environment": "find('TOKEN-OF-THE-USER')",
    "read a file of the user": "open(SECRET).read()",
    "list a folder": "os.listdir('/')",
    "ask whether a file is there": "os.stat(SECRET)",
    "make a file": "open(SECRET + '.made', 'w')",
    "write into a file of the user": "os.open(SECRET, os.O_WRONLY)",
    "delete a file": "os.unlink(SECRET)",
    "write into the file that it was given": "os.write(source.descriptor, b'x')",
    "make a socket": "socket.socket()",
    "make a socket of this machine": "socket.socket(socket.AF_UNIX)",
    "ask for a name": "socket.getaddrinfo('example.org', 80)",
    "read the memory of its parent": "open(f'/proc/{PARENT}/mem', 'rb')",
    "signal its parent": "os.kill(PARENT, 0)",
    "have its parent signalled": "fcntl.fcntl(source.descriptor, fcntl.F_SETOWN, PARENT)",
    "fork": "os.fork() or os._exit(0)",
    "run a program": "subprocess.run(['true'])",
    "become another program": "os.execv('/bin/true', ['true'])",
    "raise its limits": "resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))",
}
BY_NUMBER = {
    "read the memory of its parent by a call": "call(310, PARENT, 0, 0, 0, 0, 0)",
    "trace its parent": "call(101, 16, PARENT, 0, 0)",
    "make a namespace": "call(272, 0x10000000)",
    "load a program into the kernel": "call(321, 0, 0, 0)",
    "fork with clone3's older brother": "call(56, 17, 0, 0, 0, 0)",
    "open by another number": "call(437, -100, 0, 0, 24)",
    "call in the way of x32": "call(0x40000000 + 41, 2, 1, 0)",
}
"""On x86-64."""


@pytest.fixture
def taken_over(monkeypatch):
    monkeypatch.setattr(sandbox, "_MAIN", TAKEN_OVER)
    monkeypatch.setattr(sandbox, "SLACK_S", 0.5)
    monkeypatch.setattr(sandbox, "LOOK_S", 0.2)
    monkeypatch.setenv("HF_TOKEN", "TOKEN-OF-THE-USER")
    with closing(Sandbox(cpu_s=1.0)) as opened:
        yield opened


def run(opened, folder, code):
    """What the code found, run inside of a decoder."""
    (folder / "code.txt").write_text(code)
    (piece,) = opened(read(bytes(folder / "code.txt")), SPEC)
    return json.loads(piece.content)


def test_every_probe_fails(taken_over, tmp_path):
    if "seccomp" not in taken_over.confined():
        pytest.skip("this kernel has no seccomp")
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    probes = PROBES | (BY_NUMBER if platform.machine() == "x86_64" else {})
    tries = [
        f"try: {code}\nexcept (OSError, ValueError): pass\nelse: found.append({name!r})"
        for name, code in probes.items()
    ]
    top = f"SECRET, PARENT = {str(secret)!r}, {os.getpid()}\n"
    assert run(taken_over, tmp_path, top + "\n".join(tries)) == []
    assert secret.read_text() == "a secret" and sorted(os.listdir(tmp_path)) == ["code.txt", "secret"]


def test_the_probes_would_be_seen(taken_over, tmp_path, monkeypatch):
    """The same probes of a program that gave up nothing, where that harms nobody."""
    monkeypatch.setattr(sandbox, "_MAIN", TAKEN_OVER.replace("worker.main()", "worker.confine = list; worker.main()"))
    harmless = ("list a folder", "make a socket", "make a socket of this machine", "fork", "run a program")
    tries = [f"{PROBES[name]}\nfound.append({name!r})" for name in harmless]
    assert run(taken_over, tmp_path, "\n".join(tries)) == list(harmless)


ALONE = """
import sys; sys.path.insert(0, sys.argv[1])
import os, socket
from mmsearch.media import confine
steps = dict(confine._STEPS)
steps["no new privileges"]()
steps[sys.argv[2]]()
try:
    {probe}
except OSError as error:
    print("refused")
"""


@pytest.mark.parametrize(
    ("step", "probe"),
    [
        ("Landlock", "open('/etc/passwd')"),
        ("Landlock", "os.mkdir('/tmp/made by a decoder')"),
        ("namespaces", "socket.create_connection(('127.0.0.1', 9))"),
        ("seccomp", "open('/etc/passwd')"),
        ("seccomp", "socket.socket()"),
        ("seccomp", "os.fork() or os._exit(0)"),
    ],
)
def test_each_holds_alone(step, probe):
    place = os.path.dirname(mmsearch.__path__[0])
    command = [sys.executable, "-c", ALONE.format(probe=probe), place, step]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this system has no {step}: {done.stderr.strip().splitlines()[-1]}")
    assert done.stdout == "refused\n"


def test_threads_are_left(taken_over, tmp_path):
    code = "import threading; t = threading.Thread(target=found.append, args=('ran',)); t.start(); t.join()"
    assert run(taken_over, tmp_path, code) == ["ran"]


def test_a_decoder_that_ignores_its_time_is_ended(taken_over, tmp_path):
    with pytest.raises(Rejected, match=r"^takes more than 1 s to decode$"):
        run(taken_over, tmp_path, "signal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass")
    assert run(taken_over, tmp_path, "found.append(1)") == [1]


@pytest.mark.parametrize(
    "code",
    [
        "while True: os.write(1, b'x' * 65536)",
        "os.write(1, b'{\"bytes\": 900000000}\\n')\nwhile True: os.write(1, b'x' * 65536)",
        "while True: os.write(1, b'[' * 60000 + b'\\n')",
        "while True: os.write(1, b'{\"bytes\": -1}\\n')",
        'while True: os.write(1, b\'{"bytes": 0, "failure": "SystemExit", "reason": ""}\\n\')',
        'while True: os.write(1, b\'{"bytes": 0, "ending": 7}\\n\')',
    ],
)
def test_answers_are_bounded(taken_over, tmp_path, code):
    before = psutil.Process().memory_info().rss
    with pytest.raises(Rejected, match=r"^breaks its decoder \(it answers nonsense\)$"):
        run(taken_over, tmp_path, code)
    assert psutil.Process().memory_info().rss - before < 16 << 20


GOOD = {"modality": "image", "span": None, "detail": [None, None, None], "dtype": "|u1", "shape": [8, 8, 3]}
SOUND = {"modality": "audio", "span": {"start": 0, "end": 1.5, "unit": "s"}, "detail": [None, None, None]}


def test_good_pieces_pass():
    assert answers.piece(GOOD, bytes(192), SPEC).content.shape == (8, 8, 3)
    assert answers.piece(SOUND, bytes(400), SPEC).span.end == 1.5


@pytest.mark.parametrize(
    ("head", "content"),
    [
        (GOOD, bytes(191)),
        (GOOD, bytes(0)),
        (GOOD | {"modality": "smell"}, bytes(192)),
        (GOOD | {"modality": "video"}, bytes(192)),
        (GOOD | {"detail": [1, 2, 3, 4]}, bytes(192)),
        (GOOD | {"detail": [None, 3, None]}, bytes(192)),
        (GOOD | {"detail": [None, None, 1 << 70]}, bytes(192)),
        (GOOD | {"detail": ["smell", None, None]}, bytes(192)),
        (GOOD | {"span": {"start": 0, "end": float("nan"), "unit": "s"}}, bytes(192)),
        (GOOD | {"span": {"start": None, "end": 1, "unit": "s"}}, bytes(192)),
        (GOOD | {"span": {"start": 0, "end": 1, "unit": "m"}}, bytes(192)),
        (GOOD | {"span": 3}, bytes(192)),
        (SOUND, b"\xff" * 400),  # not a number
        (SOUND, b""),
        (SOUND | {"modality": "text"}, b"\xff"),
    ],
)
def test_other_pieces_do_not(head, content):
    with pytest.raises(Rejected, match="nonsense"):
        answers.piece(head, content, SPEC)


ENDING = {"modality": "image", "facts": {"width": 3}, "partial": None, "caption": None}


@pytest.mark.parametrize(
    "wrong",
    [
        {"facts": {"width": -1}},
        {"facts": {"width": 1 << 63}},
        {"facts": {"width": 1.5}},
        {"facts": {"lat": float("inf")}},
        {"facts": {"taken": 7}},
        {"facts": {"more": 7}},
        {"facts": None},
        {"modality": 3},
        {"partial": "x" * 400},
        {"caption": ["x"]},
    ],
)
def test_endings_are_judged_too(wrong):
    assert answers.ending(ENDING).facts.width == 3
    with pytest.raises(Rejected, match="nonsense"):
        answers.ending(ENDING | wrong)


def test_a_piece_is_no_larger_than_the_encoder_takes():
    large = replace(SPEC, image=replace(SPEC.image, size=1000))
    assert answers.most_bytes(large) == 3_000_000
    with pytest.raises(Rejected, match="nonsense"):
        answers.header(b'{"bytes": 3000001}', answers.most_bytes(large))
