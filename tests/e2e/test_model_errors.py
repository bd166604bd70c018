"""Models that can't be used: each way is a clear error with its exit code, and nothing is written."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.encoders import registry
from mmsearch.encoders.fake import FakeEncoder
from mmsearch.types import EncoderSpec, Modality


class Odd(FakeEncoder):
    """A fake model with one fault, named by its name."""

    def __init__(self, fault: str) -> None:
        super().__init__()
        kinds = {Modality.AUDIO, Modality.TEXT} if fault == "deaf-and-blind" else self.spec.modalities
        spec = self.spec
        self.spec = EncoderSpec(
            name=f"odd:{fault}", space=f"odd-{fault}", dim=spec.dim, modalities=frozenset(kinds), licence="",
            image=spec.image, audio_rate=spec.audio_rate,
        )  # fmt: skip
        self.fault = fault

    def encode(self, batch, modality):
        vectors = super().encode(batch, modality)
        if self.fault == "nan":
            vectors[:] = np.nan
        return np.ascontiguousarray(vectors[:, :-1]) if self.fault == "narrow" else vectors


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """An empty cache, a library of one's own, no network, and a plug-in whose models have faults."""
    monkeypatch.setenv("MMSEARCH_LIBRARY", str(tmp_path / "library"))
    monkeypatch.setattr(registry, "_plugins", lambda: {"odd": lambda: lambda name, device: Odd(name.partition(":")[2])})
    constants = pytest.importorskip("huggingface_hub.constants", reason='pip install "mmsearch[hub]"')
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    tried: list[object] = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise OSError("no connection in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield
    assert tried == [], "a connection was tried"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, colour in {"red": (220, 20, 20), "blue": (20, 20, 220)}.items():
        Image.new("RGB", (20, 20), colour).save(folder / f"{name}.png")
    # A model is at fault, and not its files, when it fails on many in a row.
    for number in range(18):
        Image.new("RGB", (20, 20), (10 * number, 100, 100)).save(folder / f"{number}.png")
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def half_download(tmp_path):
    """What a killed pull leaves: some bytes, no reference."""
    blobs = tmp_path / "hub" / "models--laion--CLIP-ViT-B-32-256x256-DataComp-s34B-b86K" / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'a' * 64}.incomplete").write_bytes(b"x" * 1000)


NEEDS_CLIP = pytest.mark.skipif(not find_spec("open_clip"), reason='no open_clip: pip install "mmsearch[clip]"')
PULL = "mmsearch models pull open_clip:ViT-B-32-256/datacomp_s34b_b86k"


@pytest.mark.parametrize(
    ("model", "device", "code", "said"),
    [
        pytest.param("open_clp:ViT-B-32/openai", "cpu", 2, "did you mean open_clip", id="unknown family"),
        pytest.param("multilingul", "cpu", 2, "did you mean multilingual", id="unknown preset"),
        pytest.param(
            "open_clip:ViT-B-3/openai", "cpu", 2, "did you mean ViT-B-32", id="unknown name", marks=NEEDS_CLIP
        ),
        pytest.param("open_clip:ViT-B-32/opnai", "cpu", 2, "openai", id="unknown weights", marks=NEEDS_CLIP),
        pytest.param("fast", "cpu", 14, PULL, id="not pulled", marks=NEEDS_CLIP),
        pytest.param("hf:owner/model", "cpu", 14, "mmsearch models pull hf:owner/model", id="not pulled, hf"),
        pytest.param("onnx:/nowhere", "cpu", 14, "/nowhere", id="no such folder"),
        pytest.param("mini", "cuda:0", 2, "--device cpu", id="no CUDA for mini"),
        pytest.param("odd:nan", "cpu", 70, "not finite unit rows", id="NaN"),
        pytest.param("odd:narrow", "cpu", 70, "(1, 31)", id="wrong dimension"),
    ],
)
def test_a_model_that_can_not_be_used_leaves_no_trace(photos, tmp_path, model, device, code, said):
    before = sorted(os.listdir(tmp_path))
    result = run("index", photos, "--model", model, "--device", device)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr and len(result.stderr.splitlines()) == 1
    left = sorted(set(os.listdir(tmp_path)) - set(before))
    assert left in ([], ["library"]), "nothing but the library may appear"
    if left:
        with sqlite3.connect(tmp_path / "library" / "catalog.sqlite") as db:
            assert db.execute("SELECT count(*) FROM item").fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM embedding").fetchone() == (0,)
        db.close()


@NEEDS_CLIP
def test_a_half_fetched_model_is_not_used(photos, tmp_path):
    half_download(tmp_path)
    result = run("index", photos, "--model", "fast")
    assert result.exit_code == 14 and PULL in result.stderr
    assert not (tmp_path / "library").exists()
    listed = run("models", "list").stdout
    assert "half here: 1.0 kB" in next(line for line in listed.splitlines() if line.startswith("fast"))


@pytest.mark.parametrize(
    ("package", "model", "extra"), [("open_clip", "fast", "clip"), ("transformers", "audio", "hf")]
)
def test_a_model_without_its_package_names_the_extra(photos, tmp_path, monkeypatch, package, model, extra):
    monkeypatch.setitem(sys.modules, package, None)
    result = run("index", photos, "--model", model)
    assert result.exit_code == 14 and f"mmsearch[{extra}]" in result.stderr
    assert not (tmp_path / "library").exists()


def test_pulling_without_the_client_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    result = run("models", "pull", "hf:owner/model", "--yes")
    assert result.exit_code == 14 and "mmsearch[hub]" in result.stderr


def test_cuda_where_there_is_none(photos, tmp_path):
    torch = pytest.importorskip("torch", reason="no torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    result = run("index", photos, "--model", "hf:owner/model", "--device", "cuda:0")
    assert result.exit_code in (2, 14) and not (tmp_path / "library").exists()


def test_a_question_of_a_kind_that_the_model_lacks(photos, tmp_path):
    assert run("index", photos, "--model", "odd:deaf-and-blind").exit_code == 1, "it takes no pictures"
    result = run("query", "--image", photos / "red.png")
    assert result.exit_code == 2 and "odd:deaf-and-blind" in result.stderr


def test_spaces_are_not_mixed(photos, tmp_path):
    assert run("index", photos, "--model", "fake").exit_code == 0
    with sqlite3.connect(tmp_path / "library" / "catalog.sqlite") as db:
        db.execute("UPDATE space SET fingerprint = 'another'")
    db.close()
    result = run("query", "red")
    assert result.exit_code == 12 and "another" in result.stderr and "mmsearch index" in result.stderr


@pytest.mark.parametrize("name", ["fst", "open_clip:hf-hub:..", "open_clip:local-dir:/x", "mini", "hf:a/b/c"])
def test_what_can_not_be_pulled(name):
    result = run("models", "pull", name, "--yes")
    assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("verb", ["verify", "rm"])
def test_what_is_not_here_can_not_be_kept(verb):
    result = run("models", verb, "hf:owner/model")
    assert result.exit_code == 14 and "not here" in result.stderr


# -- no command opens a connection -----------------------------------------------------------------------------------

COMMANDS = {
    "index": ["{photos}"],
    "query": ["red"],
    "similar": ["{photos}/red.png"],
    "evaluate": ["--list"],
    "classify": ["red,blue", "{photos}/red.png"],
    "dedup": [],
    "status": [],
    "ls": [],
    "errors": [],
    "check": ["--deep"],
    "repair": [],
    "prune": [],
    "gc": [],
    "relocate": ["{photos}", "{photos}"],
    "rm": ["{photos}"],
    "bridge": [],
    "tune": ["--dry-run"],
    "doctor": [],
}
MODELS = {
    "list": [],
    "show": ["fast"],
    "verify": ["mini"],
    "bench": ["fake"],
    "export": ["hf:owner/model", "{photos}/../out"],
    "import": ["{photos}"],
    "rm": ["audio", "--yes"],
}
CONFIG = {"set": ["query.top", "5"], "get": ["query.top"], "list": [], "path": [], "unset": ["query.top"]}


def test_no_command_but_pull_opens_a_connection(photos):
    """The fixture above has seen every attempt. A new command must be added here."""
    registered = {command.name for command in app.registered_commands}
    assert registered == set(COMMANDS), "which arguments run the new command?"
    groups = {
        group.name: {command.name for command in group.typer_instance.registered_commands}
        for group in app.registered_groups
    }
    assert groups == {"models": {*MODELS, "pull"}, "config": set(CONFIG)}
    assert run("index", photos, "--model", "fake").exit_code == 0
    lines = [[name, *rest] for name, rest in COMMANDS.items()]
    lines += [["models", name, *rest] for name, rest in MODELS.items()]
    lines += [["config", name, *rest] for name, rest in CONFIG.items()]
    for line in lines:
        result = run(*[part.format(photos=photos) for part in line])
        assert result.exit_code in (0, 1, 2, 3, 14), (line, result.stderr)
