"""What JPEG offers beyond the other formats: decoding at reduced scale, and a coarse picture from an early part."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from PIL.ImageFile import ImageFile

from mmsearch.errors import Rejected
from mmsearch.media.fit import fit
from mmsearch.types import ImageInput

MAX_PIXELS = 512_000_000
"""What a JPEG decoded at reduced scale may hold at full size; about 2.5 s of Huffman decoding."""

KEEP = 2.9
"""How many times the pixels that the encoder needs, each way, are decoded. The mean error against full decoding is
0.23 grey levels at 3.3 times, 0.25 at 2.9, 0.36 at 2; most of it is rounding to whole levels once more."""

KEEP_ROUGH = 1.5
"""The same for `Rough`: of 12 megapixels the eighth is enough for 320, a quarter less work than the fourth."""

MAX_SCANS = 100
"""A progressive JPEG has about 10 scans; each one, however short, costs a pass over the whole picture."""

END = b"\xff\xd9"
"""The end marker: behind a cut-off file, it makes libjpeg render the scans that have arrived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rough(ImageInput):
    """A picture for people's eyes, which don't see the grey levels that an encoder does."""


def count_scans(image: ImageFile, data: bytes) -> int:
    """How many scans follow the header that ``image`` has read; 1 unless the JPEG is progressive or huge.

    Also counts those of a second picture behind the first, so it is an upper bound.
    """
    if not image.info.get("progressive") and image.width * image.height <= MAX_PIXELS // 8:
        return 1  # one scan or a few, all harmless; counting would cost 1 ms
    codes = np.frombuffer(data, np.uint8, offset=image.fp.tell() if image.fp else 0)
    scans = 1 + int(np.count_nonzero((codes[:-1] == 0xFF) & (codes[1:] == 0xDA)))
    if scans > MAX_SCANS:
        raise Rejected(f"more than {MAX_SCANS} scans")
    return scans


def draft(image: ImageFile, scans: int, want: ImageInput) -> float:
    """Have libjpeg decode at 1/2, 1/4 or 1/8, keeping ``KEEP`` times the pixels that the encoder needs, each way.

    Returns the scale. ``image.size`` is then the decoded size, rounded up.
    """
    width, height = image.size
    # With several scans libjpeg holds every coefficient of the full size, whatever the scale.
    if width * height > (MAX_PIXELS if scans == 1 else MAX_PIXELS // 8):
        return 1.0
    out_width, out_height, (left, top, right, bottom) = fit(width, height, want)
    keep = KEEP_ROUGH if isinstance(want, Rough) else KEEP
    need = ceil(keep * out_width * width / (right - left)), ceil(keep * out_height * height / (bottom - top))
    drafted = image.draft(None, need)
    return drafted[1][2] / width if drafted else 1.0
