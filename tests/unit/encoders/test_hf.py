"""Dual encoders of transformers: random weights, saved as a repository is, loaded by the public path."""

import json
import os

import numpy as np
import pytest

from mmsearch.encoders import registry
from mmsearch.errors import EncoderError, MissingExtra, MissingModel, UsageError
from mmsearch.testing import EncoderContract
from mmsearch.types import ImageInput, Modality

torch = pytest.importorskip("torch", reason="torch is not installed")
tf = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no processor of pictures")

from tests.unit.encoders import transformers_models as models  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
TEXTS = ["a cat on a sofa", "two dogs run", "一只猫", "rain and wind and rain " * 20]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each kind of model, saved once."""
    saved = {}

    def of(kind):
        if kind not in saved:
            saved[kind] = models.save(models.MODELS[kind], tmp_path_factory.mktemp("hf") / kind)
        return saved[kind]

    return of


def unit(found):
    rows = found if torch.is_tensor(found) else found.pooler_output
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def reference(folder, pictures=(), texts=(), sounds=()):
    """The package's own way: model, processor and forward pass as its documentation shows them."""
    config = tf.AutoConfig.from_pretrained(folder)
    model = getattr(tf, config.architectures[0]).from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    padding = "max_length" if config.model_type.startswith("siglip") else True
    found = {}
    with torch.no_grad():
        if texts:
            longest = processor.tokenizer.model_max_length
            tokens = processor.tokenizer(
                texts, padding=padding, truncation=True, max_length=longest, return_tensors="pt"
            )
            found[Modality.TEXT] = unit(model.get_text_features(**tokens))
        if pictures:
            found[Modality.IMAGE] = unit(
                model.get_image_features(**processor.image_processor(images=list(pictures), return_tensors="pt"))
            )
        if sounds:
            rate = processor.feature_extractor.sampling_rate
            inputs = processor.feature_extractor(list(sounds), sampling_rate=rate, return_tensors="pt")
            found[Modality.AUDIO] = unit(model.get_audio_features(**inputs))
    return found


class Contract(EncoderContract):
    kind = ""

    @pytest.fixture(autouse=True)
    def _folders(self, folders):
        self.folders = folders

    def make(self):
        return registry.load(f"hf:{self.folders(self.kind)}")

    def inputs(self, encoder, modality, count):
        found = super().inputs(encoder, modality, count)
        if modality is Modality.TEXT:  # the tiny vocabularies know few words: lengths and orders tell texts apart
            return [" ".join((models.WORDS * 2)[i % 13 : i % 13 + 2 + i // 13]) for i in range(count)]
        return found


class TestClip(Contract):
    kind = "clip"


class TestSiglip(Contract):
    kind = "siglip"


class TestChineseClip(Contract):
    kind = "chinese_clip"


class TestClap(Contract):
    kind = "clap"


class TestPictures:
    @pytest.mark.parametrize(
        ("kind", "wanted"),
        [
            ("clip", ImageInput(size=32, fit="crop", resample="bicubic")),
            ("siglip", ImageInput(size=32, fit="squash", resample="bicubic")),
            ("align", ImageInput(size=32, fit="squash", resample="bilinear")),
            ("siglip2", ImageInput(size=32, fit="squash", resample="bilinear")),
        ],
    )
    def test_the_resize_comes_from_the_processor(self, folders, kind, wanted):
        assert registry.load(f"hf:{folders(kind)}").spec.image == wanted

    @pytest.mark.parametrize("kind", ["clip", "siglip", "align"])
    def test_real_sizes_go_through_the_decoder(self, folders, kind):
        """Resized by Pillow instead of torchvision: a grey level here and there, no other crop."""
        from tests.unit.encoders.clips import prepared

        encoder = registry.load(f"hf:{folders(kind)}")
        shapes = [(90, 70), (64, 128), (200, 40)]
        pictures = [models.photo(i, *shape) for i, shape in enumerate(shapes)]
        expected = reference(folders(kind), pictures)[Modality.IMAGE]
        for i, picture in enumerate(pictures):
            row = encoder.encode([prepared(picture, encoder)], Modality.IMAGE)[0]
            assert row @ expected[i] > 0.999

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"size": {"height": 32, "width": 64}}, "only square"),
            ({"resample": 1}, "neither bilinear"),
            ({"size": {"longest_edge": 32}}, "can't prepare pictures of size"),
        ],
    )
    def test_pictures_that_can_not_be_prepared(self, tmp_path, change, message):
        folder = models.save(models.siglip, tmp_path / "m")
        settings = folder / "processor_config.json"
        facts = json.loads(settings.read_text())
        facts["image_processor"] |= change
        settings.write_text(json.dumps(facts))
        with pytest.raises(UsageError, match=message):
            registry.load(f"hf:{folder}")


class TestSounds:
    @pytest.mark.parametrize("fusion", [False, True])
    def test_a_long_sound_is_the_mean_of_its_parts_and_never_random(self, tmp_path, fusion):
        folder = models.save(lambda place: models.clap(place, fusion), tmp_path / "m")
        encoder = registry.load(f"hf:{folder}")
        long = models.sound(1, 2.5)
        rows = encoder.encode([long, long[:8000]], Modality.AUDIO)
        np.testing.assert_array_equal(rows, encoder.encode([long, long[:8000]], Modality.AUDIO))
        parts = encoder.encode([long[:8000], long[8000:16000], long[16000:]], Modality.AUDIO)
        mean = parts.mean(axis=0) / np.linalg.norm(parts.mean(axis=0))
        np.testing.assert_allclose(rows[0], mean, atol=1e-5)

    def test_the_window_is_what_the_model_hears(self, folders):
        spec = registry.load(f"hf:{folders('clap')}").spec
        assert (spec.audio_rate, spec.audio_window, spec.image) == (8000, 1.0, None)


class TestSpace:
    def test_the_same_files_make_the_same_space_wherever_they_lie(self, folders, tmp_path):
        here = registry.load(f"hf:{folders('clip')}").spec
        assert registry.load(f"hf:{models.save(models.clip, tmp_path / 'copy')}").spec.space == here.space
        assert registry.load(f"hf:{models.save(models.clip, tmp_path / 'other', seed=1)}").spec.space != here.space

    def test_another_tokenizer_is_another_space(self, tmp_path):
        folder = models.save(models.clip, tmp_path / "m")
        first = registry.load(f"hf:{folder}").spec.space
        tokens = json.loads((folder / "tokenizer.json").read_text())
        tokens["model"]["merges"] = tokens["model"]["merges"][1:]
        (folder / "tokenizer.json").write_text(json.dumps(tokens))
        assert registry.load(f"hf:{folder}").spec.space != first

    def test_a_repository_in_the_cache(self, folders, tmp_path, monkeypatch):
        from huggingface_hub import constants

        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = tmp_path / "hub" / "models--me--tiny"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(commit)
        (repository / "snapshots").mkdir()
        os.symlink(folders("clip"), repository / "snapshots" / commit)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        assert registry.load("hf:me/tiny").spec.space == registry.load(f"hf:{folders('clip')}").spec.space


class TestMissing:
    def test_what_is_not_here_is_not_fetched(self, monkeypatch, tmp_path):
        from huggingface_hub import constants

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        with pytest.raises(MissingModel, match="mmsearch models pull hf:me/tiny"):
            registry.load("hf:me/tiny")
        with pytest.raises(MissingModel, match="check the path"):
            registry.load(f"hf:{tmp_path}/none")
        with pytest.raises(UsageError, match="is no repository"):
            registry.load("hf:not a repository")

    def test_the_package(self, monkeypatch, folders):
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
        with pytest.raises(MissingExtra, match=r'pip install "mmsearch\[hf\]"'):
            registry.load(f"hf:{folders('clip')}")

    def test_weights_and_settings(self, tmp_path):
        folder = models.save(models.clip, tmp_path / "m")
        os.rename(folder / "model.safetensors", tmp_path / "w")
        with pytest.raises(MissingModel, match="no weights"):
            registry.load(f"hf:{folder}")
        os.rename(tmp_path / "w", folder / "model.safetensors")
        os.remove(folder / "config.json")
        with pytest.raises(MissingModel, match="check the path"):
            registry.load(f"hf:{folder}")

    def test_one_of_several_files_of_weights(self, tmp_path):
        folder = models.save(models.clip, tmp_path / "m", max_shard_size="50KB")
        assert registry.load(f"hf:{folder}").spec.dim == 24
        os.remove(sorted(folder.glob("model-*.safetensors"))[1])
        with pytest.raises(MissingModel, match=r"files of weights are there"):
            registry.load(f"hf:{folder}")

    def test_tensors_that_the_weights_lack_are_never_made_up(self, tmp_path):
        from safetensors.torch import load_file, save_file

        path = models.save(models.clip, tmp_path / "m") / "model.safetensors"
        state = load_file(path)
        del state["text_projection.weight"]
        save_file(state, path, {"format": "pt"})
        with pytest.raises(MissingModel, match=r"lack 1 tensors, text_projection\.weight"):
            registry.load(f"hf:{path.parent}")

    @pytest.mark.parametrize("size", [0, 100, 5000])
    def test_half_a_file(self, tmp_path, size):
        path = models.save(models.clip, tmp_path / "m") / "model.safetensors"
        os.truncate(path, size)
        with pytest.raises(MissingModel, match="can't be loaded"):
            registry.load(f"hf:{path.parent}")

    def test_a_model_without_words_beside_pictures(self, tmp_path):
        folder = tmp_path / "bert"
        folder.mkdir()
        tokens, size = models.bert_tokens(folder)
        tf.BertModel(tf.BertConfig(vocab_size=size, **models.BERT)).save_pretrained(folder)
        tokens.save_pretrained(folder)
        with pytest.raises((UsageError, MissingModel), match="no dual encoder"):
            registry.load(f"hf:{folder}")

    def test_a_modality_that_it_lacks(self, folders):
        with pytest.raises(EncoderError, match="can't encode audio"):
            registry.load(f"hf:{folders('clip')}").encode([models.sound()], Modality.AUDIO)
