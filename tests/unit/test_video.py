"""Videos through the one door: pictures with their seconds, and the sound track as sound."""

import errno
import io
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import Rejected, Transient
from mmsearch.media.decode import decode
from mmsearch.media.files import Source
from mmsearch.types import Detail, Modality

av = pytest.importorskip("av", reason="the extra [video] is not installed")
pytest.importorskip("soxr", reason="the extra [audio] is not installed")

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
SPEC = replace(FakeEncoder().spec, audio_window=3)


def film(colours=(), sound_s=0.0, format_="mp4", codec="mpeg4", gop=12, size=(64, 48), each_s=3):
    """A film that shows each colour for a while, over a tone."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=format_) as container:
        if colours:
            pictures = container.add_stream(codec, rate=10, width=size[0], height=size[1], pix_fmt="yuv420p")
            pictures.codec_context.gop_size = gop
        if sound_s:
            sound = container.add_stream("aac", rate=44_100, layout="stereo")
        for colour in colours:
            pixels = np.full((size[1], size[0], 3), COLOURS[colour], np.uint8)
            for _ in range(10 * each_s):
                container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        if colours:
            container.mux(pictures.encode(None))
        if sound_s:
            wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(sound_s * 44_100)) / 44_100)
            for start in range(0, len(wave), 1024):
                block = np.repeat(wave[None, start : start + 1024], 2, axis=0).astype(np.float32)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = 44_100, start
                container.mux(sound.encode(frame))
            container.mux(sound.encode(None))
    return buffer.getvalue()


def decoded(data, spec=SPEC):
    return decode(Source(data, bytes(32), len(data), 0, 0), spec)


def colour_of(pixels):
    return list(COLOURS)[int(pixels.reshape(-1, 3).mean(axis=0).argmax())]


@pytest.mark.parametrize("gop", [5, 100], ids=["keyframes are near", "keyframes are far"])
def test_a_picture_for_as_long_as_nothing_moves(gop):
    result = decoded(film(["red", "green", "blue"], gop=gop))
    assert [colour_of(piece.content) for piece in result.pieces] == ["red", "green", "blue"]
    spans = [(piece.span.start, piece.span.end) for piece in result.pieces]
    assert spans[0][0] == 0 and [end for _, end in spans[:-1]] == [start for start, _ in spans[1:]]
    assert np.allclose([start for start, _ in spans], [0, 3, 6], atol=1.01)
    assert abs(spans[-1][1] - 9) < 0.3
    assert {piece.modality for piece in result.pieces} == {Modality.IMAGE}
    assert result.modality is Modality.VIDEO and result.partial is None
    assert (result.facts.width, result.facts.height) == (64, 48) and abs(result.facts.duration_s - 9) < 0.2


@pytest.mark.parametrize(
    ("format_", "codec"),
    [("mp4", "mpeg4"), ("mp4", "libx264"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mpegts", "libx264")],
)
def test_containers(format_, codec):
    result = decoded(film(["red", "blue"], 2, format_, codec))
    shown = [colour_of(piece.content) for piece in result.pieces if piece.modality is Modality.IMAGE]
    assert shown == ["red", "blue"] and result.pieces[-1].modality is Modality.AUDIO


def test_the_sound_track_is_sound():
    result = decoded(film(["red"], 7))
    heard = [piece for piece in result.pieces if piece.modality is Modality.AUDIO]
    assert [round(piece.span.start) for piece in heard] == [0, 2, 4]
    assert {piece.detail for piece in heard} == {Detail(Modality.AUDIO)}
    spectrum = np.abs(np.fft.rfft(heard[0].content[:32_000]))
    assert abs(np.argmax(spectrum) / 2 - 440) < 1
    deaf = decoded(film(["red"], 7), replace(SPEC, modalities=frozenset({Modality.IMAGE})))
    assert {piece.modality for piece in deaf.pieces} == {Modality.IMAGE}


@pytest.mark.parametrize("format_", ["mp4", "adts", "matroska"])
def test_a_container_of_sound_alone_is_a_sound(format_):
    result = decoded(film(sound_s=4, format_=format_))
    assert result.modality is Modality.AUDIO and 3.8 < result.facts.duration_s < 4.3
    assert {piece.detail for piece in result.pieces} == {Detail()}


def test_a_film_that_breaks_off_is_partial():
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=10, width=64, height=64, pix_fmt="yuv420p")
        for _ in range(100):
            pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    data = buffer.getvalue()
    result = decoded(data[: len(data) // 2])
    assert 3 <= len(result.pieces) <= 8 and result.partial


def test_what_is_broken_is_rejected():
    data = film(["red"])
    for broken in (data[:200], data[:40] + bytes(len(data) - 40)):
        with pytest.raises(Rejected):
            decoded(broken)


def test_memory_does_not_grow_with_the_film():
    """Pieces come one at a time: the second is not decoded before it is asked for."""
    from mmsearch.media.decode import pieces

    data = film(["red", "green"] * 5, 20)
    stream = pieces(Source(data, bytes(32), len(data), 0, 0), SPEC)
    assert colour_of(next(stream).content) == "red"
    stream.close()


def test_a_broken_matroska_is_no_passing_failure():
    """FFmpeg calls it an input/output error, which of a disk may pass."""
    data = film(["red"], each_s=1, format_="matroska")
    said = []
    for length in range(40, 700, 11):
        try:
            decode(Source(data[:length], bytes(32), length, 0, 0), SPEC)
        except Rejected as error:
            said.append(getattr(error.__cause__, "errno", None))
    assert errno.EIO in said


def test_a_disk_that_fails_is_one(tmp_path, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() > 1000:
                raise OSError(errno.EIO, "input/output error")
            return super().read(min(size, 500))

    data = film(["red"], 2.0, format_="matroska")

    @contextmanager
    def opened(self):
        yield Failing(data)

    monkeypatch.setattr(Source, "opened", opened)
    with pytest.raises(Transient, match="input/output error"):
        decode(Source(data, bytes(32), len(data), 0, 0), SPEC)
