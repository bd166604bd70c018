"""Small pictures for eyes: upright, in their own shape, and of a film the frame that was asked for."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import MediaError
from mmsearch.media.glimpse import glimpse, jpeg
from tests.e2e.test_answers import film  # noqa: F401


@pytest.fixture
def photos(tmp_path):
    return tmp_path


def test_a_photo_keeps_its_shape_and_stands_upright(tmp_path):
    wide = Image.new("RGB", (900, 300), (20, 20, 220))
    wide.paste((220, 20, 20), (0, 0, 450, 300))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be shown turned clockwise: red, on the left, comes to the top
    wide.save(tmp_path / "turned.jpg", exif=turned)
    pixels = glimpse(os.fsencode(tmp_path / "turned.jpg"), 90)
    assert pixels.shape == (90, 30, 3)
    assert np.abs(pixels[10, 15].astype(int) - (220, 20, 20)).max() < 8
    assert np.abs(pixels[80, 15].astype(int) - (20, 20, 220)).max() < 8
    assert jpeg(pixels).startswith(b"\xff\xd8\xff")


@pytest.mark.parametrize("second", [0, 1, 3.5, 7, 100])
def test_a_film_shows_the_frame_of_that_second(film, second):  # noqa: F811
    pixels = glimpse(os.fsencode(film), 64, second)
    assert pixels.shape == (48, 64, 3)
    assert abs(float(pixels.mean()) - (25 + 25 * min(int(second), 7))) < 6


def test_what_shows_nothing_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    os.mkfifo(tmp_path / "fifo")
    for name in ("notes.txt", "broken.png", "fifo"):
        with pytest.raises(MediaError):
            glimpse(os.fsencode(tmp_path / name), 64)
    with pytest.raises(FileNotFoundError):
        glimpse(b"/nowhere", 64)
