"""No test of an encoder may open a connection; each has a cache of its own."""

import socket

import pytest


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """No test of this folder may open a connection; the list says which were tried."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise OSError("no connection in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried
    assert not tried


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """What is known about models starts empty."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    clips = pytest.importorskip("tests.unit.encoders.clips", reason="torch or open_clip is not installed")
    return clips.save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder):
    from mmsearch.encoders import registry

    loaded = registry.load(f"open_clip:local-dir:{folder}")
    return loaded.model() if hasattr(loaded, "loaded") else loaded  # known from another file of tests


@pytest.fixture
def tag(monkeypatch, tmp_path, folder):
    """``tiny/test`` as an architecture and tag of open_clip, its weights in an empty Hugging Face cache's place."""
    from huggingface_hub import constants
    from open_clip import factory, pretrained

    from tests.unit.encoders import clips

    facts = {"hf_hub": "me/tiny/", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    facts |= {"interpolation": "bilinear", "resize_mode": "squash", "quick_gelu": True}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", clips.MODEL)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"test": facts})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return facts
