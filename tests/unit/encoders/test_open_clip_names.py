"""open_clip models by name: what is found, what is missing, and which space it is."""

import os
import subprocess
import sys

import pytest

from mmsearch.encoders import registry
from mmsearch.errors import MissingExtra, MissingModel, UsageError
from mmsearch.types import ImageInput

torch = pytest.importorskip("torch", reason="torch is not installed: no open_clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no reference to compare with")

from tests.unit.encoders.clips import MODEL, TEXT, assert_parity, put_in_cache, save  # noqa: E402


class TestSpace:
    def test_the_same_files_make_the_same_space_wherever_they_lie(self, tmp_path, folder, encoder):
        copy = save(tmp_path / "copy")
        assert registry.load(f"open_clip:local-dir:{copy}").spec.space == encoder.spec.space

    @pytest.mark.parametrize(
        "change",
        [
            {"seed": 1},
            {"preprocess": {"mean": [0.5, 0.5, 0.5]}},
            {"preprocess": {"resize_mode": "squash"}},
            {"model": MODEL | {"quick_gelu": True}},
            {"model": MODEL | {"text_cfg": TEXT | {"tokenizer_kwargs": {"clean": "canonicalize"}}}},
        ],
        ids=["weights", "mean", "resize", "activation", "tokenizer"],
    )
    def test_any_change_makes_another(self, tmp_path, encoder, change):
        other = registry.load(f"open_clip:local-dir:{save(tmp_path / 'm', **change)}")
        assert other.spec.space != encoder.spec.space

    def test_the_name_finds_the_model_from_any_folder(self, folder, encoder, monkeypatch, tmp_path):
        monkeypatch.chdir(folder.parent)
        name = registry.load("open_clip:local-dir:tiny").spec.name
        monkeypatch.chdir(tmp_path)
        assert registry.load(name).spec == encoder.spec


class TestNames:
    def test_a_tag_brings_its_preprocessing_and_activation(self, tag, tmp_path, folder):
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors")
        encoder = registry.load("open_clip:tiny/test")
        assert encoder.spec.name == "open_clip:tiny/test"
        assert encoder.spec.image == ImageInput(size=32, fit="squash", resample="bilinear")
        options = {"image_mean": tag["mean"], "image_std": tag["std"], "force_quick_gelu": True}
        options |= {"image_interpolation": "bilinear", "image_resize_mode": "squash"}
        assert_parity(encoder, "tiny", pretrained=str(folder / "open_clip_model.safetensors"), **options)

    def test_a_checkpoint_file(self, tag, tmp_path):
        folder = save(tmp_path / "m", file="epoch_9.pt")
        encoder = registry.load(f"open_clip:tiny/{folder}/epoch_9.pt")
        assert "tiny//" in encoder.spec.name
        assert_parity(encoder, "tiny", pretrained=f"{folder}/epoch_9.pt")

    def test_a_download_of_an_older_release(self, tag, tmp_path, folder):
        tag.update(hf_hub="", url="https://example.invalid/tiny-test.safetensors")
        old = tmp_path / "home" / ".cache" / "clip"
        old.mkdir(parents=True)
        (old / "tiny-test.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
        assert registry.load("open_clip:tiny/test").spec.dim == 48

    def test_a_repository_under_hf_home_in_a_fresh_process(self, tmp_path, folder, encoder):
        """HF_HOME is read once. Offline is a setting of the process, and open_clip makes the root logger print."""
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors", "open_clip_config.json")
        program = (
            "import logging, socket, sys\n"
            "socket.socket.connect = socket.getaddrinfo = lambda *_: sys.exit('connection')\n"
            "from huggingface_hub import constants\n"
            "from mmsearch.encoders import registry\n"
            "space = registry.load('open_clip:hf-hub:me/tiny').spec.space\n"
            "print(space, constants.HF_HUB_OFFLINE, logging.getLogger().handlers)\n"
        )
        environment = os.environ | {"HF_HOME": str(tmp_path)}
        for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
            environment.pop(variable, None)
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (done.stdout.strip(), done.stderr) == (f"{encoder.spec.space} False []", "")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("open_clip:ViT-B-33/openai", r"no architecture 'ViT-B-33': did you mean .*ViT-B-32"),
            ("open_clip:vit-b-32/openai", r"did you mean ViT-B-32 "),
            ("open_clip:", "no architecture ''"),
            ("open_clip:ViT-B-32/laion2b_s34b_b80k", "use laion2b_s34b_b79k"),
            ("open_clip:ViT-B-32", "ViT-B-32 has no weights ''"),
            ("open_clip:hf-hub:not a repository", "is no repository"),
        ],
    )
    def test_unknown_names_offer_the_nearest(self, name, message):
        with pytest.raises(UsageError, match=message):
            registry.load(name)


class TestMissing:
    @pytest.mark.parametrize("name", ["open_clip:tiny/test", "open_clip:hf-hub:me/tiny"])
    def test_what_is_not_in_the_cache_is_not_fetched(self, tag, name):
        with pytest.raises(MissingModel, match=f"mmsearch models pull {name}"):
            registry.load(name)

    def test_nor_is_the_configuration_of_a_text_tower(self, tag, tmp_path, folder, monkeypatch):
        from open_clip import factory

        text = {"hf_model_name": "me/bert", "hf_tokenizer_name": "me/bert", "context_length": 24}
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODEL | {"text_cfg": text})
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors")
        with pytest.raises(MissingModel, match=r"can't be built .*: mmsearch models pull"):
            registry.load("open_clip:tiny/test")

    def test_nor_is_a_tokenizer(self, tag, tmp_path, folder, monkeypatch):
        from open_clip import factory

        text = TEXT | {"hf_tokenizer_name": "me/words"}
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODEL | {"text_cfg": text})
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors")
        with pytest.raises(MissingModel, match=r"can't be built .*: mmsearch models pull"):
            registry.load("open_clip:tiny/test")

    def test_folders_and_files_that_are_not_there(self, tmp_path, folder):
        for name in (f"local-dir:{tmp_path}/none", f"local-dir:{tmp_path}", f"ViT-B-32/{tmp_path}/none.pt"):
            with pytest.raises(MissingModel, match="check the path"):
                registry.load(f"open_clip:{name}")
        (tmp_path / "open_clip_config.json").write_bytes((folder / "open_clip_config.json").read_bytes())
        with pytest.raises(MissingModel, match="no weights"):
            registry.load(f"open_clip:local-dir:{tmp_path}")

    def test_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "open_clip", None)
        with pytest.raises(MissingExtra, match=r'pip install "mmsearch\[clip\]"'):
            registry.load("open_clip:ViT-B-32/openai")

    def test_nothing_heavy_is_imported_before_it_is_needed(self):
        program = (
            "import sys, mmsearch.encoders.open_clip, mmsearch.encoders.device\n"
            "print({'torch', 'open_clip', 'huggingface_hub', 'PIL'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()"
