"""A picture file becomes the uint8 square that an encoder wants, plus what the file says about itself.

Pillow does the decoding, behind an allow-list: the content's signature picks one decoder class, no other is asked.
The result is open_clip's own preprocessing to within 0.25 grey levels on average, three to four times faster on
12-megapixel JPEGs: such a JPEG is decoded at reduced scale, the crop is folded into the resize box, and pixels stay
uint8. The differences are deliberate: pictures are turned upright by their EXIF, palettes are resampled as colours,
and transparency is blended onto white, where the reference ignores all three.

Everything may run on several threads: Pillow releases the GIL, and none of its process-wide switches is touched.
"""

from __future__ import annotations

import fcntl
import importlib
import io
import threading
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.ImageFile import ImageFile

from mmsearch.errors import MediaError, Rejected, Transient, Unsupported
from mmsearch.media import jpeg
from mmsearch.media.exif import ExifFacts, read_exif
from mmsearch.media.files import Source
from mmsearch.media.fit import Box, fit, to_stored
from mmsearch.media.outcome import CUT_OFF, outcome
from mmsearch.media.pieces import Ending, Piece, Pieces
from mmsearch.media.sniff import HEAD, Kind, require_indexable
from mmsearch.media.text_embedded import caption
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, MediaFacts, Modality, Pixels

MAX_PIXELS = 64_000_000
"""Pixels decoded for one picture. They cost 4 to 8 bytes each, up to 20 in WebP and floating-point TIFF."""

BIG_PIXELS = 16_000_000
"""Above this, pictures are decoded one at a time: peak memory is that of one, however many threads decode."""

MIN_ROWS = 0.1
"""A damaged picture with fewer of its rows is rejected: a strip of sky says nothing about the photo."""

BACKGROUND = (255, 255, 255)
"""What lies behind transparent pixels: white, as on a page."""

REDUCING_GAP = 3.0
"""Large pictures are first shrunk by whole factors, to no less than this many times the size wanted."""

_DECODERS = {
    "JPEG": ("mmsearch.media.jpeg", "Watched"),
    "PNG": ("PIL.PngImagePlugin", "PngImageFile"),
    "WEBP": ("PIL.WebPImagePlugin", "WebPImageFile"),
    "GIF": ("PIL.GifImagePlugin", "GifImageFile"),
    "BMP": ("PIL.BmpImagePlugin", "BmpImageFile"),
    "TIFF": ("PIL.TiffImagePlugin", "TiffImageFile"),
    "AVIF": ("PIL.AvifImagePlugin", "AvifImageFile"),
    "HEIC": ("pi_heif", "HeifImageFile"),
}

_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_one_big_picture: AbstractContextManager[Any] = threading.Lock()

# Pillow warns about odd metadata; the outcome of a file is told by `Picture`, not on stderr.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """RGB pixels uint8 ``(size, size, 3)``, the file's facts, what is damaged about it, and its own caption, if any."""

    pixels: Pixels
    facts: MediaFacts
    partial: str | None = None
    caption: str | None = None


def take_turns(descriptor: int) -> None:
    """Decode big pictures one at a time among all processes that were given this open file."""

    class Turn:
        def __enter__(self) -> None:
            fcntl.lockf(descriptor, fcntl.LOCK_EX)  # freed by the kernel if this process dies

        def __exit__(self, *_: object) -> None:
            fcntl.lockf(descriptor, fcntl.LOCK_UN)

    global _one_big_picture  # noqa: PLW0603  a decoder has no other place where a process can tell it something
    _one_big_picture = Turn()


def pieces(source: Source, kind: Kind, spec: EncoderSpec) -> Pieces:
    """The one piece of a picture file; see `mmsearch.media.decode.pieces`."""
    if spec.image is None:
        raise Unsupported(f"{spec.name} does not say what pictures it takes")
    picture = decode_image(source, spec.image)
    yield Piece(picture.pixels, Modality.IMAGE)
    return Ending(Modality.IMAGE, picture.facts, picture.partial, picture.caption)


def decode_image(source: Source, want: ImageInput) -> Picture:
    """Decode the first frame of ``source`` into what the encoder wants.

    Raises ``Unsupported`` for content that is no picture or whose decoder is not installed, ``Rejected(reason)`` for a
    picture that is broken or over a limit, ``Transient`` when memory or file handles ran out.
    """
    kind = require_indexable(source.data[:HEAD], source.size)
    if kind.modality is not Modality.IMAGE:
        raise Unsupported(f"{kind.modality} is no picture")
    format_ = kind.format
    try:
        return _decode(source.content(), format_, want)
    except MediaError:
        raise
    except Exception as error:  # Pillow's decoders raise at least eight types on broken files
        raise outcome(format_, error) from error


@dataclass(frozen=True, slots=True)
class _Opened:
    """A picture whose header is read: its size in the file, the scale it will be decoded at, a JPEG's scans."""

    image: ImageFile
    size: tuple[int, int]
    scale: float = 1.0
    scans: int = 1


def _open(data: bytes, format_: str, want: ImageInput) -> _Opened:
    module, name = _DECODERS[format_]
    decoder = getattr(importlib.import_module(module), name)
    # The class itself, not Image.open, which judges sizes by a setting of the whole process.
    image: ImageFile = decoder(io.BytesIO(data), "")
    opened = _Opened(image, image.size)
    if format_ == "JPEG":
        scans = jpeg.count_scans(image, data)
        opened = _Opened(image, image.size, jpeg.draft(image, scans, want), scans)
        image.watch(data)  # type: ignore[attr-defined]
    if image.width * image.height > MAX_PIXELS:
        width, height = opened.size
        raise Rejected(f"more than {MAX_PIXELS // 1_000_000} megapixels ({width} x {height})")
    return opened


def _decode(data: bytes, format_: str, want: ImageInput) -> Picture:
    opened = _open(data, format_, want)
    image: Image.Image = opened.image
    expected, partial = image.size, None
    with _one_big_picture if image.width * image.height > BIG_PIXELS else nullcontext():
        try:
            image.load()
        except Exception as error:
            if isinstance(outcome(format_, error), Transient):
                raise
            image, partial = _salvage(opened, data, want, error)
        else:
            image, partial = _heard(opened.image)
        exif = read_exif(opened.image)
        # Otherwise only some rows are there, or the header was wrong about the size.
        size, scale = (opened.size, opened.scale) if image.size == expected else (image.size, 1.0)
        pixels = _render(image, size, scale, exif.orientation, want)
    return Picture(pixels, _facts(opened.size, exif), partial, caption(opened.image))


def _salvage(opened: _Opened, data: bytes, want: ImageInput, error: Exception) -> tuple[Image.Image, str]:
    """What a damaged picture still shows, and its damage in words; raises ``error`` when that is too little."""
    image = opened.image
    damage = "truncated" if CUT_OFF.search(str(error)) else "damaged"
    if opened.scans > 1:  # the first scan is complete, and covers the picture
        coarse = _open(data + jpeg.END, "JPEG", want).image
        coarse.load()
        return coarse, f"{damage}: only a coarse picture"
    # Interlaced rows come in passes: the first passes are a comb. Turned TIFFs are half way to being upright.
    if image.info.get("interlace") or _is_interlaced_gif(image) or image.im.size != image.size:
        raise error
    image.tile = []  # Pillow would try again otherwise
    top, bottom = _rows_present(np.asarray(image))
    if bottom - top < MIN_ROWS * image.height:
        raise error
    percent = 100 * (bottom - top) // image.height
    return image.crop((0, top, image.width, bottom)), f"{damage}: {percent}% of the rows are there"


def _heard(image: ImageFile) -> tuple[Image.Image, str | None]:
    """A loaded picture without the rows that are not there, and its damage in words, if its decoder kept any silent."""
    damage = image.damage() if isinstance(image, jpeg.Watched) else None
    if damage is None:
        return image, None
    said, rows = damage
    # Of less than a strip all is kept, grey as it is: to be called damaged is then all that it is good for.
    return (image.crop((0, 0, image.width, rows)) if rows >= MIN_ROWS * image.height else image), said


def _is_interlaced_gif(image: ImageFile) -> bool:
    args = image.tile[0].args if image.format == "GIF" and image.tile else None
    return isinstance(args, tuple) and bool(args[1])


def _rows_present(pixels: npt.NDArray[Any]) -> tuple[int, int]:
    """Start and end of the rows that were decoded into ``pixels`` ``(h, w)`` or ``(h, w, c)``; the rest is constant.

    The rest is at the bottom, or, in a BMP, at the top.
    """
    rows = pixels.reshape(len(pixels), pixels.shape[1], -1)
    from_top = np.flatnonzero((rows != rows[-1, -1]).any(axis=(1, 2)))
    if from_top.size and from_top[-1] < len(rows) - 1:
        return 0, int(from_top[-1]) + 1
    from_bottom = np.flatnonzero((rows != rows[0, 0]).any(axis=(1, 2)))
    return (int(from_bottom[0]), len(rows)) if from_bottom.size else (0, 0)


def _render(image: Image.Image, size: tuple[int, int], scale: float, orientation: int, want: ImageInput) -> Pixels:
    """Resize, crop and turn ``image``, which shows a picture of ``size`` decoded at ``scale``."""
    width, height = size
    turned = orientation >= 5
    out_width, out_height, box = fit(*((height, width) if turned else (width, height)), want)
    if turned:
        out_width, out_height = out_height, out_width
    left, top, right, bottom = (edge * scale for edge in to_stored(box, orientation, width, height))
    image = _plain(image)
    box = left, top, min(right, image.width), min(bottom, image.height)
    if (bottom - top) / out_height < 2 * REDUCING_GAP:
        image, box = _cut_rows(image, box, out_height)
    small = image.resize((out_width, out_height), _RESAMPLE[want.resample], box, REDUCING_GAP)
    if small.mode == "RGBA":
        small = Image.alpha_composite(Image.new("RGBA", small.size, (*BACKGROUND, 255)), small)
    small = small.convert("RGB")
    if orientation in _TO_UPRIGHT:
        small = small.transpose(_TO_UPRIGHT[orientation])
    if small.size != (want.size, want.size):
        square = Image.new("RGB", (want.size, want.size), (want.fill,) * 3)
        square.paste(small, ((want.size - small.width) // 2, (want.size - small.height) // 2))
        small = square
    return np.array(small)


def upright_square(image: Image.Image, orientation: int, want: ImageInput) -> Pixels:
    """A decoded picture as the encoder wants it, turned as EXIF's ``orientation`` (1 to 8) says."""
    return _render(image, image.size, 1.0, orientation, want)


def _cut_rows(image: Image.Image, box: Box, out_height: int) -> tuple[Image.Image, Box]:
    """Drop the rows that resizing ``box`` won't touch, and say where the box is now.

    Pillow orders its two passes by the height of the whole picture. Cut, it finds the order that the reference's
    uncropped resize has, and the result is the same to the bit; otherwise it rounds differently, by 0.25 on average.
    """
    left, top, right, bottom = box
    margin = 2 * (bottom - top) / out_height + 2  # bicubic reaches two output pixels, at least two source pixels
    first, end = max(0, int(top - margin)), min(image.height, int(bottom + margin) + 1)
    if end - first == image.height:
        return image, box
    return image.crop((0, first, image.width, end)), (left, top - first, right, bottom - first)


def _plain(image: Image.Image) -> Image.Image:
    """The same picture in a mode that can be resampled: L, RGB, CMYK or RGBA, 8 bits a channel."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_to_bytes(np.asarray(image, np.float32)))
    if image.mode != "RGBA" and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK", "RGBA"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _to_bytes(values: FloatArray) -> npt.NDArray[np.uint8]:
    """Numbers without a stated range: 0 to 1, 255 or 65535 by what they reach, otherwise from least to greatest."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise Rejected("no finite pixel")
    low, high = float(finite.min()), float(finite.max())
    if low >= 0 and high <= 65535:
        low, high = 0.0, next(top for top in (1.0, 255.0, 65535.0) if high <= top)
    scaled = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) * (255 / (high - low))
    return scaled.round().astype(np.uint8)


def _facts(size: tuple[int, int], exif: ExifFacts) -> MediaFacts:
    width, height = reversed(size) if exif.orientation >= 5 else size
    return MediaFacts(width=width, height=height, taken=exif.taken, camera=exif.camera, lat=exif.lat, lon=exif.lon)
