"""`models bench`: on models whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mmsearch.hub.measure import Figures, mark

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


@pytest.fixture
def captioned(tmp_path):
    """Twelve photos: three of one colour each, which have captions, and nine of noise."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        name = f"{number:02}.png"
        colour = list(COLOURS)[number] if number < 3 else None
        pixels = np.full((20, 20, 3), COLOURS[colour]) if colour else rng.integers(0, 256, (20, 20, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / name)
        lines.append(json.dumps({"image": name, "captions": [colour] if colour else []}))
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    return tmp_path / "captions.jsonl"


def rows(result):
    return {row["model"]: row for row in json.loads(result.stdout)["models"]}


def test_a_row_for_each_model_and_one_for_what_failed(mmsearch, captioned):
    result = mmsearch("models", "bench", "fake:32", "nonsense", "--captions", captioned, "--json")
    assert result.returncode == 0, result.stderr
    assert "3 captions, 12 photos" in result.stderr
    fake, nonsense = rows(result)["fake:32"], rows(result)["nonsense"]
    assert fake["hit10"] == 1 and fake["best"] and not fake["error"]
    assert min(fake["text_ms"], fake["images_per_s"], fake["audio_s_per_s"], fake["load_s"]) > 0
    assert 10e6 < fake["rss_bytes"] < 1e9
    assert nonsense["hit10"] is None and "did you mean" in nonsense["error"] and not nonsense["best"]


def test_on_the_photos_of_the_library(mmsearch, captioned):
    assert mmsearch("models", "bench", "fake", "--mine").returncode == 10
    captioned.unlink()  # else its captions are the questions
    assert mmsearch("index", captioned.parent, "--model", "fake").returncode == 0
    result = mmsearch("models", "bench", "fake", "--mine", "--json")
    assert "inner half of each of 12 photos" in result.stderr
    # Twelve photos, ten hits: whoever guesses reaches 83 %.
    assert rows(result)["fake"]["hit10"] > 0.83


@pytest.mark.parametrize("line", ["not json", "{}", '{"image": "00.png"}', '{"image": "gone.png", "caption": "x"}'])
def test_a_caption_file_that_makes_no_sense_is_named_with_its_line(mmsearch, captioned, line):
    captioned.write_text(captioned.read_text() + "\n" + line)
    result = mmsearch("models", "bench", "fake", "--captions", captioned)
    assert result.returncode == 2 and "line 13" in result.stderr


def test_no_model_that_works_is_an_error(mmsearch):
    result = mmsearch("models", "bench", "nonsense")
    assert result.returncode == 2 and "none of these models" in result.stderr


def test_the_mark_is_for_what_no_other_model_beats():
    def row(name: str, speed: float | None, hit: float | None) -> Figures:
        return Figures(model=name, images_per_s=speed, hit10=hit)

    marked = mark(
        [row("fast", 100, 0.5), row("good", 10, 0.9), row("worse", 9, 0.8), row("twin", 10, 0.9), row("?", 5, None)]
    )
    assert {figures.model for figures in marked if figures.best} == {"fast", "good", "twin"}
