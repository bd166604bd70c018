"""What JPEG needs beyond the other formats: decoding at reduced scale, and being told when it is damaged.

libjpeg fills up with grey what it has no data for, and skips data that it has no place for. It warns of both, but
Pillow does not pass that on. `Watched` sees it by what has become of the picture shortly before its end marker.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from math import ceil

import numpy as np
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

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


GREY = 128
"""In every channel, as libjpeg decodes a block of which nothing is there."""

TAIL = 32
"""Bytes before the end marker without which no whole picture has its last row; some programs put a few too many."""

ZEROS = bytes(64)
"""What a lost sector leaves. In a picture's codes so many are a pattern that no photo has."""

_CODES = bytes(range(1, 255)) * 32
_FILLER = 8 * _CODES + b"".join(b"\xff" + bytes([0xD0 + i % 8]) + _CODES for i in range(64))
"""Codes that mean something, then the same behind restart markers."""

_BLOCK = 64 * 1024
_SCAN, _TABLES = 0xDA, 0xC4


class Watched(JpegImageFile):
    """A JPEG that knows, once it is loaded, what is wrong with its data although libjpeg went on: `damage`."""

    def watch(self, data: bytes) -> None:
        """``data``: the whole file, of which the header is read. To be called before it is loaded."""
        self._data = data
        self._scan = self.fp.tell() if self.fp else 0
        # Mostly the last two bytes: looking for the first ones of 3 MB costs 2 ms.
        self._end = len(data) - 2 if data.endswith(END) else data.find(END, self._scan)
        self._parts = self._fed()
        self._surplus, self._reached = self._end >= 0, self.height

    def load_read(self, read_bytes: int) -> bytes:
        """What Pillow's loop feeds to libjpeg next; it calls again when libjpeg has made of it what it could."""
        return next(self._parts, b"")

    def _fed(self) -> Iterator[bytes]:
        data, end = self._data, self._end
        tail = max(self._scan, end - TAIL)
        yield from (data[start : min(start + _BLOCK, tail)] for start in range(0, tail, _BLOCK))
        if end >= 0:
            self._surplus = self._is_made(self.height - 1)  # it stays true if libjpeg is done before it asks for these
            yield data[tail:end]
            if not self._is_made(self._last_row()):
                box = self.im.getbbox()
                self._reached = box[3] if box else 0
        yield from (data[start : start + _BLOCK] for start in range(max(end, tail), len(data), _BLOCK))

    def _is_made(self, row: int) -> bool:
        """Whether libjpeg has written a row of the picture, which is zero before. A black row passes for not made."""
        return row < 0 or self.im.crop((0, row, self.width, row + 1)).getbbox() is not None

    def _last_row(self) -> int:
        """The last row that a whole picture has before its end marker: those of the last blocks may wait for it."""
        scale = self.decoderconfig[0] if self.decoderconfig else 1
        return self.height - 1 - (8 * max(layer[2] for layer in self.layer) // scale + 3)

    def damage(self) -> tuple[str, int] | None:
        """What is wrong in words, and how many rows (of the loaded picture) are there; None: nothing."""
        if self._reached < self.height and self._is_grey(self.height - 1):
            return f"damaged: {100 * self._reached // self.height}% of the rows are there", self._reached
        if self._ends_grey() and not self._ends_grey_anyway():
            return "damaged: the end of it is not there", self.height
        if self._surplus and self._data.find(END, self._scan) == self._end:  # else another picture follows
            return "damaged: its data are of a larger picture", self.height
        if self.info.get("progressive"):
            return None if self._is_fine() else ("damaged: only a coarse picture", self.height)
        if self._has_zeros() and not self._zeros_are_flat():
            return "damaged: a part of it is zeros", self.height
        return None

    def _is_grey(self, row: int) -> bool:
        return self.crop((0, row, self.width, row + 1)).getextrema() in _all_grey(self.im.bands)

    def _ends_grey(self) -> bool:
        last = self.im.getpixel((self.width - 1, self.height - 1))
        return set(last if isinstance(last, tuple) else (last,)) in ({GREY}, {255 - GREY})

    def _ends_grey_anyway(self) -> bool:
        """Whether the last pixel is grey by the file's data: more data behind them would change one that has none."""
        data = self._data[: self._end] + _FILLER + END
        again = Watched(BytesIO(data), "")
        if self.decoderconfig:
            scale = self.decoderconfig[0]
            again.draft(None, (again.width // scale, again.height // scale))
        again.watch(data)
        try:
            again.load()
        except OSError:
            return True  # so nothing is known
        return again._ends_grey()

    def _has_zeros(self) -> bool:
        count = (self._end - self._scan) // 8
        # Eight bytes at a time, which few photos have even once: ten times as fast as looking for the whole run.
        if count <= 0 or np.frombuffer(self._data, np.uint64, count, self._scan).all():
            return False
        return self._data.find(ZEROS, self._scan, self._end) >= 0

    def _zeros_are_flat(self) -> bool:
        """Whether zeros are how this file writes a flat area: in all its tables the first code means "no change"."""
        firsts = [body[start + 17] for body in self._segments(_TABLES) for start in _tables_in(body)]
        return not any(firsts)

    def _segments(self, wanted: int) -> Iterator[bytes]:
        """The bodies of the header's segments of a kind."""
        at = 2
        while at + 4 <= self._scan and self._data[at] == 0xFF:
            length = int.from_bytes(self._data[at + 2 : at + 4], "big")
            if self._data[at + 1] == wanted:
                yield self._data[at + 4 : at + 2 + length]
            at += 2 + length

    def _is_fine(self) -> bool:
        """Whether the scans of a progressive JPEG refine each coefficient of the first component to its last bit."""
        fine: set[int] = set()
        at = self._data.find(bytes([0xFF, _SCAN]))
        while at >= 0:
            count = self._data[at + 4] if at + 4 < len(self._data) else 0
            body = self._data[at + 5 : at + 5 + 2 * count + 3]
            if len(body) == 2 * count + 3 and self.layer[0][0] in body[: 2 * count : 2] and not body[-1] & 15:
                fine.update(range(body[-3], body[-2] + 1))
            at = self._data.find(bytes([0xFF, _SCAN]), at + 2)
        return fine.issuperset(range(64))


def _all_grey(bands: int) -> tuple[object, ...]:
    """What `getextrema` says of a grey row; of CMYK, which Adobe's programs write inverted, also the inverse."""
    return tuple((value, value) if bands == 1 else ((value, value),) * bands for value in (GREY, 255 - GREY))


def _tables_in(body: bytes) -> Iterator[int]:
    """Where the Huffman tables of a segment begin: each has 1 + 16 bytes, and as many values as the 16 say."""
    at = 0
    while at + 17 < len(body):
        yield at
        at += 17 + sum(body[at + 1 : at + 17])


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
