"""A sound file becomes windows of mono samples: libsndfile reads what it knows, FFmpeg (PyAV) the rest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from mmsearch.errors import Rejected, Unsupported
from mmsearch.media.files import Source
from mmsearch.media.outcome import outcome
from mmsearch.media.pieces import Ending, Pieces
from mmsearch.media.sniff import LIBSNDFILE_FORMATS, Kind
from mmsearch.media.sound import BLOCK, MAX_SECONDS, check_format, longer, resampled, to_mono, windows
from mmsearch.types import EncoderSpec, FloatArray, MediaFacts, Modality

UNKNOWN_SIZE = 0x7FFF_F000
"""Programs that write into a pipe leave such sizes in a header: they mean "to the end"."""


class Sound(Protocol):
    """A sound being read: ``seconds`` and ``damage`` grow true as ``blocks`` are taken."""

    rate: int
    seconds: float
    damage: str | None

    def blocks(self) -> Iterator[FloatArray]:
        """Mono float32 blocks ``(n,)`` in -1..1, to the end or to where the file breaks off."""
        ...


def pieces(source: Source, kind: Kind, spec: EncoderSpec) -> Pieces:
    """The windows of a sound file; see `mmsearch.media.decode.pieces`."""
    rate = spec.audio_rate
    if rate is None:
        raise Unsupported(f"{spec.name} does not say what sounds it takes")
    try:
        with source.opened() as file:
            if kind.format in LIBSNDFILE_FORMATS:
                sound: Sound = SoundFile(file, kind.format)
            else:
                from mmsearch.media.container import Container

                sound = Container(file, kind.format).sound()
            yield from windows(resampled(sound.blocks(), sound.rate, rate), rate, spec.audio_window)
    except Exception as error:
        raise outcome(kind.format, error) from error
    if not sound.seconds:
        raise Rejected(sound.damage or "holds no sound")
    return Ending(Modality.AUDIO, MediaFacts(duration_s=round(sound.seconds, 3)), sound.damage)


class SoundFile:
    """A sound that libsndfile reads."""

    def __init__(self, file: Any, format_: str) -> None:
        import soundfile

        self._error = soundfile.LibsndfileError
        try:
            # A descriptor where there is one: reading through Python's file objects takes longer.
            self._file = soundfile.SoundFile(_descriptor(file), closefd=False)
        except self._error as error:
            raise Rejected(f"broken {format_}: {_words(error)}") from error
        check_format(self._file.samplerate, self._file.channels)
        self.rate: int = self._file.samplerate
        self.seconds = 0.0
        self.damage = self._cut_off()

    def _cut_off(self) -> str | None:
        """Some headers are believed less than the file's length: what libsndfile noted when it corrected them."""
        notes = self._file.extra_info
        for said, there in re.findall(r"(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", notes):
            if int(there) < int(said) < UNKNOWN_SIZE:
                return f"truncated: {100 * int(there) // int(said)}% of the sound is there"
        return "truncated" if "lacks an end-of-stream bit" in notes else None

    def blocks(self) -> Iterator[FloatArray]:
        expected, count = self._file.frames, 0
        heard = self._file.subtype not in ("FLOAT", "DOUBLE")  # others hold nothing but numbers
        with self._file:
            while count < MAX_SECONDS * self.rate:
                try:
                    block = self._file.read(BLOCK, dtype="float32", always_2d=True)
                except self._error as error:
                    self.damage = f"damaged: {_words(error)}"
                    return
                if not len(block):
                    break
                heard = heard or bool(np.isfinite(block).any())
                count += len(block)
                self.seconds = count / self.rate
                yield to_mono(block)
            else:
                self.damage = longer()
                return
        if count and not heard:
            raise Rejected("its samples are no numbers")
        if 0 < count < expected:
            self.damage = f"truncated: {100 * count // expected}% of the sound is there"


def _descriptor(file: Any) -> Any:
    try:
        return file.fileno()
    except OSError:  # a file in memory has none
        return file


def _words(error: Any) -> str:
    if error.code == 7:  # its text speaks of a file that does not exist
        return "no sound is found in it"
    # Not str(error): it begins with the number of the descriptor.
    return " ".join(str(error.error_string).rstrip(".").split()).lower()
