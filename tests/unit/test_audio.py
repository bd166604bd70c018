"""Sounds through the one door: windows with their seconds, whatever the format, the rate and the damage."""

import io

import numpy as np
import pytest

from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import Rejected
from mmsearch.media.decode import decode
from mmsearch.media.files import Source, read
from mmsearch.types import EncoderSpec, Modality

soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")
pytest.importorskip("soxr", reason="the extra [audio] is not installed")

SPEC = EncoderSpec(
    name="ear",
    space="ear",
    dim=8,
    modalities=frozenset({Modality.AUDIO}),
    licence="none",
    audio_rate=16_000,
    audio_window=5,
)


def tone(seconds, rate=16_000, hertz=440.0, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1).astype(np.float32)


def written(samples, rate=16_000, format_="WAV", subtype=None):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=format_, subtype=subtype)
    return buffer.getvalue()


def decoded(data, spec=SPEC):
    return decode(Source(data, bytes(32), len(data), 0, 0), spec)


def spans(result):
    return [(piece.span.start, piece.span.end) for piece in result.pieces]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.3, [(0, 0.3)]),
        (5, [(0, 5)]),
        (6, [(0, 6)]),
        (6.5, [(0, 5), (4, 6.5)]),
        (13, [(0, 5), (4, 9), (8, 13)]),
        (14.001, [(0, 5), (4, 9), (8, 13), (12, 14.001)]),
    ],
)
def test_windows_overlap_and_keep_the_tail(seconds, expected):
    result = decoded(written(tone(seconds)))
    assert spans(result) == expected
    assert result.facts.duration_s == seconds and result.partial is None and result.modality is Modality.AUDIO


def test_the_windows_hold_all_samples_in_place():
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16_000 * 23).astype(np.float32)
    result = decoded(written(noise, subtype="FLOAT"))
    for piece in result.pieces:
        start, end = round(piece.span.start * 16_000), round(piece.span.end * 16_000)
        assert np.array_equal(piece.content, noise[start:end])
    assert end == len(noise)


@pytest.mark.parametrize(
    ("format_", "subtype", "rate"),
    [
        ("WAV", "PCM_U8", 8_000),
        ("WAV", "PCM_24", 44_100),
        ("FLAC", "PCM_16", 96_000),
        ("AIFF", "PCM_16", 22_050),
        ("AU", "PCM_16", 11_025),
        ("OGG", "VORBIS", 44_100),
        ("OGG", "OPUS", 48_000),
        ("MP3", "MPEG_LAYER_III", 44_100),
    ],
)
def test_every_format_and_rate_gives_the_same_tone(format_, subtype, rate):
    result = decoded(written(tone(3, rate, 440, channels=2), rate, format_, subtype))
    (piece,) = result.pieces
    assert piece.content.dtype == np.float32 and abs(len(piece.content) - 48_000) < 1_000
    spectrum = np.abs(np.fft.rfft(piece.content[8_000:40_000]))
    assert abs(np.argmax(spectrum) * 16_000 / 32_000 - 440) <= 1
    assert 0.4 < np.abs(piece.content[8_000:40_000]).max() < 0.6


def test_two_decodings_are_equal_to_the_bit():
    data = written(tone(20, 44_100, 700), 44_100, "OGG", "VORBIS")
    first, second = decoded(data), decoded(data)
    assert [a.content.tobytes() for a in first.pieces] == [b.content.tobytes() for b in second.pieces]


def test_a_file_on_disk_and_its_bytes_give_the_same(tmp_path):
    data = written(tone(11, 44_100), 44_100, "FLAC")
    path = tmp_path / "tone"  # named by its content
    path.write_bytes(data)
    streamed = decode(read(bytes(path)), SPEC)
    assert [a.content.tobytes() for a in streamed.pieces] == [b.content.tobytes() for b in decoded(data).pieces]


@pytest.mark.parametrize("format_", ["WAV", "AIFF", "AU", "FLAC", "OGG"])
def test_a_sound_that_breaks_off_is_partial(format_):
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 16_000 * 20).astype(np.float32)
    data = written(noise, format_=format_)
    result = decoded(data[: len(data) // 2])
    assert result.partial and 5 < result.facts.duration_s < 15


def test_a_length_that_the_header_does_not_know_is_no_damage():
    data = bytearray(written(tone(2)))
    for place in (4, 40):  # what a program that writes into a pipe leaves
        data[place : place + 4] = b"\xff\xff\xff\xff"
    assert decoded(bytes(data)).partial is None


def test_samples_that_are_no_numbers_become_silence():
    samples = tone(2)
    samples[100:200] = np.nan
    samples[300] = np.inf
    samples[400] = 1e30
    (piece,) = decoded(written(samples, subtype="FLOAT")).pieces
    assert np.isfinite(piece.content).all() and np.abs(piece.content).max() == 1
    assert not piece.content[100:200].any()


def test_a_sound_without_samples_is_rejected():
    with pytest.raises(Rejected, match="holds no sound"):
        decoded(written(np.zeros((0, 1), np.float32)))


def test_headers_that_promise_nonsense_are_rejected():
    data = bytearray(written(tone(1)))
    data[24:28] = (2_000_000_000).to_bytes(4, "little")
    with pytest.raises(Rejected, match="2000000000 samples a second"):
        decoded(bytes(data))


def test_what_is_longer_than_the_limit_is_cut_and_said(monkeypatch):
    monkeypatch.setattr("mmsearch.media.audio.MAX_SECONDS", 7)
    result = decoded(written(tone(30)))
    assert result.partial and "rest is left out" in result.partial
    assert 7 <= result.facts.duration_s < 10 and result.pieces[-1].span.end == result.facts.duration_s


def test_a_fake_ear_hears_high_from_low():
    fake = FakeEncoder()
    low, high = (decoded(written(tone(2, hertz=h)), fake.spec).pieces[0].content for h in (100, 6000))
    question = fake.encode(["high"], Modality.TEXT)[0]
    vectors = fake.encode([low, high], Modality.AUDIO)
    assert vectors[1] @ question > vectors[0] @ question


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_a_sound_of_no_numbers_at_all_is_rejected(subtype):
    """It was indexed as silence."""
    with pytest.raises(Rejected, match="no numbers"):
        decoded(written(np.full((8000, 1), np.nan, np.float32), subtype=subtype))
