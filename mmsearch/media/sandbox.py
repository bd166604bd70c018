"""Decoding in processes of their own, one for each thread that asks: a crash or a hang in one is one rejected file.

A process is started when it is first needed (0.2 s), and a new one after one has died. It ends with its standard
input, so also when this process is killed. `worker` is the other end, and has the limits.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from typing import Any, NoReturn

import numpy as np

from mmsearch.errors import MediaError, MMSearchError, Rejected, Transient, Unsupported
from mmsearch.media.files import Source
from mmsearch.media.pieces import Ending, Piece, Pieces
from mmsearch.media.worker import CPU_S, LENGTH, MEMORY
from mmsearch.types import Detail, EncoderSpec, Media, MediaFacts, Modality, Span

WAIT_S = 300.0
"""Seconds without an answer after which a worker is given up: its disk hangs, or it sleeps."""

MAX_PIECE = 1 << 30
"""A worker that announces more bytes for one piece has lost its mind."""

_PIPE = 1 << 20
_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mmsearch.media.worker import main; main()"
_FAILURES = {kind.__name__: kind for kind in (Unsupported, Rejected, Transient)}


class Sandbox:
    """Decodes as `mmsearch.media.decode.pieces` does, from any number of threads; close it at the end.

    Each process may take ``memory`` bytes of address space, and ``cpu_s`` seconds of processor time for one piece.
    """

    def __init__(self, memory: int = MEMORY, cpu_s: float = CPU_S) -> None:
        self._limits = (memory, cpu_s)
        self._idle: list[_Worker] = []
        self._turns = tempfile.TemporaryFile()  # noqa: SIM115  locked by whoever decodes a very large picture

    def __call__(self, source: Source, spec: EncoderSpec) -> Pieces:
        worker = self._take()
        try:
            return (yield from worker.pieces(source, spec))
        finally:
            if worker.usable:
                self._idle.append(worker)
            else:
                worker.close()

    def _take(self) -> _Worker:
        while True:
            try:
                worker = self._idle.pop()
            except IndexError:
                return _Worker(*self._limits, self._turns.fileno())
            if worker.alive():
                return worker
            worker.close()

    def disown(self) -> None:
        """In a fork: the processes answer the other one."""
        self._idle = []

    def close(self) -> None:
        """End the processes. Nothing may be decoding."""
        while self._idle:
            self._idle.pop().close()
        self._turns.close()


@cache
def shared() -> Sandbox:
    """The processes of this program: they stay for the next run, because starting them takes 0.2 s."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    os.register_at_fork(after_in_child=sandbox.disown)
    return sandbox


class _Worker:
    """One process. ``usable``: alive, and not in the midst of a file."""

    def __init__(self, memory: int, cpu_s: float, turns: int) -> None:
        self._cpu_s = cpu_s
        # Not `python -m`: that would import from the current folder, which may be full of strangers' files.
        command = [sys.executable, "-I", "-c", _MAIN, json.dumps(sys.path), str(memory), str(cpu_s), str(turns)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            pass_fds=(turns,),
            process_group=0,
        )
        assert self._process.stdout is not None and self._process.stdin is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout.fileno()
        with suppress(AttributeError, OSError):  # room for a few pieces, so that it can work ahead; Linux only
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE)
        self._buffer = bytearray()
        self._started = self.usable = False

    def pieces(self, source: Source, spec: EncoderSpec) -> Pieces:
        if not self._started:
            self._start()
        self.usable = False  # until the last answer is here
        self._ask(source, spec)
        while True:
            head, content = self._answer()
            try:
                if "ending" in head:
                    ending = _ending(head["ending"])
                    self.usable = True
                    return ending
                if "failure" in head:
                    failure = _FAILURES[head["failure"]](head["reason"])
                    self.usable = True
                    raise failure
                piece = _piece(head, content)
            except (ValueError, KeyError, TypeError) as error:
                raise Rejected("breaks its decoder (it answers nonsense)") from error
            yield piece

    def _start(self) -> None:
        try:
            self._answer()
        except MediaError as error:
            raise MMSearchError(f"the process that decodes does not start: {error}") from error
        self._started = True

    def _ask(self, source: Source, spec: EncoderSpec) -> None:
        request = pickle.dumps((source, spec), protocol=5)
        try:
            self._requests.write(LENGTH.pack(len(request)))
            self._requests.write(request)
            self._requests.flush()
        except BrokenPipeError:
            self._died()

    def _answer(self) -> tuple[dict[str, Any], bytes]:
        while (end := self._buffer.find(b"\n")) < 0:
            self._receive()
        try:
            head: dict[str, Any] = json.loads(self._buffer[:end])
            end += 1 + int(head["bytes"])
        except (ValueError, KeyError, TypeError) as error:
            raise Rejected("breaks its decoder (it answers nonsense)") from error
        start = self._buffer.find(b"\n") + 1
        if not start <= end <= start + MAX_PIECE:
            raise Rejected("breaks its decoder (it answers nonsense)")
        while len(self._buffer) < end:
            self._receive()
        content = bytes(memoryview(self._buffer)[start:end])
        del self._buffer[:end]
        return head, content

    def _receive(self) -> None:
        if not select.select([self._answers], [], [], WAIT_S)[0]:
            raise Transient(f"its decoder gave no sign for {WAIT_S:.0f} s")
        data = os.read(self._answers, _PIPE)
        if not data:
            self._died()
        self._buffer += data

    def _died(self) -> NoReturn:
        """Raises what the end of the process means for the file that it had."""
        code = self._process.wait()
        if code == -signal.SIGPROF:
            raise Rejected(f"takes more than {self._cpu_s:.0f} s to decode")
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise Transient("its decoder was killed from outside")  # by a system out of memory, for instance
        raise Rejected(f"breaks its decoder ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self.usable = False
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        with suppress(BrokenPipeError):
            self._requests.close()


def _piece(head: dict[str, Any], content: bytes) -> Piece:
    media: Media
    if head["dtype"] == "text":
        media = content.decode("utf-8", "surrogatepass")
    else:
        media = np.frombuffer(content, np.dtype(head["dtype"])).reshape(head["shape"])
    modality, *more = head["detail"]
    detail = Detail(None if modality is None else Modality(modality), *more)
    return Piece(media, Modality(head["modality"]), head["span"] and Span(**head["span"]), detail)


def _ending(fields: dict[str, Any]) -> Ending:
    return Ending(Modality(fields["modality"]), MediaFacts(**fields["facts"]), fields["partial"], fields["caption"])
