"""A bridge between two models: fitted on words alone, it carries sounds to where the words for them are."""

from __future__ import annotations

import os
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmsearch import Library
from mmsearch.encoders import bridge as bridges
from mmsearch.encoders import registry
from mmsearch.encoders.fake import AXES, RATE, FakeEncoder
from mmsearch.encoders.sentences import sentences
from mmsearch.errors import EncoderError, MissingModel, SpaceMismatch, UsageError
from mmsearch.retrieval.bridge import fit
from mmsearch.types import EncoderSpec, Modality


class Half:
    """The fake model with some of its modalities, seen through a rotation: another space of another dimension."""

    def __init__(self, name: str, kinds: set[Modality], dim: int, seed: int) -> None:
        self._whole = FakeEncoder()
        turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((dim, dim)))
        self._turn = turn[: self._whole.spec.dim].astype(np.float32)
        self.spec = EncoderSpec(
            name=name,
            space=f"{name}-{seed}",
            dim=dim,
            modalities=frozenset(kinds),
            licence="Apache-2.0",
            image=self._whole.spec.image,
            audio_rate=RATE,
        )

    def encode(self, batch, modality):
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} takes no {modality}")
        return (self._whole.encode(batch, modality) @ self._turn).astype(np.float32)


class Scrambled(Half):
    """Reads words backwards: what it makes of a sentence has nothing to do with what others make of it."""

    def encode(self, batch, modality):
        return super().encode([content[::-1] if isinstance(content, str) else content for content in batch], modality)


WORDS = [f"{one} {other} {number}" for one in AXES for other in AXES for number in range(20)]
"""The fake models understand five words: a map that carries them must have seen them."""


@pytest.fixture
def models(monkeypatch):
    """``seer`` knows pictures and words, ``hearer`` sounds and words; ``seed`` 2 is another version of ``hearer``."""
    seeds = {"hearer": 1}
    made = {
        "seer": lambda name, device: Half("seer", {Modality.IMAGE, Modality.TEXT}, 40, 0),
        "hearer": lambda name, device: Half("hearer", {Modality.AUDIO, Modality.TEXT}, 48, seeds["hearer"]),
    }
    monkeypatch.setattr(registry, "_plugins", lambda: {name: lambda load=load: load for name, load in made.items()})
    return seeds


@pytest.fixture
def library(tmp_path, models):
    """Photos indexed by one model, sounds by the other."""
    pytest.importorskip("soundfile", reason='no soundfile: pip install "mmsearch[audio]"')
    photos, sounds = tmp_path / "photos", tmp_path / "sounds"
    photos.mkdir()
    sounds.mkdir()
    for name, colour in {"red": (220, 20, 20), "green": (20, 220, 20)}.items():
        Image.new("RGB", (20, 20), colour).save(photos / f"{name}.png")
    seconds = np.arange(RATE) / RATE
    for name, pitch in {"low": 100, "high": 7000}.items():
        with wave.open(str(sounds / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((20_000 * np.sin(2 * np.pi * pitch * seconds)).astype("<i2").tobytes())
    library = Library(str(tmp_path / "library"))
    assert library.index([str(photos)], model="seer", device="cpu").added == 2
    assert library.index([str(sounds)], model="hearer", device="cpu").added == 2
    return library


def names(hits):
    return [os.path.basename(hit.path).decode() for hit in hits]


def test_photos_and_sounds_are_found_together(library, tmp_path):
    made = library.bridge(sentences=WORDS)
    assert (made.image_model, made.audio_model) == ("seer", "hearer")
    assert (made.copied, made.carried, made.pending) == (2, 2, 0)
    assert made.fit.hit1 > 0.95, "one is a rotation of the other: nothing may be lost"
    fresh = Library(library.folder)
    assert fresh.active_space().model == made.model
    for word, kind in {"red": ".png", "green": ".png", "low": ".wav", "high": ".wav"}.items():
        assert names(fresh.search(word, k=4))[0] == word + kind
    assert fresh.check("data") == []
    held = fresh.reader.setting(f"holds:{fresh.active_space().id}")
    assert set((held or "").split(",")) == {"image", "audio"}
    # The bridge is a model as any other: what comes later is indexed with it.
    Image.new("RGB", (20, 20), (20, 20, 220)).save(tmp_path / "photos" / "blue.png")
    summary = fresh.index([str(tmp_path / "photos"), str(tmp_path / "sounds")], device="cpu")
    assert (summary.added, summary.unchanged, summary.model) == (1, 4, made.model)
    assert names(Library(library.folder).search("blue", k=1)) == ["blue.png"]


def test_a_second_bridge_writes_nothing_new(library):
    first, second = library.bridge(), library.bridge()
    assert second.model == first.model and (second.copied, second.carried) == (0, 0)


def test_a_library_that_moves_keeps_its_bridge(library, tmp_path):
    library.bridge()
    library.close()
    os.rename(library.folder, tmp_path / "moved")
    moved = Library(str(tmp_path / "moved"))
    assert names(moved.search("low", k=1)) == ["low.wav"]
    Image.new("RGB", (20, 20), (20, 20, 220)).save(tmp_path / "photos" / "blue.png")
    assert moved.index([str(tmp_path / "photos")], device="cpu").added == 1
    assert moved.active_space().model.startswith(f"bridge:{tmp_path}/moved/")


def test_a_library_keeps_a_copy_of_the_bridge_that_it_was_indexed_with(library, tmp_path):
    own = Path(library.bridge().model.removeprefix("bridge:"))
    os.rename(own, tmp_path / "mine.npz")
    other = Library(str(tmp_path / "other"))
    assert other.index([str(tmp_path / "sounds")], model=f"bridge:{tmp_path}/mine.npz", device="cpu").added == 2
    os.rename(tmp_path / "mine.npz", tmp_path / "away.npz")
    assert names(Library(other.folder).search("high", k=1)) == ["high.wav"]
    other.gc()
    assert names(Library(other.folder).search("low", k=1)) == ["low.wav"]


def test_words_need_the_image_model_alone(library, monkeypatch):
    made = library.bridge()
    load = registry.load
    encoder = load(made.model)
    monkeypatch.setattr(
        registry, "load", lambda name, device="cpu": pytest.fail(name) if name == "hearer" else load(name)
    )
    assert encoder.encode(["red"], Modality.TEXT).shape == (1, 40)


def test_a_model_that_changed_is_not_mixed_in(library, models):
    made = library.bridge()
    models["hearer"] = 2
    with pytest.raises(SpaceMismatch):
        registry.load(made.model).encode([np.zeros(RATE, np.float32)], Modality.AUDIO)
    with pytest.raises(SpaceMismatch):
        Library(library.folder).bridge()


@pytest.mark.parametrize("change", [lambda path: path.unlink(), lambda path: path.write_bytes(b"PK\3\4 no zip")])
def test_a_bridge_that_is_gone_or_damaged_names_the_command(library, change):
    change(Path(library.bridge().model.removeprefix("bridge:")))
    with pytest.raises(MissingModel, match="mmsearch bridge"):
        Library(library.folder).search("red")


def test_a_library_without_two_models_says_what_is_missing(tmp_path, models):
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    library = Library(str(tmp_path / "library"))
    library.index([str(tmp_path)], model="seer", device="cpu")
    with pytest.raises(UsageError, match="no model in this library takes words and sounds"):
        library.bridge()
    with pytest.raises(UsageError, match="is called other"):
        library.bridge(image_model="other")


def test_models_whose_words_have_nothing_in_common_get_no_bridge():
    scrambled = Scrambled("scrambled", {Modality.AUDIO, Modality.TEXT}, 48, 1)
    with pytest.raises(EncoderError, match="can't be carried"):
        fit(FakeEncoder(), scrambled, sentences(), np.empty((0, 32), np.float32))


def test_too_few_sentences_and_missing_modalities(models):
    seer, hearer = registry.load("seer"), registry.load("hearer")
    nothing = np.empty((0, 48), np.float32)
    with pytest.raises(UsageError, match="too few"):
        fit(seer, hearer, ["a", "b"] * 500, nothing)
    with pytest.raises(UsageError, match="seer can't encode audio"):
        fit(seer, seer, sentences(), nothing)


def test_a_saved_bridge_is_the_same_space(library, tmp_path):
    made = library.bridge()
    bridge = bridges.read(made.model.removeprefix("bridge:"))
    bridge.save(str(tmp_path / "copy.npz"))
    assert bridges.read(str(tmp_path / "copy.npz")).space == bridge.space
    carried = bridge.carry(np.eye(48, dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(carried, axis=1), 1, atol=1e-5)
