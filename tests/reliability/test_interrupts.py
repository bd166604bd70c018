"""Ctrl-C ends the program, whatever it is in the midst of: no test here ends by itself in less than many minutes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

PROGRAM = r"""
import ctypes, os, sys, threading
from mmsearch.cli.app import main

def told():
    os.write(2, b"busy\n")

{patch}
main()
"""

HASHING = """
from mmsearch.media import files
real = files._digest
def digest(*a):
    told()
    return real(*a)
files._digest = digest
"""

DECODING = """
from mmsearch.media.sandbox import Sandbox
def pieces(self, source, spec):
    told()
    threading.Event().wait()
    yield
Sandbox.__call__ = pieces
"""

IN_A_LIBRARY = """
from mmsearch.encoders.fake import FakeEncoder
def encode(self, batch, modality):
    told()
    while True:
        ctypes.CDLL(None).sleep(60)
FakeEncoder.encode = encode
"""


def ended(library: str, tree: bytes, patch: str, times: int) -> int:
    """The exit code of `index`, after so many interrupts while it is busy."""
    command = [sys.executable, "-c", PROGRAM.format(patch=patch), "--library", library, "index", os.fsdecode(tree)]
    command += ["--model", "fake"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        try:
            for line in program.stderr:
                if "busy" in line:
                    break
            for number in range(times):
                program.send_signal(signal.SIGINT)
                if number < times - 1:  # two signals that come at once are one
                    with pytest.raises(subprocess.TimeoutExpired):
                        program.wait(0.3)
            _, said = program.communicate(timeout=120)
        finally:
            program.kill()
    assert "interrupted" in said and "Traceback" not in said
    return program.returncode


def test_a_file_of_300_gb_is_not_hashed_to_its_end(folder, world) -> None:
    """Even two Ctrl-C were ignored until the file was read whole."""
    path = os.path.join(world.root, b"0.wav")
    with open(path, "wb") as file:
        file.write(b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data")
        try:
            file.truncate(300 * 10**9)
        except OSError:
            pytest.skip("this file system keeps no file so large")
    assert ended(folder, world.root, HASHING, 1) == 130


@pytest.mark.parametrize("patch", [DECODING, IN_A_LIBRARY], ids=["decoding", "in a library"])
def test_the_second_interrupt_ends_whatever_hangs(folder, world, patch) -> None:
    assert ended(folder, world.root, patch, 2) == 130
