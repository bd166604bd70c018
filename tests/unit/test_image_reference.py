"""The lean decode against open_clip's own preprocessing, on pictures made here."""

import functools
import io

import numpy as np
import pytest
from PIL import Image

from mmsearch.media.files import Source
from mmsearch.media.fit import fit
from mmsearch.media.image import decode_image
from mmsearch.types import ImageInput

RESIZE_MODE = {"crop": "shortest", "squash": "squash", "pad": "longest"}


@pytest.fixture(scope="module")
def image_transform():
    pytest.importorskip("torchvision", reason="torchvision is not installed: no reference to compare with")
    transform = pytest.importorskip("open_clip.transform", reason="open_clip is not installed")
    return transform.image_transform


def photo(width, height):
    """Soft shapes with sensor noise, at full size."""
    random = np.random.default_rng(0)
    coarse = random.integers(0, 256, (max(2, height // 40), max(2, width // 40), 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    noise = random.normal(0, 8, (height, width, 1)).astype(np.int16)
    return Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))


@functools.cache
def jpeg(size):
    return saved(photo(*size), quality=90)


def saved(image, format_="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return Source(buffer.getvalue(), bytes(32), buffer.tell(), 0, 0)


def mean_error(image_transform, source, want):
    transform = image_transform(
        want.size,
        is_train=False,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        resize_mode=RESIZE_MODE[want.fit],
        interpolation=want.resample,
        fill_color=want.fill,
    )
    expected = transform(Image.open(io.BytesIO(source.content()))).permute(1, 2, 0).numpy() * 255
    return float(np.abs(decode_image(source, want).pixels - expected).mean())


SMALL = [(500, 375), (375, 500), (333, 500), (640, 427), (224, 224), (225, 224), (100, 60), (31, 77), (1100, 300)]


@pytest.mark.parametrize("resample", ["bicubic", "bilinear"])
@pytest.mark.parametrize("fit_", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", SMALL, ids=[f"{w}x{h}" for w, h in SMALL])
def test_small_pictures_match(image_transform, size, fit_, resample):
    want = ImageInput(size=224, fit=fit_, resample=resample, fill=77)
    for source in (jpeg(size), saved(photo(*size).convert("L"), "PNG")):
        assert mean_error(image_transform, source, want) <= 0.01  # the issue is rounding: nearly all are 0


LARGE = [(4000, 3000), (3000, 4001), (3464, 3465)]


@pytest.mark.parametrize("fit_", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", LARGE, ids=[f"{w}x{h}" for w, h in LARGE])
def test_twelve_megapixel_jpegs_match_within_a_quarter_of_a_grey_level(image_transform, size, fit_):
    assert mean_error(image_transform, jpeg(size), ImageInput(size=224, fit=fit_)) <= 0.25


def test_other_large_pictures_match(image_transform):
    assert mean_error(image_transform, saved(photo(4000, 3000), "PNG", compress_level=1), ImageInput(size=224)) <= 0.25
    bilinear = ImageInput(size=224, resample="bilinear")
    assert mean_error(image_transform, jpeg((4000, 3000)), bilinear) <= 0.3


def test_a_centred_square_would_not_match(image_transform):
    """The null control: what the mapped box is for. Half a pixel of the reference's grid shows at once."""
    source = saved(photo(500, 375), "PNG")
    want = ImageInput(size=224)
    side = Image.open(io.BytesIO(source.content())).crop((62, 0, 437, 375)).resize((224, 224), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(side).astype(int) - decode_image(source, want).pixels).mean() > 0.5


def test_the_box_of_extreme_shapes_costs_nothing():
    want = ImageInput(size=224)
    assert fit(60_000, 1, want).box[2] - fit(60_000, 1, want).box[0] == pytest.approx(1, abs=1e-6)
    assert fit(1, 60_000, ImageInput(size=224, fit="pad"))[:2] == (1, 224)
    for size in ((20_000, 2), (3, 20_000)):
        for fit_ in ("crop", "squash", "pad"):
            picture = decode_image(saved(Image.new("RGB", size, "red"), "PNG"), ImageInput(size=64, fit=fit_))
            assert picture.pixels.shape == (64, 64, 3)
