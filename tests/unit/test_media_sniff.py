"""Kinds are told by content: made files where Pillow can write them, the specifications' magic elsewhere."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mmsearch.media.sniff  # noqa: F401
from mmsearch import media
from mmsearch.errors import Rejected, Unsupported
from mmsearch.media.sniff import (
    AUDIO_FORMATS,
    DOCUMENT_FORMATS,
    HEAD,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
    require_indexable,
    sniff,
)
from mmsearch.types import EncoderSpec, Modality


def _saved(format_, **options):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, format_, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("format_", "options"),
    [
        *((name, {}) for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")),
        ("WEBP", {"lossless": True}),
        ("TIFF", {"big_tiff": True}),
    ],
)
def test_what_pillow_writes_is_recognised(format_, options):
    kind = sniff(_saved(format_, **options))
    assert (kind.modality, kind.format) == (Modality.IMAGE, format_)
    assert kind.format in IMAGE_FORMATS


MAGIC = [
    (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image", "HEIC"),
    (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image", "HEIC"),
    (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "image", "AVIF"),
    (b"II*\0\x10\0\0\0CR\x02\0", "image", "CR2"),
    (b"8BPS\0\1", "image", "PSD"),
    (b"%!PS-Adobe-3.0 EPSF-3.0", "image", "EPS"),
    (b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg xmlns="http://www.w3.org/2000/svg">', "image", "SVG"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image", "JPEG 2000"),
    (b"\0\0\0\x1cftypisom\0\0\2\0", "video", "MP4"),
    (b"\0\0\0\x14ftypqt  ", "video", "MP4"),
    (b"\0\0\0\x20ftypM4A ", "audio", "M4A"),
    (b"\x1aE\xdf\xa3\x9fB\x86", "video", "Matroska"),
    (b"RIFF\0\0\0\0AVI LIST", "video", "AVI"),
    (b"RIFF\0\0\0\0WAVEfmt ", "audio", "WAV"),
    (b"ID3\4\0", "audio", "MP3"),
    (b"\xff\xfb\x90\x64" + bytes(100), "audio", "MP3"),
    (b"\xff\xf1\x50\x80", "audio", "AAC"),
    (b"fLaC\0\0\0\x22", "audio", "FLAC"),
    (b"OggS" + bytes(24) + b"\1vorbis", "audio", "Ogg"),
    (b"OggS" + bytes(24) + b"\x80theora", "video", "Ogg"),
    (b"FORM\0\0\0\0AIFF", "audio", "AIFF"),
    (b"junk before %PDF-1.7", "text", "PDF"),
    (b"%PDF-1.4", "text", "PDF"),
    ("一只猫坐在沙发上".encode(), "text", "text"),
    ("\ufeffwords".encode("utf-16-le"), "text", "text"),
    (b"BM is how this sentence begins, not a picture", "text", "text"),
]


@pytest.mark.parametrize(("head", "modality", "format_"), MAGIC, ids=[f"{m}-{f}" for _, m, f in MAGIC])
def test_known_kinds_are_named(head, modality, format_, monkeypatch):
    monkeypatch.setattr(media.sniff, "_installed", lambda package: True)
    kind = sniff(head)
    assert (kind.modality, kind.format) == (modality, format_)
    if kind.format in IMAGE_FORMATS | AUDIO_FORMATS | VIDEO_FORMATS | DOCUMENT_FORMATS:
        assert require_indexable(head, len(head)) == kind
    else:
        with pytest.raises(Unsupported, match=format_):
            require_indexable(head, len(head))


def test_unknown_and_empty_content():
    assert sniff(b"\x01\x02\x03\x04") is None
    with pytest.raises(Unsupported, match=r"^not a known kind of file$"):
        require_indexable(b"\x01\x02\x03\x04", 4)
    with pytest.raises(Rejected, match=r"^empty file$"):
        require_indexable(b"", 0)


def test_text_may_be_cut_within_a_character():
    text = "é".encode() * HEAD
    assert sniff(b"x" + text[: HEAD - 1]).format == "text"
    assert sniff(b"x" * 10 + b"\xc3") is None


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(head):
    kind = sniff(head)
    assert kind is None or kind.format


@pytest.mark.parametrize(
    ("head", "extra"),
    [(b"RIFF\0\0\0\0WAVEfmt ", "audio"), (b"\0\0\0\x20ftypM4A ", "video"), (b"\x1aE\xdf\xa3", "video")],
)
def test_a_decoder_that_is_not_installed_is_named_by_its_extra(head, extra, monkeypatch):
    monkeypatch.setattr(media.sniff, "_installed", lambda package: False)
    with pytest.raises(Unsupported, match=rf'pip install "mmsearch\[{extra}\]"$'):
        require_indexable(head, len(head))


def test_what_the_encoder_does_not_take_is_named():
    spec = EncoderSpec(name="eyes", space="s", dim=8, modalities=frozenset({Modality.IMAGE}), licence="none")
    with pytest.raises(Unsupported, match=r"^eyes takes no audio files$"):
        require_indexable(b"fLaC\0\0\0\x22", 100, spec)
