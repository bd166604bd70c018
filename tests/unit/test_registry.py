"""Encoders by name, and the fake one whose geometry other tests rely on."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import numpy as np
import pytest

from mmsearch.encoders import registry
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.errors import EncoderError, MissingExtra, UsageError
from mmsearch.store import indexes
from mmsearch.types import Modality
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(("group", "table"), [(registry.GROUP, registry.BUILTIN), (indexes.GROUP, indexes.BUILTIN)])
def test_the_built_in_names_are_those_of_the_entry_points(group, table):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][group] == table


def test_a_misspelt_model_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="mini"):
        registry.load("mimi")


def test_a_model_without_its_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[clip\]"):
        registry.load("open_clip:ViT-B-32/laion2b_s34b_b79k")


def test_a_plug_in_is_found_by_its_entry_point(monkeypatch):
    monkeypatch.setattr(registry, "_plugins", lambda: {"mine": lambda: lambda name, device: FakeEncoder(64)})
    assert registry.load("mine:anything").spec.dim == 64
    assert "mine" in [model.name for model in registry.available()]


def test_listing_models_imports_none_of_them():
    program = (
        "import sys; from mmsearch.encoders import registry; registry.available();"
        "print({'torch', 'open_clip', 'onnxruntime'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"set()\n"


def pixels(*colour: int) -> np.ndarray:
    return np.full((8, 8, 3), colour, np.uint8)


def test_the_fake_encoder_puts_a_colour_beside_its_name():
    encoder = FakeEncoder()
    pictures = encoder.encode([pixels(220, 20, 20), pixels(20, 220, 20), pixels(20, 20, 220)], Modality.IMAGE)
    words = encoder.encode(["red", "a green thing", "BLUE"], Modality.TEXT)
    assert (words @ pictures.T).argmax(axis=1).tolist() == [0, 1, 2]


def test_the_fake_encoder_hears_high_and_low():
    encoder = FakeEncoder()
    seconds = np.arange(16_000) / 16_000
    tones = [np.sin(2 * np.pi * pitch * seconds).astype(np.float32) for pitch in (100, 7000)]
    words = encoder.encode(["low", "high"], Modality.TEXT)
    assert (words @ encoder.encode(tones, Modality.AUDIO).T).argmax(axis=1).tolist() == [0, 1]


def test_fake_models_of_other_dimensions_are_other_spaces():
    assert registry.load("fake:64").spec.space != registry.load("fake").spec.space
    assert registry.load("fake:32").spec == registry.load("fake").spec


@pytest.mark.parametrize("name", ["fake:4", "fake:many"])
def test_a_fake_dimension_that_makes_no_sense_is_a_usage_error(name):
    with pytest.raises(UsageError):
        registry.load(name)


def test_the_fake_encoder_takes_no_video():
    with pytest.raises(EncoderError, match="video"):
        FakeEncoder().encode([pixels(0, 0, 0)], Modality.VIDEO)
