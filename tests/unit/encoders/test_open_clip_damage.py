"""Weights and configurations of open_clip that are damaged, foreign, or could run code."""

import json
import os
import pickle

import pytest

from mmsearch.encoders import registry
from mmsearch.errors import MissingModel, UsageError

torch = pytest.importorskip("torch", reason="torch is not installed: no open_clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no reference to compare with")

from tests.unit.encoders.clips import MODEL, VISION, save  # noqa: E402


class Payload:
    """Runs code when it is unpickled: makes the folder ``path``."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class TestDamage:
    @pytest.mark.parametrize(
        ("file", "damage"),
        [
            ("open_clip_model.safetensors", lambda path: os.truncate(path, os.path.getsize(path) // 2)),
            ("open_clip_model.safetensors", lambda path: os.truncate(path, 0)),
            ("open_clip_model.safetensors", lambda path: path.write_bytes(b"no header" * 99)),
            ("model.pt", lambda path: os.truncate(path, os.path.getsize(path) // 2)),
            ("model.pt", lambda path: os.truncate(path, 0)),
            ("model.pt", lambda path: path.write_bytes(b"hello world" * 99)),
            ("model.pt", lambda path: torch.save({}, path)),
            ("model.pt", lambda path: torch.save([1, 2], path)),
            ("model.pt", lambda path: torch.save({"a": torch.ones(3)}, path)),
        ],
        ids=[
            *("cut", "empty", "garbage", "torch-cut", "torch-empty", "torch-garbage"),
            *("no-tensors", "a-list", "other-tensors"),
        ],
    )
    def test_damaged_weights(self, tmp_path, file, damage):
        path = save(tmp_path / "m", file=file) / file
        damage(path)
        with pytest.raises(MissingModel, match=f"{file} is damaged, or not of this architecture"):
            registry.load(f"open_clip:local-dir:{path.parent}")

    def test_weights_of_another_architecture(self, tmp_path):
        path = save(tmp_path / "m")
        config = json.loads((path / "open_clip_config.json").read_text())
        config["model_cfg"]["embed_dim"] = 40
        (path / "open_clip_config.json").write_text(json.dumps(config))
        with pytest.raises(MissingModel, match=r"not of this architecture .*size mismatch"):
            registry.load(f"open_clip:local-dir:{path}")

    def test_pickles_are_refused_and_run_nothing(self, tmp_path):
        path = save(tmp_path / "m", file="model.pt") / "model.pt"
        state, trace = torch.load(path, weights_only=True), tmp_path / "ran"
        torch.save({"state_dict": state, "more": Payload(trace)}, path)
        for again in (False, True):
            if again:
                path.write_bytes(pickle.dumps(Payload(trace)))
            with pytest.raises(MissingModel, match=r"model\.pt needs pickle, .* safetensors"):
                registry.load(f"open_clip:local-dir:{path.parent}")
        assert not trace.exists()
        pickle.loads(path.read_bytes())  # the null control: unpickled, it does run
        assert trace.exists()

    @pytest.mark.filterwarnings("ignore:.torch.jit:FutureWarning")  # what writes such a file goes, such files stay
    def test_programs_of_torch_are_refused(self, tmp_path):
        path = save(tmp_path / "m", file="model.pt") / "model.pt"
        torch.jit.script(torch.nn.Linear(2, 2)).save(path)
        with pytest.raises(MissingModel, match=r"model\.pt needs pickle, .* safetensors"):
            registry.load(f"open_clip:local-dir:{path.parent}")

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", '{"model_cfg": {}}', '{"model_cfg": {"embed_dim": 8, "vision_cfg": {}, "text_cfg": 3}}']
    )
    def test_a_broken_configuration(self, tmp_path, folder, text):
        (tmp_path / "open_clip_config.json").write_text(text)
        (tmp_path / "model.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
        with pytest.raises(MissingModel, match="can't be built"):
            registry.load(f"open_clip:local-dir:{tmp_path}")

    @pytest.mark.parametrize(
        ("model", "preprocess", "message"),
        [
            (MODEL | {"vision_cfg": VISION | {"image_size": [32, 64]}}, {}, "pictures of 64x32: only square"),
            (MODEL, {"resize_mode": "stretch"}, "resize_mode 'stretch' is none of"),
        ],
    )
    def test_pictures_that_can_not_be_prepared(self, tmp_path, model, preprocess, message):
        folder = save(tmp_path / "m", model, preprocess)
        with pytest.raises(UsageError, match=message):
            registry.load(f"open_clip:local-dir:{folder}")
