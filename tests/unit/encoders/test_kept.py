"""The text tower beside a library: questions in words never import torch, and answer as the model would."""

import json
import os
import random
import shutil
import subprocess
import sys

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders import kept, registry, safetensors, textual
from mmsearch.types import Modality

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from mmsearch.encoders import export_text
from tests.unit.encoders.clips import MODEL, TEXT, photo, save

QUESTION = """
import json, sys
from mmsearch import Library
hits = Library(sys.argv[1]).search(sys.argv[2], k=3)
heavy = {"torch", "open_clip", "transformers", "onnxruntime", "sqlalchemy", "PIL"} & set(sys.modules)
print(json.dumps([sorted(heavy), [[hit.path.decode(), hit.score] for hit in hits]]))
"""
TEXTS = [*export_text.PROBE, "", "don't 'LL <end_of_text> a cat", "½ ²x ⅧⅧ 12ab_c d-e", "&amp;lt; ’quoted’"]


@pytest.fixture(scope="module")
def world(folder, tmp_path_factory):
    """Three photos, and a library of them made with an open_clip model."""
    place = tmp_path_factory.mktemp("world")
    (place / "photos").mkdir()
    for i in range(3):
        photo(seed=i).save(place / "photos" / f"{i}.png")
    os.environ["MMSEARCH_CACHE"] = str(place / "cache")
    Library(str(place / "library")).index([str(place / "photos")], model=f"open_clip:local-dir:{folder}")
    return place


def tower_of(place):
    (space,) = os.listdir(place / "library" / "text")
    return place / "library" / "text" / space


def ask(place, question):
    command = [sys.executable, "-c", QUESTION, str(place / "library"), question]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("question", ["a cat on a sofa", "RAIN, don't!"])
def test_a_question_imports_nothing_heavy_and_is_answered_as_by_the_model(world, encoder, question):
    heavy, hits = ask(world, question)
    assert heavy == []
    pixels = {path: np.asarray(photo(seed=i)) for i, path in enumerate("012")}
    assert len(hits) == len(pixels)
    library = Library(str(world / "library"))
    expected = library.encoder(library.active_space().model).encode([question], Modality.TEXT)[0]
    got = kept.open_kept(library.folder, encoder.spec.space, lambda: encoder).encode([question], Modality.TEXT)[0]
    assert got @ expected >= 0.9999


@pytest.mark.parametrize("damage", ["deleted", "cut", "garbage", "half the folder"])
def test_damage_costs_time_and_no_answer(world, tmp_path, damage):
    shutil.copytree(world, tmp_path / "w")
    place = tower_of(tmp_path / "w")
    weights = place / "textual" / "model.safetensors"
    if damage == "deleted":
        shutil.rmtree(place)
    elif damage == "cut":
        os.truncate(weights, os.path.getsize(weights) // 2)
    elif damage == "garbage":
        weights.write_bytes(os.urandom(os.path.getsize(weights)))
    else:
        os.remove(place / "config.json")
    heavy, hits = ask(tmp_path / "w", "a cat")
    assert "torch" in heavy
    assert [hit[0] for hit in hits] == [hit[0] for hit in ask(world, "a cat")[1]]


def test_an_unchanged_run_neither_loads_the_model_nor_touches_the_tower(world):
    before = {path: os.stat(path).st_mtime_ns for path in (tower_of(world) / "textual").iterdir()}
    program = (
        "import sys; from mmsearch import Library; Library(sys.argv[1]).index([sys.argv[2]]); "
        "print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", program, str(world / "library"), str(world / "photos")]
    environment = os.environ | {"MMSEARCH_CACHE": str(world / "cache")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False\n"
    assert before == {path: os.stat(path).st_mtime_ns for path in (tower_of(world) / "textual").iterdir()}


def test_gc_drops_the_towers_of_spaces_that_are_gone(world, tmp_path):
    shutil.copytree(world, tmp_path / "w")
    other = tmp_path / "w" / "library" / "text" / "open_clip-0"
    shutil.copytree(tower_of(tmp_path / "w"), other)
    Library(str(tmp_path / "w" / "library")).gc()
    assert not other.exists()
    assert tower_of(tmp_path / "w").is_dir()


def test_a_tower_that_can_not_be_kept_is_said_and_loses_nothing(folder, world, tmp_path, monkeypatch):
    monkeypatch.setattr(export_text, "CLOSE", 1.1)
    library = Library(str(tmp_path / "library"))
    summary = library.index([str(world / "photos")], model=f"open_clip:local-dir:{folder}")
    assert summary.added == 3
    assert any("can't be kept" in note for note in summary.notes)
    assert not os.listdir(tmp_path / "library" / "text")
    assert len(library.search("a cat")) == 3


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"quick_gelu": True},
        {"custom_text": True, "text_cfg": TEXT | {"proj_bias": True}},
        {"text_cfg": TEXT | {"tokenizer_kwargs": {"clean": "canonicalize"}}},
    ],
    ids=["gelu", "quick-gelu", "custom-text", "canonicalize"],
)
def test_the_tower_in_numpy_is_the_one_in_torch(tmp_path, change):
    encoder = registry.load(f"open_clip:local-dir:{save(tmp_path / 'm', MODEL | change)}")
    export_text.write(encoder, str(tmp_path / "t"))
    assert sorted(os.listdir(tmp_path / "t" / "textual")) == ["model.safetensors", "settings.json"]
    rows, expected = textual.open_tower(str(tmp_path / "t"))(TEXTS), encoder.encode(TEXTS, Modality.TEXT)
    assert (rows * expected).sum(axis=1).min() > 0.999999
    assert (expected @ expected.T).min() < 0.99  # cosines would mean little if all texts had one vector


def test_the_tokenizer_gives_the_ids_of_open_clip(encoder, tmp_path):
    export_text.write(encoder, str(tmp_path))
    place = str(tmp_path / "textual")
    settings = json.loads((tmp_path / "textual" / "settings.json").read_text())["tokenizer"]
    encode = textual.open_tokenizer(place, settings, safetensors.read(f"{place}/model.safetensors"))
    rng = random.Random(0)
    letters = "abcdefgh ABCXYZ 0123456789 .,;:'\"!?-_<>&#()[] ßéñœÅ中文猫🐈👍🏽 ½²Ⅷ٣ ſK\t\n\u00a0\u200bا一二 ’“”ﬁＡ１"
    words = ["don't", "it's", "cat", "I'LL", "re-do", "internationalization", "<end_of_text>", "a.b", "'re", "2024!"]
    for i in range(1000):
        text = (
            "".join(rng.choice(letters) for _ in range(rng.randint(0, 25)))
            if i % 2
            else " ".join(rng.choice(words) for _ in range(rng.randint(0, 40)))
        )
        expected = encoder.tokenizer([text])[0].tolist()
        assert encode(text) == expected[: expected.index(49407) + 1], text
