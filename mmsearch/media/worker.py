"""A process that only decodes: what breaks a decoder breaks this, and costs one file.

It reads requests from its standard input, one after the other, and answers with pieces. Nothing that comes out of a
stranger's file is ever unpickled: an answer is a line of JSON and the bytes of one array. `sandbox` is the other end.
"""

from __future__ import annotations

import contextlib
import errno
import json
import pickle
import signal
import struct
import sys
from dataclasses import asdict
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from mmsearch.errors import MediaError, Rejected
from mmsearch.media.pieces import Piece

MEMORY = 3 * 1024**3
"""Bytes of address space. The largest picture that is let in takes 1.3 GB; the libraries themselves map 0.5 GB."""

CPU_S = 60.0
"""Seconds of processor time for one piece, of all threads. A whole picture of the largest size takes 5."""

LENGTH = struct.Struct("<Q")


def serve(requests: BinaryIO, answers: BinaryIO, cpu_s: float = CPU_S) -> None:
    """Answer until the other end is closed. The first answer says that the process is ready."""
    from mmsearch.media.decode import pieces

    send(answers, {"ready": True})
    while (head := requests.read(LENGTH.size)) and len(head) == LENGTH.size:
        source, spec = pickle.loads(requests.read(LENGTH.unpack(head)[0]))  # from the process that started this one
        _limit_time(cpu_s)
        stream = pieces(source, spec)
        try:
            while True:
                _send_piece(answers, next(stream))
                _limit_time(cpu_s)
        except StopIteration as stop:
            send(answers, {"ending": asdict(stop.value)})
        except MediaError as error:
            send(answers, _failure(error))
        del source, stream


def send(answers: BinaryIO, head: dict[str, Any], content: bytes | memoryview = b"") -> None:
    line = json.dumps({**head, "bytes": len(content)}).encode()
    answers.write(line + b"\n")
    answers.write(content)
    answers.flush()


def _send_piece(answers: BinaryIO, piece: Piece) -> None:
    head = {"modality": piece.modality, "span": piece.span and asdict(piece.span), "detail": list(piece.detail)}
    if isinstance(piece.content, str):
        send(answers, {**head, "dtype": "text"}, piece.content.encode("utf-8", "surrogatepass"))
    else:
        array: npt.NDArray[Any] = np.ascontiguousarray(piece.content)
        send(answers, {**head, "dtype": array.dtype.str, "shape": array.shape}, array.data.cast("B"))


def _failure(error: MediaError) -> dict[str, str]:
    cause = error.__cause__
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
        error = Rejected("takes too much memory to decode")  # this process's limit, so a property of the file
    return {"failure": type(error).__name__, "reason": str(error)}


def _limit_time(cpu_s: float) -> None:
    # Processor time, not the clock's: a busy machine must not change what becomes of a file.
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def main() -> None:
    """Limit this process as its arguments say, then serve. Whatever libraries print goes nowhere."""
    import resource

    from mmsearch.media import image

    # The terminal's Ctrl-C is for the program that waits for the answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    memory, cpu_s, turns = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    image.take_turns(turns)
    with contextlib.suppress(ValueError, OSError):  # not every system limits address space
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer, cpu_s)
