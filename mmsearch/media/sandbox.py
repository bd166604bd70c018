"""Decoding in processes of their own, one for each thread that asks: the one door to a stranger's file.

A crash or a hang in one is one rejected file, and what takes one over finds nothing there: see `confine`. A process is
started when it is first needed (0.3 s), and a new one after one has died. It ends with its standard input, so also when
this process is killed. `worker` is the other end, and has the limits.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import pickle
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import Any, BinaryIO, NoReturn, cast

from mmsearch.errors import MediaError, Rejected, Transient, Unsupported
from mmsearch.media import answers, budget
from mmsearch.media.files import Source
from mmsearch.media.pieces import Decoded, Pieces, whole
from mmsearch.media.sniff import require_indexable
from mmsearch.media.worker import CPU_S, DECODERS, LENGTH, TOO_LARGE, environment, python, time_for
from mmsearch.types import EncoderSpec

WAIT_S = 300.0
"""Seconds without an answer after which a worker is given up: its disk hangs, or it sleeps."""

SLACK_S, LOOK_S = 5.0, 2.0
"""A worker ends itself after its seconds of processor time; one that does not is ended so much later, seen so often."""

SPENT_S = 3600.0
"""Seconds of processor time after which a worker is not used for another file."""

BIRTHS = 3
"""So many workers in a row may die before they are ready; then their file waits for the next run."""

_PIPE = 1 << 20
_MAIN = (
    "import json, os, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "os.environ.update(OPENBLAS_NUM_THREADS='1', OMP_NUM_THREADS='1')\n"
    "from mmsearch.media.worker import main; os.environ.clear(); main()"
)
_FAILURES = {kind.__name__: kind for kind in (Unsupported, Rejected, Transient)}


class Sandbox:
    """Decodes as `mmsearch.media.decode.pieces` does, from any number of threads; close it at the end.

    Each process may take ``cpu_s`` seconds of processor time for one piece, and ``memory`` bytes of address space;
    None: so much that all together stay below half of the machine's, and a file that needs more is decoded alone.
    """

    def __init__(self, memory: int | None = None, cpu_s: float = CPU_S) -> None:
        self._share = budget.Share(memory, None) if memory else budget.share()
        self._cpu_s = cpu_s
        self._idle: list[_Worker] = []
        self._alone = threading.Lock()
        self._turns = tempfile.TemporaryFile()  # noqa: SIM115  locked by whoever decodes a very large picture

    def __call__(self, source: Source, spec: EncoderSpec) -> Pieces:
        kind = DECODERS[require_indexable(source.data, source.size, spec, source.path).modality]
        with _opened(source) as file:
            worker = self._take(kind)
            given = 0
            try:
                stream = worker.pieces(file, source, spec)
                while True:
                    try:
                        piece = next(stream)
                    except StopIteration as stop:
                        return stop.value  # type: ignore[no-any-return]
                    given += 1
                    yield piece
            except _TooLarge as error:
                if self._share.alone is None:
                    raise Rejected(str(error)) from error
            finally:
                self._put_back(worker)
            return (yield from self._decode_alone(kind, file, source, spec, given))

    def _decode_alone(self, kind: str, file: BinaryIO, source: Source, spec: EncoderSpec, given: int) -> Pieces:
        """Decode again what needs more memory than each may take, from the piece after those that were given."""
        assert self._share.alone is not None
        if not self._alone.acquire(timeout=WAIT_S):
            raise Transient("waits for memory that others take")
        try:
            worker = self._start(kind, self._share.alone)
            try:
                stream = worker.pieces(file, source, spec)
                for _ in range(given):
                    next(stream)
                return (yield from stream)
            except _TooLarge as error:
                raise Rejected(str(error)) from error
            finally:
                worker.close()
        finally:
            self._alone.release()

    def _take(self, kind: str) -> _Worker:
        for worker in reversed(self._idle):
            if worker.kind == kind:
                with suppress(ValueError):  # another thread was faster
                    self._idle.remove(worker)
                    if worker.alive():
                        return worker
                    worker.close()
        return self._start(kind, self._share.each)

    def _put_back(self, worker: _Worker) -> None:
        if not worker.usable or (worker.seconds() or 0) > SPENT_S:
            worker.close()
            return
        self._idle.append(worker)
        with suppress(IndexError):
            while len(self._idle) > self._share.most:
                self._idle.pop(0).close()

    def _start(self, kind: str, limit: int) -> _Worker:
        failure: Exception
        for _ in range(BIRTHS):
            try:
                worker = _Worker(kind, limit, self._cpu_s, self._turns.fileno())
            except OSError as error:  # the system has no process left, or no memory for one
                failure = error
                continue
            try:
                worker.start()
            except MediaError as error:
                worker.close()
                failure = error
            else:
                return worker
        raise Transient(f"the process that decodes does not start: {failure}") from failure

    def confined(self) -> list[str]:
        """What its processes have given up, by the names of `confine`. Starts one."""
        worker = self._take("pictures")
        self._put_back(worker)
        return worker.confined

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
    """The processes of this program: they stay for the next run, because starting them takes 0.3 s."""
    sandbox = Sandbox()
    atexit.register(sandbox.close)
    os.register_at_fork(after_in_child=sandbox.disown)
    return sandbox


def decode(source: Source, spec: EncoderSpec) -> Decoded:
    """All pieces of a file at once, by `shared`; raises ``MediaError``. For files that are known to be short."""
    return whole(shared()(source, spec))


class _TooLarge(Rejected):
    """What may come of too little memory: said so, or a crash, as libraries have no better answer to it."""


class _Worker:
    """One process for one kind of files. ``usable``: alive, and not in the midst of a file."""

    def __init__(self, kind: str, limit: int, cpu_s: float, turns: int) -> None:
        self.kind = kind
        self.confined: list[str] = []
        self._cpu_s = self._limit = cpu_s
        command = [*python(_MAIN), kind, str(limit), str(cpu_s), str(turns)]
        self._requests, theirs = socket.socketpair()
        with ExitStack() as failing:
            failing.callback(self._requests.close)
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=environment(),
                    pass_fds=(turns,),
                    process_group=0,
                )
            failing.pop_all()
        assert self._process.stdout is not None
        self._answers = self._process.stdout.fileno()
        with suppress(AttributeError, OSError):  # room for a few pieces, so that it can work ahead; Linux only
            fcntl.fcntl(self._answers, fcntl.F_SETPIPE_SZ, _PIPE)
        self._buffer = bytearray()
        self.usable = False

    def start(self) -> None:
        """Wait until it is ready. Raises ``MediaError``."""
        self.confined = answers.confined(self._answer(0)[0])
        self.usable = True

    def pieces(self, file: BinaryIO, source: Source, spec: EncoderSpec) -> Pieces:
        self.usable = False  # until the last answer is here
        self._limit = time_for(source.size, self._cpu_s)
        self._ask(file, source, spec)
        most = answers.most_bytes(spec)
        for _ in range(answers.MOST_PIECES):
            head, content = self._answer(most)
            if "ending" in head:
                ending = answers.ending(head["ending"])
                self.usable = True
                return ending
            if "failure" in head:
                failure, reason = answers.failure(head, _FAILURES)
                self.usable = True
                raise _TooLarge(reason) if reason == TOO_LARGE else failure(reason)
            yield answers.piece(head, content, spec)
        raise Rejected("breaks its decoder (it never ends)")

    def _ask(self, file: BinaryIO, source: Source, spec: EncoderSpec) -> None:
        name = None if source.path is None else os.path.basename(source.path)
        request = pickle.dumps((name, source.size, spec), protocol=5)
        try:
            message = LENGTH.pack(len(request)) + request
            sent = socket.send_fds(self._requests, [message], [file.fileno()])
            self._requests.sendall(message[sent:])
        except (BrokenPipeError, ConnectionResetError):
            self._died()

    def _answer(self, most: int) -> tuple[dict[str, Any], bytes]:
        """A header and the bytes after it. Raises ``Rejected`` for a header, or ``most`` bytes, that are too long."""
        begun = self.seconds()
        while (end := self._buffer.find(b"\n", 0, answers.MOST_HEADER)) < 0:
            if len(self._buffer) >= answers.MOST_HEADER:
                raise answers.nonsense()
            self._receive(begun)
        start = end + 1
        head, length = answers.header(bytes(self._buffer[:end]), most)
        while len(self._buffer) < start + length:
            self._receive(begun)
        content = bytes(memoryview(self._buffer)[start : start + length])
        del self._buffer[: start + length]
        return head, content

    def _receive(self, begun: float | None) -> None:
        """Take what has come. ``begun``: the seconds of processor time it had when we began to wait for the piece."""
        last = time.monotonic() + WAIT_S
        while not select.select([self._answers], [], [], LOOK_S)[0]:
            self._judge(begun)
            if time.monotonic() > last:
                raise Transient(f"its decoder gave no sign for {WAIT_S:.0f} s")
        data = os.read(self._answers, _PIPE)
        if not data:
            self._died()
        self._buffer += data

    def _judge(self, begun: float | None) -> None:
        """End a worker that does not keep to its time by itself."""
        now = self.seconds()
        if begun is not None and now is not None and now - begun > self._limit + SLACK_S:
            raise Rejected(_slow(self._limit))

    def seconds(self) -> float | None:
        """Of processor time, so far; None where the system does not say."""
        try:
            return time.clock_gettime((~self._process.pid << 3) | 2)  # Linux's number for another process's clock
        except (OSError, AttributeError, OverflowError):
            return None

    def _died(self) -> NoReturn:
        """Raises what the end of the process means for the file that it had."""
        code = self._process.wait()
        if code == -signal.SIGPROF:
            raise Rejected(_slow(self._limit))
        if code in (-signal.SIGKILL, -signal.SIGTERM):
            raise Transient("its decoder was killed from outside")  # by a system out of memory, for instance
        raise _TooLarge(f"breaks its decoder ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})")

    def alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self.usable = False
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._requests.close()


def _slow(cpu_s: float) -> str:
    return f"takes more than {cpu_s:.0f} s to decode"


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    """A file with a descriptor that can be passed on. Raises ``MediaError`` for one that can't be opened any more."""
    if source.path is None:
        with tempfile.TemporaryFile() as copy:
            copy.write(source.data)
            copy.flush()
            yield cast(BinaryIO, copy)
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(source.opened())
        except FileNotFoundError as error:
            raise Transient("gone before it was decoded") from error
        except OSError as error:
            raise Transient((error.strerror or "cannot be read").lower()) from error
        yield file
