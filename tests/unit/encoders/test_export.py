"""Exported two-tower folders: written from torch, compared with it, run without it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mmsearch.encoders import registry
from mmsearch.encoders.export import export
from mmsearch.errors import EncoderError, MissingModel, UsageError
from mmsearch.testing import EncoderContract
from mmsearch.types import Modality

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: nothing can be exported")
pytest.importorskip("transformers", reason="transformers is not installed")

from tests.unit.encoders import transformers_models as models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TEXTS = ["a cat on a sofa", "two dogs run", "rain and wind and rain " * 20]


@pytest.fixture(scope="module")
def exported(folder, tmp_path_factory):
    """An exported open_clip model."""
    place = tmp_path_factory.mktemp("exported") / "model"
    assert export(f"open_clip:local-dir:{folder}", str(place)) == f"onnx:{place}"
    return place


class TestContract(EncoderContract):
    @pytest.fixture(autouse=True)
    def _exported(self, exported):
        self.exported = exported

    def make(self):
        return registry.load(f"onnx:{self.exported}")


def cosines(one, other, batch, modality):
    return (one.encode(batch, modality) * other.encode(batch, modality)).sum(axis=1)


def pictures(encoder, count=4):
    size = encoder.spec.image.size
    return list(np.random.default_rng(1).integers(0, 256, (count, size, size, 3), np.uint8))


def test_it_is_the_model(exported, encoder):
    ours = registry.load(f"onnx:{exported}")
    assert (ours.spec.image, ours.spec.dim) == (encoder.spec.image, encoder.spec.dim)
    assert cosines(ours, encoder, pictures(encoder), Modality.IMAGE).min() >= 0.9999
    assert cosines(ours, encoder, TEXTS, Modality.TEXT).min() >= 0.9999


def test_it_runs_without_torch(exported):
    program = (
        "import sys, numpy as np; from mmsearch.encoders import registry; from mmsearch.types import Modality\n"
        "encoder = registry.load(sys.argv[1]); encoder.encode(['a cat'], Modality.TEXT)\n"
        "encoder.encode([np.zeros((32, 32, 3), np.uint8)], Modality.IMAGE)\n"
        "print({'torch', 'transformers', 'open_clip'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, f"onnx:{exported}"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("kind", ["siglip", "chinese_clip"])
def test_towers_that_are_no_clip_are_onnx(tmp_path, kind):
    name = f"hf:{models.save(models.MODELS[kind], tmp_path / kind)}"
    encoder, ours = registry.load(name), registry.load(export(name, str(tmp_path / "out")))
    assert (tmp_path / "out" / "textual" / "model.onnx").exists()
    assert cosines(ours, encoder, pictures(encoder), Modality.IMAGE).min() >= 0.9999
    assert cosines(ours, encoder, TEXTS, Modality.TEXT).min() >= 0.9999


@pytest.mark.parametrize(
    "file", ["config.json", "visual/preprocess_cfg.json", "visual/model.onnx", "textual/settings.json"]
)
def test_a_folder_that_is_not_whole(exported, tmp_path, file):
    import shutil

    shutil.copytree(exported, tmp_path / "m")
    (tmp_path / "m" / file).write_bytes(b"{")
    with pytest.raises(MissingModel, match=r"onnx:.*(not whole|damaged)"):
        encoder = registry.load(f"onnx:{tmp_path / 'm'}")
        encoder.encode(pictures(encoder, 1), Modality.IMAGE)
        encoder.encode(["a cat"], Modality.TEXT)


def test_another_file_is_another_space(exported, tmp_path):
    import shutil

    shutil.copytree(exported, tmp_path / "m")
    first = registry.load(f"onnx:{tmp_path / 'm'}").spec.space
    assert first == registry.load(f"onnx:{exported}").spec.space
    facts = json.loads((tmp_path / "m" / "visual" / "preprocess_cfg.json").read_text())
    (tmp_path / "m" / "visual" / "preprocess_cfg.json").write_text(json.dumps(facts | {"mean": [0.5, 0.5, 0.5]}))
    assert registry.load(f"onnx:{tmp_path / 'm'}").spec.space != first


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("clap", UsageError, "no tower for pictures"),
        ("align", EncoderError, r"to a tensor of \(3, 24, 24\)"),  # cut out of the resized picture
        ("siglip2", EncoderError, r"to a tensor of \(16, 192\)"),  # patches
        ("pe_av", EncoderError, "as frames of a video"),
    ],
)
def test_models_that_say_why_they_can_not_be_exported(tmp_path, kind, error, message):
    name = f"hf:{models.save(models.MODELS[kind], tmp_path / kind)}"
    with pytest.raises(error, match=message):
        export(name, str(tmp_path / "out"))
    assert set(os.listdir(tmp_path)) == {"cache", kind}


def test_what_can_not_be_exported(folder, tmp_path):
    with pytest.raises(UsageError, match="does not run in torch"):
        export("mini", str(tmp_path / "a"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        export(f"open_clip:local-dir:{folder}", str(tmp_path / "full"))
    assert sorted(os.listdir(tmp_path)) == ["full"]


def test_names_and_devices(exported, tmp_path):
    with pytest.raises(MissingModel, match="check the path"):
        registry.load(f"onnx:{tmp_path}/none")
    with pytest.raises(UsageError, match="use --device cpu"):
        registry.load(f"onnx:{exported}", "cuda:0")
