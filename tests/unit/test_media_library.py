"""Photos, sounds and videos in one library: found with the seconds, or skipped with the extra's name."""

from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library, media
from mmsearch.media.sandbox import Sandbox
from mmsearch.types import Modality

soundfile = pytest.importorskip("soundfile", reason="the extra [audio] is not installed")


@pytest.fixture
def folder(tmp_path):
    home = tmp_path / "media"
    home.mkdir()
    Image.new("RGB", (20, 20), "red").save(home / "red.png")
    rate = 16_000
    low, high = (0.5 * np.sin(2 * np.pi * h * np.arange(rate * 15) / rate) for h in (200, 7000))
    soundfile.write(home / "low.wav", low, rate)
    soundfile.write(home / "low then high.flac", np.concatenate([low, high]), rate)
    return home


@pytest.fixture
def library(tmp_path):
    with Library(str(tmp_path / "library")) as opened:
        yield opened


def test_a_hit_says_where_in_the_sound(library, folder):
    summary = library.index([str(folder)], model="fake")
    assert summary.added == summary.seen == 3
    best = library.search("high", k=3).hits[0]
    assert best.path.endswith(b"low then high.flac") and best.modality is Modality.AUDIO
    assert best.span.start > 10 and best.span.end - best.span.start > 8
    assert library.search("red", k=1).hits[0].path.endswith(b"red.png")
    assert library.index([str(folder)]).unchanged == 3


def test_a_copy_of_a_sound_takes_over_its_segments(library, folder):
    library.index([str(folder)], model="fake")
    (folder / "copy.flac").write_bytes((folder / "low then high.flac").read_bytes())
    assert library.index([str(folder)]).reused == 1
    first, second = library.search("high", k=2).hits
    assert first.span == second.span and (first.cosine, first.why.z) == (second.cosine, second.why.z)
    assert first.why.matched == (("high", "name"),) and not second.why.matched


def test_two_runs_give_vectors_equal_to_the_bit(folder, tmp_path):
    stored = []
    for name in ("one", "two"):
        with Library(str(tmp_path / name)) as library:
            library.index([str(folder)], model="fake")
            rows = library.reader.query(
                "SELECT i.path, s.start, e.vector FROM embedding e JOIN segment s "
                "ON s.id = e.segment_id JOIN item i ON i.id = s.item_id"
            )
            stored.append(sorted(map(tuple, rows), key=repr))
    assert stored[0] == stored[1] and len(stored[0]) == 1 + 2 + 4


def test_without_the_extra_sounds_are_skipped_once_and_looked_at_again_with_it(library, folder, monkeypatch):
    with monkeypatch.context() as without:
        without.setattr(media.sniff, "_installed", lambda package: False)
        for _ in range(2):
            summary = library.index([str(folder)], model="fake")
            assert summary.skipped == 2 and not summary.failures
            assert sum('"mmsearch[audio]"' in reason for reason in summary.skip_reasons) == len(summary.skip_reasons)
    assert library.index([str(folder)]).updated == 2
    assert library.search("high", k=1).hits[0].path.endswith(b".flac")


def test_what_one_model_does_not_take_another_may(library, folder, monkeypatch):
    from dataclasses import replace

    from mmsearch.encoders.fake import FakeEncoder

    eyes = FakeEncoder()
    eyes.spec = replace(eyes.spec, name="eyes", space="eyes", modalities=frozenset({Modality.IMAGE, Modality.TEXT}))
    with monkeypatch.context() as patched:
        patched.setattr("mmsearch.encoders.registry.load", lambda name, device="cpu": eyes)
        assert library.index([str(folder)], model="eyes").skip_reasons == {"eyes takes no audio files": 2}
    library.index([str(folder)], model="fake")
    assert library.search("high", k=1).hits[0].path.endswith(b".flac")


def test_a_file_that_breaks_its_decoder_costs_that_file(library, folder, monkeypatch):
    """A worker that is shot at its second file, as a broken decoder would: the others are indexed."""
    monkeypatch.setattr("mmsearch.media.sandbox._MAIN", _BREAKS)
    with closing(Sandbox()) as fresh:
        monkeypatch.setattr("mmsearch.indexer.ingest.shared", lambda: fresh)
        summary = library.index([str(folder)], model="fake")
    assert (summary.added, summary.rejected) == (2, 1)
    assert (
        summary.failures[0].path.endswith(b"low.wav") and summary.failures[0].reason == "breaks its decoder (SIGSEGV)"
    )


_BREAKS = """
import json, sys; sys.path[:] = json.loads(sys.argv[1])
import os, signal
from mmsearch.media import audio, worker
pieces = audio.pieces
def broken(source, kind, spec):
    if source.path.endswith(b"low.wav"):
        os.kill(os.getpid(), signal.SIGSEGV)
    return (yield from pieces(source, kind, spec))
audio.pieces = broken
worker.main()
"""


def test_a_video_is_found_by_its_pictures_and_by_its_sound(library, folder, tmp_path):
    pytest.importorskip("av", reason="the extra [video] is not installed")
    from tests.unit.test_video import film

    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "film").write_bytes(film(["red", "green", "blue"], 9))
    assert library.index([str(tmp_path / "films")], model="fake").added == 1
    (green,) = library.search("green", k=1)
    assert green.modality is Modality.VIDEO and 2 <= green.span.start <= 4
    (heard,) = library.search("low", k=1, mode="dense")
    assert heard.modality is Modality.AUDIO and heard.item_id == green.item_id
    # Beside other sounds it stands out of them on the scale of all kinds too.
    library.index([str(folder)])
    heard = next(hit for hit in library.search("low") if hit.item_id == green.item_id)
    assert heard.modality is Modality.AUDIO and heard.why.z > 5
