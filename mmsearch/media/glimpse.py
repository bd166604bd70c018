"""A picture of a file for people's eyes: a photo as it is, a video's frame at a time, small and upright.

It is decoded where everything is decoded, in a process of the sandbox: a file may have changed since it was indexed.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np

from mmsearch.errors import Rejected
from mmsearch.media.files import MAX_BYTES, STREAMED, Source
from mmsearch.media.fit import fit
from mmsearch.media.sniff import HEAD, sniff
from mmsearch.types import EncoderSpec, MediaFacts, Modality, Pixels

QUALITY = 80
"""Of JPEG: 320 pixels take about 15 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Glimpse(EncoderSpec):
    """What a decoder is asked for where no encoder asks: one picture, of a video the one ``at`` seconds."""

    at: float = 0.0


def glimpse(path: bytes, size: int, at: float = 0.0) -> Pixels:
    """RGB pixels uint8 ``(h, w, 3)`` of a photo, or of a video ``at`` seconds, the longer side ``size``.

    Raises ``OSError`` for a file that is not there, ``MediaError`` for one that shows nothing.
    """
    from mmsearch.media.jpeg import Rough
    from mmsearch.media.sandbox import shared

    want = Rough(size=size, fit="pad", resample="bilinear")
    spec = Glimpse(name="pictures", space="", dim=0, modalities=_PICTURES, licence="", image=want, at=at)
    stream = shared()(_unhashed(path), spec)
    square = next(stream).content
    try:
        next(stream)
    except StopIteration as stop:
        facts: MediaFacts = stop.value.facts
    else:
        stream.close()
        raise Rejected("shows more than one picture")
    width, height, _ = fit(facts.width or size, facts.height or size, want)
    left, top = (size - width) // 2, (size - height) // 2
    return np.asarray(square, np.uint8)[top : top + height, left : left + width]


def jpeg(pixels: Pixels) -> bytes:
    """RGB pixels uint8 ``(h, w, 3)`` as a JPEG file."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


_PICTURES = frozenset({Modality.IMAGE})


def _unhashed(path: bytes) -> Source:
    """A file as a decoder takes it, without the cost of its sha256."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO in its place must not make us wait
    with open(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        head = file.read(HEAD)
        kind = sniff(head)
        streamed = kind is not None and kind.modality in STREAMED
        if not streamed and status.st_size > MAX_BYTES:
            raise Rejected(f"larger than {MAX_BYTES // (1024 * 1024)} MiB")
    return Source(head, b"", status.st_size, status.st_mtime_ns, status.st_ino, path)
