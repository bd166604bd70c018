"""Blocks of sound become what an encoder takes: mono, resampled once, cut into windows that overlap.

Everything is a stream: ten hours of sound cost the memory of one window. Blocks are cut where the decoder cuts them,
always in the same places, so the samples are the same to the bit from run to run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from mmsearch.errors import Rejected
from mmsearch.media.pieces import Piece
from mmsearch.types import FloatArray, Modality, Span

BLOCK = 32_768
"""Frames read at a time."""

OVERLAP_S = 1.0
"""Seconds that two windows share: a bark, a word, one patch of YAMNet lie whole in one of them."""

MAX_SECONDS = 12 * 3600
"""So much of a file is indexed: a few kilobytes can hold a year of silence."""

RATES = range(1_000, 768_001)
MAX_CHANNELS = 64


def longer() -> str:
    """What is said of a sound that goes on after ``MAX_SECONDS``."""
    return f"longer than {MAX_SECONDS // 3600} hours: the rest is left out"


def check_format(rate: int, channels: int) -> None:
    """Raise ``Rejected`` for what only a broken header says."""
    if rate not in RATES:
        raise Rejected(f"{rate} samples a second")
    if not 1 <= channels <= MAX_CHANNELS:
        raise Rejected(f"{channels} channels")


def to_mono(block: npt.NDArray[Any]) -> FloatArray:
    """Samples float ``(n, channels)`` to float32 ``(n,)`` in -1..1; what is not finite becomes silence."""
    mono: FloatArray = block[:, 0].astype(np.float32)
    for channel in block.T[1:]:  # column by column: numpy's mean over so short an axis takes four times as long
        mono += channel
    mono /= np.float32(block.shape[1])
    if not np.isfinite(mono).all():
        np.nan_to_num(mono, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
    return mono.clip(-1.0, 1.0, out=mono)


def resampled(blocks: Iterable[FloatArray], rate: int, wanted: int) -> Iterator[FloatArray]:
    """The same sound at ``wanted`` samples a second, by soxr's HQ filter."""
    if rate == wanted:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def windows(blocks: Iterable[FloatArray], rate: int, seconds: float) -> Iterator[Piece]:
    """Cut float32 blocks at ``rate`` into windows of ``seconds`` that share ``OVERLAP_S``; the tail is kept.

    The last window may be up to ``OVERLAP_S`` longer than the others: less than that needs no window of its own.
    """
    size, overlap = round(seconds * rate), round(OVERLAP_S * rate)
    held, start = np.empty(0, np.float32), 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > size + overlap:
            yield _window(held[:size], start, rate)
            held, start = held[size - overlap :], start + size - overlap
    if len(held):
        yield _window(held, start, rate)


def _window(samples: FloatArray, start: int, rate: int) -> Piece:
    span = Span(round(start / rate, 3), round((start + len(samples)) / rate, 3), "s")
    return Piece(samples, Modality.AUDIO, span)
