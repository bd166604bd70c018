"""Tiny pictures of known pixels, so that a stored vector can be compared with the one it must be."""

from __future__ import annotations

import struct
import zlib
from random import Random

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


def random_pixels(rng: Random, size: int) -> Pixels:
    """A ramp from one colour to another, uint8 ``(size, size, 3)``: different for every draw."""
    first, last = (np.array([rng.randrange(256) for _ in range(3)], np.float32) for _ in range(2))
    ramp = np.linspace(0, 1, size * size, dtype=np.float32)[:, None]
    return (first + (last - first) * ramp).astype(np.uint8).reshape(size, size, 3)


def png(pixels: Pixels) -> bytes:
    """The smallest valid PNG of these pixels."""
    height, width, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
