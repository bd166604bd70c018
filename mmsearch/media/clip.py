"""A span of a sound or a video as a file of its own.

A sound that libsndfile reads is decoded and written to the sample: WAV, FLAC, AIFF and AU stay what they are, what was
compressed with a loss (MP3, Ogg) becomes FLAC of 16 bits, so that nothing more is lost. All else is FFmpeg's, and is
copied packet by packet, not encoded again: fast, no loss, and a video begins at the keyframe before its span.

The work is done in a process of its own, with limits, as all decoding is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any

from mmsearch.errors import MissingExtra, Rejected, Unsupported
from mmsearch.media.confine import confine
from mmsearch.media.sniff import HEAD, LIBSNDFILE_FORMATS, Kind, missing_extra, sniff
from mmsearch.media.worker import CPU_S, MEMORY, environment, prepare, python
from mmsearch.types import Modality

SHORTEST_S = 1.0
"""Of a video: a picture that stands for a moment is no clip."""

_KEPT = {"WAV": ("WAV", ".wav"), "FLAC": ("FLAC", ".flac"), "AIFF": ("AIFF", ".aiff"), "AU": ("AU", ".au")}
_COPIED = {"MP4": ("mp4", ".mp4"), "M4A": ("mp4", ".m4a")}
_BLOCK = 65_536
_MAIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from mmsearch.media.clip import main; main()"


def kind_of(path: bytes) -> Kind:
    """What a file is that can be cut. Raises ``Unsupported`` for any other, ``OSError`` for one that is not there."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        kind = sniff(file.read(HEAD))
    if kind is None or kind.modality not in (Modality.AUDIO, Modality.VIDEO):
        raise Unsupported("no sound and no video")
    if extra := missing_extra(kind):
        raise MissingExtra(f"cutting {kind.format}", extra)
    return kind


def suffix(kind: Kind) -> str:
    """How the name of a clip of such a file ends."""
    return _target(kind)[1]


def cut(path: bytes, target: bytes, start: float, end: float, kind: Kind) -> None:
    """Write the seconds from ``start`` to ``end`` to ``target``. Raises ``Rejected`` with the reason if it can't be."""
    options = [str(start), str(end), str(kind.modality), kind.format]
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as source, open(target, "w+b") as out:
        descriptors = source.fileno(), out.fileno()
        command = [*python(_MAIN), *map(str, descriptors), *options]
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment(),
            pass_fds=descriptors,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise Rejected(said[-1] if said and done.returncode == 1 else "breaks its decoder")


def main() -> None:
    """The other process: limit and confine it, then cut. It is given both files open, and may open no other."""
    import resource

    source, target = map(int, sys.argv[2:4])
    start, end = map(float, sys.argv[4:6])
    kind = Kind(Modality(sys.argv[6]), sys.argv[7])
    prepare("sounds")
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (int(CPU_S), int(CPU_S)))
    confine(writes=True)
    try:
        if kind.format in LIBSNDFILE_FORMATS and kind.modality is Modality.AUDIO:
            _decoded(source, target, start, end, kind)
        else:
            _copied(source, target, start, end, kind)
    except Exception as error:  # decoders raise what they like
        sys.exit(" ".join(str(error).split()) or type(error).__name__)


def _target(kind: Kind) -> tuple[str, str]:
    """The format of a clip and the end of its name."""
    if kind.format in LIBSNDFILE_FORMATS and kind.modality is Modality.AUDIO:
        return _KEPT.get(kind.format, ("FLAC", ".flac"))
    return _COPIED.get(kind.format, ("matroska", ".mkv" if kind.modality is Modality.VIDEO else ".mka"))


def _decoded(source: int, target: int, start: float, end: float, kind: Kind) -> None:
    import soundfile

    kept = kind.format in _KEPT
    with soundfile.SoundFile(source, closefd=False) as sound:
        subtype = sound.subtype if kept else "PCM_16"
        exact = "int32" if kept and subtype.startswith("PCM") else "float64"
        sound.seek(min(round(start * sound.samplerate), sound.frames))
        left = round(end * sound.samplerate) - sound.tell()
        form = sound.samplerate, sound.channels, subtype, None, _target(kind)[0]
        with soundfile.SoundFile(target, "w", *form, closefd=False) as out:
            while left > 0 and len(block := sound.read(min(left, _BLOCK), dtype=exact, always_2d=True)):
                out.write(block if kept else block.clip(-1.0, 1.0))
                left -= len(block)


def _copied(source: int, target: int, start: float, end: float, kind: Kind) -> None:
    import av

    from mmsearch.media.container import DEMUXERS

    with (
        open(source, "rb", closefd=False) as original,
        open(target, "w+b", closefd=False) as file,
        av.open(original, format=DEMUXERS[kind.format], metadata_errors="replace") as container,
        av.open(file, "w", format=_target(kind)[0]) as out,
    ):
        streams = [s for s in (container.streams.best("video"), container.streams.best("audio")) if s is not None]
        copies = {stream.index: out.add_stream_from_template(stream) for stream in streams}
        zero = (container.start_time or 0) / 1e6
        container.seek(round((zero + start) * 1e6))
        _mux(container, out, streams, copies, zero + max(end, start + SHORTEST_S))


def _mux(container: Any, out: Any, streams: list[Any], copies: dict[int, Any], end: float) -> None:
    """Packets until every stream is past ``end``, moved so that the first one of the first stream is at zero."""
    first: float | None = None
    open_ = {stream.index for stream in streams}
    for packet in container.demux(streams):
        if packet.dts is None or packet.stream.index not in open_:
            continue
        time, unit = float(packet.dts * packet.time_base), packet.time_base
        if time >= end:
            open_.discard(packet.stream.index)
            if not open_:
                return
            continue
        if first is None and packet.stream is streams[0]:
            first = time
        if first is None or time < first:
            continue
        moved = round(first / unit)
        packet.dts -= moved
        packet.pts = None if packet.pts is None else packet.pts - moved
        packet.stream = copies[packet.stream.index]
        out.mux(packet)
