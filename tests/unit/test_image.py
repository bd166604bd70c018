"""Pictures made here, decoded through the public door: turning, colour modes, frames, what EXIF says."""

import io
import threading

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from mmsearch.errors import Unsupported
from mmsearch.media.decode import decode
from mmsearch.media.files import Source
from mmsearch.media.image import decode_image
from mmsearch.types import EncoderSpec, ImageInput, Modality

# Pillow warns about the broken metadata that these tests are about; the module silences that outside of pytest.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")

WANT = ImageInput(size=32, fit="squash")


def source(data):
    return Source(data, bytes(32), len(data), 0, 0)


def saved(image, format_="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return source(buffer.getvalue())


def scene(width=96, height=64):
    """A smooth picture whose four corners differ in colour, so that every turn shows."""
    corners = np.array([[[250, 20, 20], [20, 250, 20]], [[20, 20, 250], [240, 240, 30]]], np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR)


def difference(a, b):
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright(format_, orientation):
    upright = scene()
    to_stored = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse turn, as Image.Transpose
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(to_stored[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif = exif.tobytes()  # writing an AVIF takes the orientation out of an Exif object
    options = {"lossless": True} if format_ == "WEBP" else {"quality": 95} if format_ in ("JPEG", "AVIF") else {}
    for want in (WANT, ImageInput(size=32), ImageInput(size=32, fit="pad", fill=128)):
        picture = decode_image(saved(stored, format_, exif=exif, **options), want)
        expected = decode_image(saved(upright), want)
        assert difference(picture.pixels, expected.pixels) < (3 if format_ in ("JPEG", "AVIF") else 0.5)
        assert (picture.facts.width, picture.facts.height) == upright.size
        assert picture.partial is None


def test_a_large_turned_jpeg_is_cropped_on_the_right_side():
    # At reduced scale and off centre by half a pixel, a mistake in the turn moves the crop.
    upright = scene(1401, 900)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = saved(upright.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)
    want = ImageInput(size=64)
    assert difference(decode_image(turned, want).pixels, decode_image(saved(upright), want).pixels) < 1.5


GREY = np.linspace(0, 255, 64 * 64).reshape(64, 64)


def _grey_pictures():
    byte, wide = GREY.astype(np.uint8), (GREY * 257).astype(np.uint16)
    yield "L", saved(Image.fromarray(byte))
    yield "16-bit PNG", saved(Image.fromarray(wide))
    yield "16-bit TIFF", saved(Image.fromarray(wide), "TIFF")
    yield "16-bit big-endian TIFF", saved(Image.frombytes("I;16B", (64, 64), wide.astype(">u2").tobytes()), "TIFF")
    yield "32-bit TIFF", saved(Image.fromarray(wide.astype(np.int32)), "TIFF")
    yield "float TIFF, 0 to 1", saved(Image.fromarray((GREY / 255).astype(np.float32)), "TIFF")
    yield "float TIFF, -1 to 1", saved(Image.fromarray((GREY / 127.5 - 1).astype(np.float32)), "TIFF")
    yield "float TIFF, 0 to 255", saved(Image.fromarray(GREY.astype(np.float32)), "TIFF")
    yield "LA", saved(Image.merge("LA", (Image.fromarray(byte), Image.new("L", (64, 64), 255))))
    yield "RGB", saved(Image.fromarray(byte).convert("RGB"))
    yield "palette", saved(Image.fromarray(byte).convert("P"))
    yield "palette GIF", saved(Image.fromarray(byte).convert("P"), "GIF")
    yield "BMP", saved(Image.fromarray(byte), "BMP")
    yield "JPEG", saved(Image.fromarray(byte), "JPEG", quality=97)
    yield (
        "JPEG, CMYK as Adobe writes it",
        saved(Image.fromarray(byte).convert("RGB").convert("CMYK"), "JPEG", quality=97),
    )
    yield "TIFF, CMYK", saved(Image.fromarray(byte).convert("RGB").convert("CMYK"), "TIFF")
    yield "TIFF, LAB", saved(Image.merge("LAB", (Image.fromarray(byte), *[Image.new("L", (64, 64), 128)] * 2)), "TIFF")


GREYS = dict(_grey_pictures())


@pytest.mark.parametrize("name", GREYS)
def test_a_grey_ramp_looks_the_same_in_every_mode(name):
    expected = np.repeat(GREY.reshape(32, 2, 32, 2).mean(axis=(1, 3))[..., None], 3, axis=2)
    pixels = decode_image(GREYS[name], WANT).pixels
    assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3) and pixels.flags.writeable
    assert difference(pixels, expected) < (8 if "LAB" in name else 1.5)  # L* is lightness, not a linear ramp


def test_colours_survive_cmyk_and_palette():
    for picture in (
        saved(scene().convert("CMYK"), "JPEG", quality=97),
        saved(scene().convert("P", palette=Image.Palette.ADAPTIVE, colors=256)),
    ):
        assert difference(decode_image(picture, WANT).pixels, decode_image(saved(scene()), WANT).pixels) < 4


def test_one_bit_pictures_are_resampled_as_grey():
    checkers = Image.fromarray(((np.indices((64, 64)).sum(0) % 2) * 255).astype(np.uint8)).convert("1")
    for format_ in ("PNG", "BMP", "TIFF"):
        pixels = decode_image(saved(checkers, format_), WANT).pixels
        assert abs(pixels.mean() - 127.5) < 2 and pixels.std() < 20


def test_values_that_are_not_numbers_do_not_spoil_the_rest():
    values = (GREY / 255).astype(np.float32)
    values[0, 0], values[0, 1], values[0, 2] = np.nan, np.inf, -np.inf
    pixels = decode_image(saved(Image.fromarray(values), "TIFF"), WANT).pixels
    assert difference(pixels[1:], decode_image(saved(Image.fromarray(GREY.astype(np.uint8))), WANT).pixels[1:]) < 1.5


def _transparent_pictures():
    hidden = Image.new("RGB", (64, 64), (0, 0, 0))
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    rgba = hidden.copy()
    rgba.putalpha(mask)
    yield "RGBA PNG", saved(rgba)
    yield "RGBA WebP", saved(rgba, "WEBP", lossless=True, exact=True)
    yield "RGBA TIFF", saved(rgba, "TIFF")
    yield "LA", saved(Image.merge("LA", (Image.new("L", (64, 64), 0), mask)))
    palette = Image.fromarray(np.asarray(mask) // 255).convert("P")
    palette.putpalette([9, 9, 9, 0, 0, 0])
    yield "palette PNG", saved(palette, transparency=0)
    yield "palette GIF", saved(palette, "GIF", transparency=0)
    yield "palette with alpha bytes", saved(palette, transparency=bytes([0, 255]))
    keyed = Image.fromarray(np.where(np.asarray(mask)[..., None] > 0, 0, 7).astype(np.uint8).repeat(3, axis=2))
    yield "RGB with a transparent colour", saved(keyed, transparency=(7, 7, 7))


TRANSPARENT = dict(_transparent_pictures())


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_lies_on_white(name):
    pixels = decode_image(TRANSPARENT[name], WANT).pixels
    assert pixels[:, :14].max() == 0
    assert pixels[:, 18:].min() == 255


def test_the_first_frame_counts():
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "lime", "blue")]
    for format_ in ("GIF", "WEBP", "PNG", "TIFF", "AVIF"):
        animation = saved(frames[0], format_, save_all=True, append_images=frames[1:])
        red, green, blue = decode_image(animation, WANT).pixels.reshape(-1, 3).mean(axis=0)
        assert red > 240 and green < 15 and blue < 15, format_


def _exif(**tags):
    exif = Image.Exif()
    for name, value in tags.items():
        if name == "gps":
            exif.get_ifd(0x8825).update(value)
            exif[0x8825] = 0  # TIFF is written with the sub-directories that are named here
        elif name == "detail":
            exif.get_ifd(0x8769).update(value)
            exif[0x8769] = 0
        else:
            exif[{"make": 0x010F, "model": 0x0110, "date": 0x0132}[name]] = value
    return exif


def _facts(exif, format_="JPEG"):
    return decode_image(saved(scene(), format_, exif=exif), WANT).facts


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_facts(format_):
    rational = TiffImagePlugin.IFDRational
    facts = _facts(
        _exif(
            make="Canon",
            model="Canon EOS 5D",
            detail={0x9003: "2021:07:04 18:30:05", 0x9291: "123", 0x9011: "+02:00"},
            gps={1: "S", 2: (rational(33), rational(51), rational(3546, 100)), 3: "E", 4: (151.0, 12.0, 40.0)},
        ),
        format_,
    )
    assert facts.taken == "2021-07-04T18:30:05"
    assert facts.camera == "Canon EOS 5D"
    assert facts.lat == pytest.approx(-33.8598500, abs=1e-6)
    assert facts.lon == pytest.approx(151.2111111, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "model", "camera"),
    [
        ("NIKON CORPORATION", "NIKON D90", "NIKON D90"),
        ("Apple", "iPhone 12", "Apple iPhone 12"),
        ("SONY\0\0", "  DSC-RX100\n ", "SONY DSC-RX100"),
        ("Leica", None, "Leica"),
        (None, "X100", "X100"),
        (None, None, None),
    ],
)
def test_the_camera_is_named_once(make, model, camera):
    tags = {key: value for key, value in (("make", make), ("model", model)) if value}
    assert _facts(_exif(**tags)).camera == camera


@pytest.mark.parametrize(
    "taken", ["0000:00:00 00:00:00", "2021:13:04 18:30:05", "yesterday", "", "    :  :     :  :  ", "9" * 10_000]
)
def test_a_date_that_is_none_is_no_date(taken):
    assert _facts(_exif(detail={0x9003: taken})).taken is None


def test_the_date_of_editing_is_not_the_date_of_taking():
    assert _facts(_exif(date="2021:07:04 18:30:05")).taken is None


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)},
        {1: "N", 2: (10.0, 0.0, 0.0), 3: "E", 4: (181.0, 0.0, 0.0)},
        {1: "N", 2: (TiffImagePlugin.IFDRational(1, 0), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (10.0, 0.0, 0.0)},
    ],
)
def test_a_place_that_is_none_is_no_place(gps):
    facts = _facts(_exif(gps=gps))
    assert (facts.lat, facts.lon) == (None, None)


def test_random_exif_never_fails_the_picture():
    random = np.random.default_rng(7)
    real = _exif(make="Canon", detail={0x9003: "2021:07:04 18:30:05"}, gps={1: "N", 2: (1.0, 2.0, 3.0)}).tobytes()
    expected = decode_image(saved(scene(), "JPEG"), WANT).pixels
    for _ in range(300):
        noise = bytearray(real)
        for position in random.integers(6, len(noise), 6):
            noise[position] = random.integers(256)
        picture = decode_image(saved(scene(), "JPEG", exif=bytes(noise)), ImageInput(size=32, fit="squash"))
        assert picture.partial is None
        # A flipped byte may make a valid turn; the colours are there all the same.
        assert abs(float(picture.pixels.mean()) - float(expected.mean())) < 1


def test_the_extension_plays_no_role_and_the_encoder_decides():
    spec = EncoderSpec(
        name="words", space="s", dim=4, modalities=frozenset({Modality.TEXT}), licence="none", image=None
    )
    with pytest.raises(Unsupported, match=r"^words takes no image files$"):
        decode(saved(scene()), spec)
    both = EncoderSpec(
        name="both", space="s", dim=4, modalities=frozenset({Modality.IMAGE}), licence="none", image=WANT
    )
    decoded = decode(saved(scene(), "WEBP"), both)
    assert decoded.modality is Modality.IMAGE and decoded.partial is None
    assert [piece.span for piece in decoded.pieces] == [None]
    assert decoded.pieces[0].content.shape == (32, 32, 3)


def test_heic_without_its_extra_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pi_heif", None)
    with pytest.raises(Unsupported, match=r"mmsearch\[heic\]"):
        decode_image(source(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)), WANT)


def test_threads_do_not_disturb_one_another():
    pictures = [saved(scene(300 + i, 200), "JPEG", quality=90) for i in range(8)]
    expected = [decode_image(picture, WANT).pixels for picture in pictures]
    wrong = []

    def work(start):
        for i in range(40):
            k = (start + i) % len(pictures)
            if not np.array_equal(decode_image(pictures[k], WANT).pixels, expected[k]):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
