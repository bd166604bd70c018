"""A process that only decodes: what breaks a decoder breaks this, and costs one file.

It takes requests from its standard input, a socket through which the open file comes, one after the other, and answers
with pieces. Before the first one it imports what it will need and gives up the rest (`confine`). Nothing that comes out
of a stranger's file is ever unpickled: an answer is a line of JSON and the bytes of one array. `sandbox` is the other
end.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import json
import os
import pickle
import pkgutil
import signal
import socket
import struct
import sys
from dataclasses import asdict
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

import mmsearch
from mmsearch.errors import MediaError, Rejected
from mmsearch.media.confine import confine
from mmsearch.media.decode import pieces
from mmsearch.media.files import Source
from mmsearch.media.pieces import Piece
from mmsearch.media.sniff import HEAD
from mmsearch.types import Modality

MEMORY = 3 * 1024**3
"""Bytes of address space. The largest picture that is let in takes 1.3 GB; the libraries themselves map 0.5 GB."""

CPU_S = 60.0
"""Seconds of processor time for one piece, of all threads. A whole picture of the largest size takes 5."""

CPU_S_PER_MB = 10.0
"""Of a small file fewer: what takes longer was made to."""

LENGTH = struct.Struct("<Q")
_REQUEST = 1 << 16
"""Bytes of a request that are taken at once: mostly all of it, so that this process is woken once a file."""

DECODERS = {Modality.IMAGE: "pictures", Modality.AUDIO: "sounds", Modality.VIDEO: "sounds", Modality.TEXT: "documents"}
"""Which processes decode what: one that sees photos alone never loads FFmpeg."""

_IMPORTS = {
    "pictures": """
        mmsearch.media.image mmsearch.media.glimpse PIL.JpegImagePlugin PIL.PngImagePlugin PIL.WebPImagePlugin
        PIL.GifImagePlugin PIL.BmpImagePlugin PIL.TiffImagePlugin PIL.AvifImagePlugin PIL.IptcImagePlugin
        PIL.ImagePalette PIL.ImageCms pi_heif
        """,
    "sounds": """
        mmsearch.media.audio mmsearch.media.video mmsearch.media.glimpse mmsearch.media.image soundfile soxr av.*
        """,
    "documents": "mmsearch.media.text pypdfium2",
}
_ENCODINGS = "utf-8-sig utf-16 utf-16-le utf-16-be utf-32 utf-32-le utf-32-be gb18030 cp1252 latin-1 ascii"


_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LC_ALL", "LC_CTYPE", "LANG")


def python(program: str) -> list[str]:
    """The command that runs ``program`` with the packages that are here, whose places are its first argument.

    Not ``-m``: that would import from the current folder, which may be full of strangers' files. And not with ``site``,
    which runs what any package leaves in a ``.pth`` file, and asks the system who the user is.
    """
    places = [*sys.path, os.path.dirname(mmsearch.__path__[0])]
    return [sys.executable, "-I", "-S", "-c", program, json.dumps(places)]


def environment() -> dict[str, str]:
    """What a process needs of the environment to find its libraries and to read their names, and no more."""
    return {name: os.environ[name] for name in _INHERITED if name in os.environ}


def prepare(kind: str) -> None:
    """Import what decoders import only when they are used; what is not installed is not needed."""
    for name in _IMPORTS[kind].split():
        with contextlib.suppress(ImportError):
            package = import_module(name.removesuffix(".*"))
            below = pkgutil.walk_packages(package.__path__, f"{package.__name__}.") if name.endswith(".*") else ()
            for module in below:
                if not module.name.endswith("__main__"):
                    import_module(module.name)
    for encoding in _ENCODINGS.split():
        codecs.lookup(encoding)


def serve(requests: socket.socket, answers: BinaryIO, cpu_s: float = CPU_S) -> None:
    """Answer until the other end is closed."""
    while request := _receive(requests):
        source, spec = request
        assert source.descriptor is not None
        limit = time_for(source.size, cpu_s)
        _limit_time(limit)
        stream = pieces(source, spec)
        try:
            while True:
                _send_piece(answers, next(stream))
                _limit_time(limit)
        except StopIteration as stop:
            send(answers, {"ending": asdict(stop.value)})
        except MediaError as error:
            send(answers, _failure(error))
        finally:
            os.close(source.descriptor)
        del source, stream


def time_for(size: int, most: float) -> float:
    """Of processor time for one piece of a file of ``size`` bytes."""
    return min(most, CPU_S_PER_MB * max(1.0, size / 1e6))


def _receive(requests: socket.socket) -> tuple[Source, Any] | None:
    """The next file, with its head, and the spec; None at the end."""
    data, descriptors, _, _ = socket.recv_fds(requests, _REQUEST, 1)
    if len(data) < LENGTH.size or not descriptors:
        return None
    length = LENGTH.size + LENGTH.unpack_from(data)[0]
    while len(data) < length:
        if not (more := requests.recv(length - len(data))):
            return None
        data += more
    name, size, spec = pickle.loads(data[LENGTH.size :])  # from the process that started this one
    (descriptor,) = descriptors
    return Source(os.pread(descriptor, HEAD, 0), b"", size, 0, 0, name, descriptor), spec


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
        error = Rejected(TOO_LARGE)  # this process's limit, so a property of the file
    return {"failure": type(error).__name__, "reason": str(error)[:LONGEST_REASON]}


TOO_LARGE = "takes too much memory to decode"
LONGEST_REASON = 300


def _limit_time(cpu_s: float) -> None:
    # Processor time, not the clock's: a busy machine must not change what becomes of a file.
    signal.setitimer(signal.ITIMER_PROF, cpu_s)


def main() -> None:
    """Limit and confine this process as its arguments say, then serve. Whatever libraries print goes nowhere."""
    import resource

    # The terminal's Ctrl-C is for the program that waits for the answers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    kind, memory, cpu_s, turns = sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])
    prepare(kind)
    if image := sys.modules.get("mmsearch.media.image"):
        image.take_turns(turns)
    with contextlib.suppress(ValueError, OSError):  # not every system limits address space
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    requests = socket.socket(fileno=0)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        send(sys.stdout.buffer, {"ready": True, "confined": confine()})
        serve(requests, sys.stdout.buffer, cpu_s)
