"""What a query does with its hits beside listing them: a page, copies, links, clips."""

from __future__ import annotations

import json
import os
import re
from html import unescape

import numpy as np
import pytest
from PIL import Image

from tests.e2e.test_cli import COLOURS, indexed, lines, mmsearch, photos  # noqa: F401

HOSTILE = b'"><img src=x onerror=alert(1)>&amp;\n\xff.png'


@pytest.fixture
def sound(photos):  # noqa: F811
    """Ten seconds of a rising tone, 16-bit stereo."""
    soundfile = pytest.importorskip("soundfile", reason='no soundfile: pip install "mmsearch[audio]"')
    time = np.arange(80_000) / 8000
    wave = (0.5 * np.sin(2 * np.pi * (200 + 50 * time) * time)).astype(np.float32)
    soundfile.write(photos / "tone.wav", np.stack([wave, -wave], 1), 8000)
    return photos / "tone.wav"


@pytest.fixture
def film(photos):  # noqa: F811
    """Eight seconds, each another grey; a keyframe every two seconds."""
    av = pytest.importorskip("av", reason='no PyAV: pip install "mmsearch[video]"')
    with av.open(str(photos / "film.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10, width=64, height=48, pix_fmt="yuv420p")
        stream.codec_context.gop_size = 20
        for i in range(80):
            pixels = np.full((48, 64, 3), 25 + 25 * (i // 10), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        out.mux(stream.encode(None))
    return photos / "film.mp4"


def test_the_page_carries_its_pictures(indexed, photos, tmp_path):  # noqa: F811
    result = indexed("query", "red", "--html", tmp_path / "out.html")
    assert result.returncode == 0 and len(lines(result)) == 3
    page = (tmp_path / "out.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 3 and "<h1>red</h1>" in page
    assert f'href="file://{photos}/red.png"' in page
    assert not re.search(r"src=\"(?!data:)", page)


def test_hostile_names_break_no_page(indexed, photos, tmp_path):  # noqa: F811
    Image.new("RGB", (40, 30), COLOURS["red"]).save(os.fsencode(photos) + b"/" + HOSTILE, "PNG")
    indexed("index", photos)
    indexed("query", "red <script>alert(2)</script>", "--dense", "--html", tmp_path / "out.html")
    page = (tmp_path / "out.html").read_text()
    assert "<script>alert" not in page and "<img src=x" not in page
    assert r'"><img src=x onerror=alert(1)>&amp;' in unescape(page) and r"\xff.png" in page


def test_a_page_says_what_it_could_not_show(indexed, photos, tmp_path):  # noqa: F811
    (photos / "red.png").unlink()
    (photos / "blue.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    os.unlink(photos / "green.png")
    os.mkfifo(photos / "green.png")
    assert indexed("query", "red", "--html", tmp_path / "out.html").returncode == 0
    page = (tmp_path / "out.html").read_text()
    assert page.count('class="look why"') == 3 and "No such file" in page


def test_nothing_found_is_a_page_too(indexed, tmp_path):  # noqa: F811
    assert indexed("query", "red", "--in", "/elsewhere", "--html", tmp_path / "out.html").returncode == 1
    assert "nothing found" in (tmp_path / "out.html").read_text()


def test_a_page_never_replaces_a_photo(indexed, photos):  # noqa: F811
    before = (photos / "red.png").read_bytes()
    result = indexed("query", "red", "--html", photos / "red.png")
    assert result.returncode == 2 and (photos / "red.png").read_bytes() == before


def test_sounds_and_frames_are_in_the_page(indexed, photos, sound, film, tmp_path):  # noqa: F811
    indexed("index", photos)
    indexed("query", "red", "--html", tmp_path / "out.html", "--group-by", "modality")
    page = (tmp_path / "out.html").read_text()
    assert re.search(r'<audio controls preload="metadata" src="data:audio/wav;base64,[^"#]+#t=\d', page)
    assert re.search(r'href="file://[^"]+film.mp4#t=(\d+),\d+"[^>]*><img src="data:image/jpeg[^>]+><b>0:0\1</b>', page)
    assert page.count("<h2>") == 3


def test_copies_keep_names_and_overwrite_nothing(indexed, photos, tmp_path):  # noqa: F811
    (photos / "more").mkdir()
    Image.new("RGB", (40, 30), (200, 0, 0)).save(photos / "more" / "red.png")
    indexed("index", photos)
    there = tmp_path / "there"
    there.mkdir()
    (there / "blue.png").write_text("mine")
    first = indexed("query", "red", "--copy-to", there)
    assert first.returncode == 0 and b"4 files copied" in first.stderr
    assert (there / "blue.png").read_text() == "mine"
    assert sorted(os.listdir(there)) == ["blue (2).png", "blue.png", "green.png", "red (2).png", "red.png"]
    same = {(photos / "red.png").read_bytes(), (photos / "more" / "red.png").read_bytes()}
    assert {(there / name).read_bytes() for name in ("red.png", "red (2).png")} == same
    again = indexed("query", "red", "--copy-to", there)
    assert b"0 files copied" in again.stderr and b"4 were there" in again.stderr
    assert len(os.listdir(there)) == 5


def test_links_and_ranks(indexed, photos, tmp_path):  # noqa: F811
    indexed("query", "red", "--link-to", tmp_path / "a" / "b", "--rank-prefix")
    assert os.readlink(tmp_path / "a" / "b" / "1_red.png") == str(photos / "red.png")
    assert len(os.listdir(tmp_path / "a" / "b")) == 3
    assert indexed("query", "red", "--rank-prefix").returncode == 2


def test_a_file_that_is_gone_is_named_and_exits_with_3(indexed, photos, tmp_path):  # noqa: F811
    (photos / "red.png").unlink()
    result = indexed("query", "red", "--copy-to", tmp_path / "there")
    assert result.returncode == 3 and b"red.png: no such file" in result.stderr
    assert sorted(os.listdir(tmp_path / "there")) == ["blue.png", "green.png"]
    assert indexed("query", "red", "--copy-to", photos / "blue.png").returncode == 2


def test_a_clip_of_a_wav_is_its_samples(indexed, photos, sound, tmp_path):  # noqa: F811
    import soundfile

    from mmsearch import Library

    indexed("index", photos)
    result = indexed("query", "red", "--modality", "audio", "--clip-to", tmp_path / "clips")
    assert result.returncode == 0, result.stderr
    (hit,) = Library(str(tmp_path / "library")).search("red", modalities=["audio"])
    (name,) = os.listdir(tmp_path / "clips")
    assert name == f"tone_0m{hit.span.start:04.1f}s-0m{hit.span.end:04.1f}s.wav"
    whole, rate = soundfile.read(sound, dtype="int16")
    clip, _ = soundfile.read(tmp_path / "clips" / name, dtype="int16")
    assert np.array_equal(clip, whole[round(hit.span.start * rate) : round(hit.span.end * rate)])


def test_a_clip_of_a_film_holds_its_span(indexed, photos, film, tmp_path):  # noqa: F811
    import av

    from mmsearch import Library

    indexed("index", photos)
    assert b"3 have no span" in indexed("query", "red", "--clip-to", tmp_path / "clips").stderr
    hit = next(hit for hit in Library(str(tmp_path / "library")).search("red") if hit.path.endswith(b"mp4"))
    (name,) = os.listdir(tmp_path / "clips")
    with av.open(str(tmp_path / "clips" / name)) as clip:
        greys = {round(float(frame.to_ndarray(format="gray").mean()) / 25) for frame in clip.decode(video=0)}
    second = int(hit.span.start)
    # From the keyframe before, one every two seconds, to the span's end.
    assert second + 1 in greys and greys <= {second, second + 1, second + 2}


def test_every_moment_is_shown_and_cut(indexed, photos, film, tmp_path):  # noqa: F811
    indexed("index", photos)
    asked = ("query", "red", "--modality", "video", "--moments", "3")
    (hit,) = json.loads(indexed(*asked, "--json").stdout)["hits"]
    spans = [moment["span"] for moment in hit["moments"]]
    assert len(spans) == 3 and spans[0] == hit["span"] and hit["moments"][0]["cosine"] == hit["cosine"]
    assert set(hit["moments"][0]) == {"span", "page", "text", "cosine"}
    page = tmp_path / "out.html"
    result = indexed(*asked, "--clip-to", tmp_path / "clips", "--html", page)
    assert result.returncode == 0 and b"3 files cut" in result.stderr
    times = [f"0:{span['start']:02.0f}-0:{span['end']:02.0f}" for span in spans]
    assert lines(result)[0].endswith("film.mp4 " + " ".join(f"[{time}]" for time in times))
    assert ", ".join(times) in page.read_text()
    named = [f"film_0m{span['start']:04.1f}s-0m{span['end']:04.1f}s.mp4" for span in spans]
    assert sorted(os.listdir(tmp_path / "clips")) == sorted(named)
    assert indexed(*asked[:-1], "0").returncode == 2
    assert indexed("similar", film, "--moments", "2", "--jsonl").returncode == 0


def test_a_part_of_a_sound_is_a_question(indexed, photos, sound):  # noqa: F811
    indexed("index", photos)
    assert indexed("query", f"{sound}@0:02-0:04", "-", "red").returncode == 0
    assert indexed("similar", f"{sound}@0:02").returncode == 0
    for command, part in (("query", "0:12"), ("similar", "0:12"), ("query", "5-3")):
        result = indexed(command, f"{sound}@{part}")
        assert result.returncode == 2 and f"tone.wav@{part}".encode() in result.stderr


def test_a_broken_sound_leaves_no_clip(indexed, photos, sound, tmp_path):  # noqa: F811
    indexed("index", photos)
    sound.write_bytes(sound.read_bytes()[:20])
    result = indexed("query", "red", "--modality", "audio", "--clip-to", tmp_path / "clips")
    assert result.returncode == 3 and b"tone.wav" in result.stderr and os.listdir(tmp_path / "clips") == []


def test_a_batch_writes_no_pages(indexed, tmp_path):  # noqa: F811
    (tmp_path / "questions").write_text("red\n")
    assert indexed("query", "--batch", tmp_path / "questions", "--html", tmp_path / "out.html").returncode == 2
