"""A hub, a cache of one's own, and the real program."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from .server import Hub, serve

pytest.importorskip("huggingface_hub", reason='no huggingface_hub: pip install "mmsearch[hub]"')

NAMES = ("HF_", "HUGGINGFACE", "MMSEARCH", "http_proxy", "https_proxy", "all_proxy", "no_proxy", "TRANSFORMERS_OFFLINE")


@pytest.fixture
def hub():
    """A hub with one model of plausible files; the weights are no weights."""
    noise = np.random.default_rng(0).bytes(200_000)
    files = {
        "README.md": b"a card",
        "open_clip_config.json": b'{"model_cfg": {"text_cfg": {}}}',
        "open_clip_model.safetensors": noise,
        "open_clip_pytorch_model.bin": noise[::-1],
        "tokenizer.json": b"{}",
    }
    hub = Hub(repos={"tiny/clip": files})
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()


@pytest.fixture
def home(tmp_path):
    return tmp_path / "hf"


@pytest.fixture
def environment(hub, home, tmp_path):
    """Nothing of the user's own settings, the hub as the only server, a cache and a library of one's own."""
    mine = {k: v for k, v in os.environ.items() if not k.lower().startswith(tuple(n.lower() for n in NAMES))}
    return mine | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HOME": str(tmp_path),
        "MMSEARCH_LIBRARY": str(tmp_path / "library"),
        "NO_COLOR": "1",
    }


@pytest.fixture
def mmsearch(environment):
    """Run the real program; keyword arguments go into its environment."""

    def run(*arguments, **settings):
        return subprocess.run(
            [sys.executable, "-m", "mmsearch", *map(str, arguments)],
            env=environment | settings,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
            check=False,
        )

    return run


MODEL = "open_clip:hf-hub:tiny/clip"


@pytest.fixture
def pulled(mmsearch):
    result = mmsearch("models", "pull", MODEL, "--yes")
    assert result.returncode == 0, result.stderr
    return mmsearch
