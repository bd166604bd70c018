"""Broken, cut and hostile pictures: each ends in one stated outcome, soon, in bounded memory, and never as if whole."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from mmsearch.errors import MediaError, Rejected, Transient
from mmsearch.media import image as image_module
from mmsearch.media import jpeg
from mmsearch.media.files import Source
from mmsearch.media.image import decode_image
from mmsearch.types import ImageInput

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

WANT = ImageInput(size=48, fit="squash")


def source(data):
    return Source(data, bytes(32), len(data), 0, 0)


def saved(image, format_, **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def textured(width=400, height=300):
    random = np.random.default_rng(3)
    coarse = random.integers(30, 226, (height // 20, width // 20, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


WRITERS = {
    "JPEG": {"quality": 85},
    "JPEG progressive": {"quality": 85, "progressive": True},
    "PNG": {},
    "GIF": {"interlace": False},
    "GIF interlaced": {},
    "BMP": {},
    "TIFF": {},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "WEBP": {},
    "AVIF": {},
}


def made(name):
    return saved(textured(), name.split()[0], **WRITERS[name])


@pytest.mark.parametrize("name", WRITERS)
def test_a_cut_at_any_place_is_never_taken_for_whole(name):
    data = made(name)
    whole = decode_image(source(data), WANT)
    assert whole.partial is None
    outcomes = set()
    for cut in np.linspace(32, len(data) - len(data) // 50, 60).astype(int):
        try:
            picture = decode_image(source(data[:cut]), WANT)
        except Rejected as error:
            outcomes.add(str(error).split(":")[0])
            continue
        assert picture.partial, f"cut at {cut} of {len(data)} passes for whole"
        outcomes.add("partial")
        assert (picture.facts.width, picture.facts.height) == (400, 300)
    expected = {"JPEG", "JPEG progressive", "PNG", "GIF", "BMP", "TIFF"}
    assert ("partial" in outcomes) == (name in expected)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
def test_half_a_file_gives_half_the_picture_and_nothing_else(name):
    data = made(name)
    picture = decode_image(source(data[: len(data) * 6 // 10]), WANT)
    percent = int(picture.partial.split()[1].rstrip("%"))
    assert picture.partial == f"truncated: {percent}% of the rows are there" and 40 <= percent <= 70
    rows = 300 * percent // 100
    shown = textured().crop((0, 300 - rows, 400, 300) if name == "BMP" else (0, 0, 400, rows))
    expected = decode_image(source(saved(shown, "PNG")), WANT).pixels
    # The last row may be cut within; a GIF has 256 colours.
    error = np.abs(picture.pixels.astype(int) - expected).mean()
    assert error < (12 if name == "GIF" else 6)


def test_a_progressive_jpeg_gives_its_coarse_picture():
    data = made("JPEG progressive")
    picture = decode_image(source(data[: len(data) // 2]), WANT)
    assert picture.partial == "truncated: only a coarse picture"
    assert np.abs(picture.pixels.astype(int) - decode_image(source(data), WANT).pixels).mean() < 8
    with pytest.raises(Rejected, match=r"^truncated JPEG$"):
        decode_image(source(data[: data.index(b"\xff\xda") + 200]), WANT)


def test_a_large_cut_jpeg_is_salvaged_at_reduced_scale():
    data = saved(textured(2400, 1800), "JPEG", quality=85)
    picture = decode_image(source(data[: len(data) // 2]), WANT)
    assert "% of the rows are there" in picture.partial
    assert (picture.facts.width, picture.facts.height) == (2400, 1800)
    assert picture.pixels.std() > 10


def test_too_little_is_rejected():
    data = made("PNG")
    with pytest.raises(Rejected, match=r"^truncated PNG$"):
        decode_image(source(data[: len(data) // 20]), WANT)


def test_noise_anywhere_ends_in_one_outcome():
    random = np.random.default_rng(11)
    for name in WRITERS:
        data = made(name)
        for _ in range(30):
            noise = bytearray(data)
            # Half of the flips go where the structure is.
            for position in (*random.integers(0, min(400, len(data)), 4), *random.integers(0, len(data), 4)):
                noise[position] = random.integers(256)
            try:
                assert decode_image(source(bytes(noise)), WANT).pixels.shape == (48, 48, 3)
            except MediaError as error:
                reason = str(error)
                assert reason and len(reason) < 160 and reason.isprintable()
                assert "0x" not in reason and "object at" not in reason


# Bombs: little on disk, much in memory or time.


def _png(width, height, *chunks, rows=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*c) for c in chunks), chunk(b"IDAT", rows), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _gif(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def _bmp(width, height):
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + info


def _webp(width, height):
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + struct.pack("<I", width - 1)[:3]
        + struct.pack("<I", height - 1)[:3]
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _tiff(width, height):
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 8)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(12)


def _jpeg(width, height):
    data = bytearray(saved(Image.new("L", (16, 16)), "JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize("make", [_png, _gif, _bmp, _tiff, _jpeg], ids=lambda make: make.__name__)
def test_the_header_alone_decides_about_size(make):
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match=r"more than 64 megapixels \(60000 x 60000\)"):
            decode_image(source(make(60_000, 60_000)), WANT)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_webp_canvas_is_refused():
    with pytest.raises(Rejected):
        decode_image(source(_webp(16_000, 16_000)), WANT)


def test_a_huge_jpeg_is_decoded_at_reduced_scale():
    data = saved(Image.new("L", (12_000, 8_000), 90), "JPEG", quality=50)
    picture = decode_image(source(data), WANT)
    assert (picture.facts.width, picture.facts.height) == (12_000, 8_000)
    assert np.abs(picture.pixels.astype(int) - 90).max() <= 2
    with pytest.raises(Rejected, match="more than 64 megapixels"):  # its coefficients alone would take gigabytes
        decode_image(source(saved(Image.new("L", (12_000, 8_000), 90), "JPEG", progressive=True)), WANT)
    with pytest.raises(Rejected, match="more than 64 megapixels"):  # the encoder wants more than 64 megapixels
        decode_image(source(data), ImageInput(size=5000))


def test_the_cap_counts_what_is_decoded(monkeypatch):
    monkeypatch.setattr(image_module, "MAX_PIXELS", 400 * 300)
    assert decode_image(source(saved(textured(400, 300), "PNG")), WANT).partial is None
    with pytest.raises(Rejected, match="megapixels"):
        decode_image(source(saved(textured(401, 300), "PNG")), WANT)


def test_a_jpeg_of_very_many_scans_is_rejected():
    data = saved(textured(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * jpeg.MAX_SCANS + jpeg.END
    with pytest.raises(Rejected, match=r"^more than 100 scans$"):
        decode_image(source(bomb), WANT)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_compressed_text_in_a_png_is_not_inflated_without_bound(kind):
    bomb = zlib.compress(bytes(50_000_000), 9)
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[kind]
    data = _png(8, 8, (kind, head + bomb), rows=zlib.compress(bytes(8 * 25)))
    tracemalloc.start()
    try:
        with pytest.raises(Rejected, match="broken PNG"):
            decode_image(source(data), WANT)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_only_the_first_of_very_many_frames_is_looked_at(monkeypatch):
    frame = b",\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\xff\0\0\0\0\xff" + frame * 100_000 + b";"
    from PIL import GifImagePlugin

    seen = []
    real = GifImagePlugin.GifImageFile._seek
    monkeypatch.setattr(
        GifImagePlugin.GifImageFile, "_seek", lambda self, n, *a: (seen.append(n), real(self, n, *a))[1]
    )
    assert decode_image(source(data), WANT).partial is None
    assert set(seen) == {0}


def test_running_out_of_memory_is_not_the_pictures_fault(monkeypatch):
    def fail(*_args):
        raise MemoryError

    monkeypatch.setattr(Image.core, "new", fail)
    with pytest.raises(Transient, match=r"^out of memory$"):
        decode_image(source(made("PNG")), WANT)


def test_big_pictures_are_decoded_one_at_a_time(monkeypatch):
    import threading

    monkeypatch.setattr(image_module, "BIG_PIXELS", 1000)
    inside, most = [], []
    real = image_module._render

    def render(*args):
        inside.append(1)
        most.append(len(inside))
        try:
            return real(*args)
        finally:
            inside.pop()

    monkeypatch.setattr(image_module, "_render", render)
    data = made("PNG")
    threads = [threading.Thread(target=decode_image, args=(source(data), WANT)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 8 and max(most) == 1


# -- what libjpeg only warns of ----------------------------------------------------------------------------------------

SCAN = b"\xff\xda"


def cut(data, part):
    """The first part of a JPEG's codes, and an end marker behind."""
    scan = data.find(SCAN) + 14
    return data[: scan + int(part * (len(data) - scan))] + jpeg.END


def zeroed(data, count=2048, part=0.5):
    at = data.find(SCAN) + 14 + int(part * (len(data) - data.find(SCAN) - 16 - count))
    return data[:at] + bytes(count) + data[at + count :]


def claiming(data, width, height):
    frame = data.find(b"\xff\xc0")
    return data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]


@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.8, 0.9, 0.97])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_jpeg_cut_with_an_end_marker_behind_is_partial(part, options):
    data = saved(textured(1200, 900), "JPEG", quality=85, **options)
    assert decode_image(source(data), WANT).partial is None
    assert decode_image(source(cut(data, part)), WANT).partial.startswith("damaged: ")


def test_the_rows_that_are_there_are_shown():
    whole, half = (decode_image(source(data), WANT) for data in (made("JPEG"), cut(made("JPEG"), 0.5)))
    assert "% of the rows are there" in half.partial
    assert 35 <= int(half.partial.split()[1].rstrip("%")) <= 65
    assert (half.pixels != 128).any(axis=2).mean() > 0.95 and whole.partial is None


@pytest.mark.parametrize("part", [0.0, 0.3, 0.6, 0.95])
def test_zeros_in_a_jpeg_are_seen(part):
    for options in ({}, {"optimize": True}, {"restart_marker_rows": 1}):
        data = saved(textured(1200, 900), "JPEG", quality=85, **options)
        assert decode_image(source(zeroed(data, part=part)), WANT).partial.startswith("damaged: ")


@pytest.mark.parametrize("size", [40, 100, 2000, 20_000])
def test_a_jpeg_that_claims_to_be_larger_is_partial(size):
    small = saved(Image.new("RGB", (16, 16), "red"), "JPEG")
    assert decode_image(source(claiming(small, size, size)), WANT).partial.startswith("damaged: ")


def test_a_jpeg_that_claims_to_be_smaller_is_partial():
    assert decode_image(source(claiming(made("JPEG"), 400, 160)), WANT).partial.startswith("damaged: ")


def test_a_progressive_jpeg_without_its_last_scans_is_partial():
    data = made("JPEG progressive")
    scans = [at for at in range(len(data)) if data[at : at + 2] == SCAN]
    assert len(scans) > 5 and decode_image(source(data), WANT).partial is None
    for scan in scans[1:]:
        assert decode_image(source(data[:scan] + jpeg.END), WANT).partial == "damaged: only a coarse picture"


def _half(colour):
    """A photo whose lower half is one colour."""
    photo = textured()
    photo.paste(Image.new("RGB", (400, 150), colour), (0, 150))
    return photo


WHOLE = {
    "black below": saved(_half("black"), "JPEG"),
    "grey below": saved(_half((128, 128, 128)), "JPEG"),
    "grey below, own codes": saved(_half((128, 128, 128)), "JPEG", optimize=True),
    "grey": saved(Image.new("RGB", (600, 400), (128, 128, 128)), "JPEG"),
    "flat, own codes": saved(Image.new("L", (4000, 3000), 77), "JPEG", optimize=True),
    "flat, own codes, colour": saved(Image.new("RGB", (4000, 3000), "blue"), "JPEG", optimize=True),
    "CMYK": saved(textured().convert("CMYK"), "JPEG"),
    "L": saved(textured().convert("L"), "JPEG"),
    "tiny": saved(Image.new("RGB", (1, 1), (128, 128, 128)), "JPEG"),
    "two in one": saved(textured(), "MPO", save_all=True, append_images=[textured()]),
    "another behind": made("JPEG") + saved(Image.new("RGB", (20, 20)), "JPEG"),
    "a film behind": made("JPEG") + bytes(4000),
    "a few bytes too many": made("JPEG")[:-2] + bytes(8) + jpeg.END,
}


@pytest.mark.parametrize("name", WHOLE)
def test_what_is_whole_is_not_called_damaged(name):
    assert decode_image(source(WHOLE[name]), WANT).partial is None


@pytest.mark.data
def test_real_photos(data_dir):
    """2,000 whole ones, and 200 of them cut and zeroed."""
    paths = sorted(data_dir.glob("flickr8k/**/*.jpg"))[::2] + sorted(data_dir.glob("coco/**/*.jpg"))
    photos = [path.read_bytes() for path in paths[:2000]]
    if len(photos) < 2000:
        pytest.skip("fewer than 2,000 photos")
    damaged = [i for i, photo in enumerate(photos) if decode_image(source(photo), WANT).partial]
    assert not damaged
    for break_ in (lambda data: cut(data, 0.3), lambda data: cut(data, 0.75), zeroed):
        told = [decode_image(source(break_(photo)), WANT).partial for photo in photos[::10]]
        assert sum(map(bool, told)) >= 0.95 * len(told)
