"""The open_clip encoder on small models with random weights, saved in the real layouts and loaded by the real code."""

import os

import numpy as np
import pytest

from mmsearch.encoders import registry
from mmsearch.encoders.device import resolve
from mmsearch.errors import EncoderError, UsageError
from mmsearch.testing import EncoderContract
from mmsearch.types import ImageInput, Modality, check_unit_rows

torch = pytest.importorskip("torch", reason="torch is not installed: no open_clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no reference to compare with")

from tests.unit.encoders.clips import (  # noqa: E402
    MODEL,
    TEXT,
    TEXTS,
    VISION,
    assert_counts,
    assert_parity,
    hugging_face_text,
    load_bf16,
    photos,
    save,
)


class TestParity:
    def test_default_preprocessing(self, folder, encoder):
        assert encoder.spec.image == ImageInput(size=32, fit="crop", resample="bicubic", fill=0)
        assert_parity(encoder, f"local-dir:{folder}")

    @pytest.mark.parametrize(
        ("preprocess", "wanted"),
        [
            (
                {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"},
                ImageInput(size=32, fit="squash", resample="bilinear"),
            ),
            ({"resize_mode": "longest", "fill_color": 90}, ImageInput(size=32, fit="pad", fill=90)),
        ],
        ids=["squash", "longest"],
    )
    def test_preprocessing_comes_from_the_model(self, tmp_path, preprocess, wanted):
        folder = save(tmp_path / "m", preprocess=preprocess)
        encoder = registry.load(f"open_clip:local-dir:{folder}")
        assert encoder.spec.image == wanted
        assert_parity(encoder, f"local-dir:{folder}")

    @pytest.mark.parametrize("file", ["open_clip_pytorch_model.bin", "model.safetensors", "epoch_9.pth"])
    def test_every_kind_of_weight_file(self, tmp_path, file):
        folder = save(tmp_path / "m", file=file)
        assert_parity(registry.load(f"open_clip:local-dir:{folder}"), f"local-dir:{folder}")

    @pytest.mark.parametrize(
        "model",
        [
            MODEL | {"quick_gelu": True},
            MODEL | {"custom_text": True, "text_cfg": TEXT | {"no_causal_mask": True, "pool_type": "last"}},
            MODEL | {"vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}},
            MODEL
            | {
                "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "", "timm_proj": "linear", "image_size": 32},
                "custom_text": True,
            },
            MODEL
            | {
                "custom_text": True,
                "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
                "vision_cfg": VISION | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
                "multimodal_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
                | {"attn_pooler_heads": 2},
            },
        ],
        ids=["quickgelu", "custom-text", "resnet", "timm", "coca"],
    )
    def test_families_of_architectures(self, tmp_path, model):
        folder = save(tmp_path / "m", model)
        encoder = registry.load(f"open_clip:local-dir:{folder}")
        assert_parity(encoder, f"local-dir:{folder}")
        assert_counts(encoder)

    def test_a_text_tower_and_tokenizer_of_hugging_face(self, tmp_path):
        folder = tmp_path / "m"
        save(folder, hugging_face_text(folder))
        encoder = registry.load(f"open_clip:local-dir:{folder}")
        assert_parity(encoder, f"local-dir:{folder}")
        assert_counts(encoder)
        rounded = load_bf16(folder)
        texts = [encoder.encode(TEXTS, Modality.TEXT), rounded.encode(TEXTS, Modality.TEXT)]
        assert (texts[0] * texts[1]).sum(axis=1).min() > 0.999

    def test_bf16_is_close_and_has_the_same_space(self, folder, encoder):
        rounded = load_bf16(folder)
        assert rounded.spec == encoder.spec
        for batch, modality in ((photos(encoder), Modality.IMAGE), (TEXTS, Modality.TEXT)):
            exact, close = encoder.encode(batch, modality), rounded.encode(batch, modality)
            check_unit_rows(close)
            assert not np.array_equal(exact, close)
            assert (exact * close).sum(axis=1).min() > 0.999


class TestContract(EncoderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, folder):
        self.folder = folder

    def make(self):
        return registry.load(f"open_clip:local-dir:{self.folder}")


class TestInputs:
    @pytest.mark.parametrize(
        "picture",
        [np.zeros((31, 32, 3), np.uint8), np.zeros((32, 32, 3), np.float32), np.zeros((32, 32), np.uint8), "a word"],
        ids=["size", "type", "grey", "text"],
    )
    def test_unprepared_pictures_are_refused(self, encoder, picture):
        with pytest.raises(EncoderError, match=r"uint8 \(32, 32, 3\)"):
            encoder.encode([picture], Modality.IMAGE)

    def test_bytes_that_are_no_text_do_not_raise(self, encoder):
        rows = encoder.encode([os.fsdecode(b"caf\xe9")], Modality.TEXT)
        check_unit_rows(rows)
        assert rows.shape == (1, encoder.spec.dim)


class TestDevice:
    def test_auto_is_cuda_where_there_is_one(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert resolve("cpu") == resolve("auto") == "cpu"
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert (resolve("auto"), resolve("cuda:1")) == ("cuda:0", "cuda:1")
        with pytest.raises(UsageError, match="use --device auto or cpu or cuda:0 or cuda:1"):
            resolve("cuda:2")

    @pytest.mark.parametrize("device", ["cuda:99", "cuda", "gpu", "mps", ""])
    def test_a_device_that_is_not_here(self, folder, device):
        with pytest.raises(UsageError, match="use --device auto or cpu"):
            registry.load(f"open_clip:local-dir:{folder}", device)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
    def test_cuda_is_bf16_and_close_to_the_cpu(self, folder, encoder):
        on_gpu = registry.load(f"open_clip:local-dir:{folder}", "auto")
        assert on_gpu.spec == encoder.spec
        for batch, modality in ((photos(encoder), Modality.IMAGE), (TEXTS, Modality.TEXT)):
            cosines = (encoder.encode(batch, modality) * on_gpu.encode(batch, modality)).sum(axis=1)
            assert cosines.min() > 0.999
