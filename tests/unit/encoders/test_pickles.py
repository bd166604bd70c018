"""Weights in torch's own files: plain tensors load; what could run code does not, unless the user says so."""

import os

import numpy as np
import pytest
from typer.testing import CliRunner

from mmsearch.cli.app import app
from mmsearch.encoders import registry
from mmsearch.types import Modality

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")

from tests.unit.encoders import clips  # noqa: E402
from tests.unit.encoders import transformers_models as models  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
FAMILIES = ["open_clip", "hf", "st"]


def traced(path):
    """What the payload runs: a trace on the disk, and a tensor, so that the file still holds tensors alone."""
    os.makedirs(path, exist_ok=True)
    return torch.zeros(1)


class Payload:
    """Runs code when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return traced, (str(self.path),)


def make(family, place):
    """A model with safetensors; its name, that file, and the torch file that is read in its place."""
    if family == "open_clip":
        clips.save(place / "m")
        return f"open_clip:local-dir:{place / 'm'}", place / "m" / "open_clip_model.safetensors", place / "m" / "m.bin"
    models.save(models.clip, place / "m")
    if family == "st":
        package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
        package.SentenceTransformer(str(place / "m")).save(str(place / "m"), create_model_card=False)
    return f"{family}:{place / 'm'}", place / "m" / "model.safetensors", place / "m" / "pytorch_model.bin"


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_tensors_load_and_pickles_only_with_the_flag(tmp_path, monkeypatch, family):
    from safetensors.torch import load_file

    name, safe, torch_file = make(family, tmp_path)
    question = ["a cat on a sofa"]
    expected = registry.load(name).encode(question, Modality.TEXT)
    state, ran = load_file(safe), tmp_path / "ran"
    os.remove(safe)
    torch.save(state, torch_file)
    # To the last bit but one: where tensors lie in memory decides which kernels sum them.
    np.testing.assert_allclose(registry.load(name).encode(question, Modality.TEXT), expected, atol=1e-6)

    # open_clip takes what stands under "state_dict"; transformers ignores a tensor that the class has no place for.
    loaded = {"state_dict": state, "more": Payload(ran)} if family == "open_clip" else state | {"more": Payload(ran)}
    torch.save(loaded, torch_file)
    (tmp_path / "photos").mkdir()
    clips.photo().save(tmp_path / "photos" / "1.png")
    monkeypatch.setenv("MMSEARCH_LIBRARY", str(tmp_path / "library"))
    command = ["index", str(tmp_path / "photos"), "--model", name, "--device", "cpu"]
    refused = CliRunner().invoke(app, command)
    assert refused.exit_code == 14
    assert "needs pickle" in refused.stderr and "safetensors" in refused.stderr
    assert not ran.exists() and not (tmp_path / "library").exists()

    monkeypatch.setenv("MMSEARCH_ALLOW_PICKLE", "1")
    allowed = CliRunner().invoke(app, command)
    if family == "open_clip":
        assert allowed.exit_code == 0, allowed.output
        np.testing.assert_array_equal(registry.load(name).encode(question, Modality.TEXT), expected)
    else:  # transformers reads plain tensors, whatever is asked of it
        assert allowed.exit_code == 14 and not ran.exists()
        torch.load(torch_file, weights_only=False)
    assert ran.exists()  # the null control: unpickled, it does run
