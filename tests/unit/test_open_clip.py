"""The open_clip encoder on small models with random weights, saved in the real layouts and loaded by the real code."""

import io
import json
import os
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmsearch.encoders import registry
from mmsearch.encoders.device import resolve
from mmsearch.errors import EncoderError, MissingExtra, MissingModel, UsageError
from mmsearch.media.decode import decode
from mmsearch.media.files import Source
from mmsearch.testing import EncoderContract
from mmsearch.types import ImageInput, Modality, check_unit_rows

torch = pytest.importorskip("torch", reason="torch is not installed: no open_clip")
open_clip = pytest.importorskip("open_clip", reason="open_clip is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no reference to compare with")

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
MODEL = {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a cat on a sofa", "一只猫", "", "RAIN, rain & wind " * 40]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def connections(monkeypatch):
    """No test of this file may open a connection; the list says which were tried."""
    tried = []

    def refuse(*arguments, **options):
        tried.append(arguments)
        raise OSError("no connection in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tried
    assert not tried


def save(folder, model=MODEL, preprocess=None, seed=0, file="open_clip_model.safetensors"):
    """A model with random weights as a folder in open_clip's layout."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": preprocess or {}}))
    torch.manual_seed(seed)
    state = open_clip.create_model(f"local-dir:{folder}", load_weights=False, pretrained_text=False).state_dict()
    # Random weights of the initial size leave all vectors alike: larger ones make inputs count.
    state = {key: (value * 1.5 if value.is_floating_point() else value).contiguous() for key, value in state.items()}
    if file.endswith(".safetensors"):
        save_file(state, folder / file)
    else:
        torch.save(state, folder / file)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def encoder(folder):
    return registry.load(f"open_clip:local-dir:{folder}")


def photo(width=90, height=70, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def prepared(image, encoder):
    """The picture as a file, through the decoder that indexing uses."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return decode(Source(buffer.getvalue(), bytes(32), buffer.tell(), 0, 0), encoder.spec).pieces[0].content


def photos(encoder, count=5):
    return [prepared(photo(60 + 9 * i, 80, seed=i), encoder) for i in range(count)]


def reference(name, images, texts, pretrained=None, **options):
    """The package's own loading, preprocessing and forward pass: unit rows of the pictures and of the texts."""
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained, **options)
    model.eval()
    with torch.no_grad():
        pictures = model.encode_image(torch.stack([transform(image) for image in images]), normalize=True)
        words = model.encode_text(open_clip.get_tokenizer(name)(texts), normalize=True)
    return pictures.numpy(), words.numpy()


def assert_parity(encoder, name, atol=1e-4, **options):
    # At these sizes the decoder rounds every value as the package does; test_image_reference measures all others.
    images = [photo(), photo(64, 96, 1), photo(32, 32, 2), photo(20, 100, 3)]
    pictures, words = reference(name, images, TEXTS, **options)
    ours = encoder.encode([prepared(image, encoder) for image in images], Modality.IMAGE)
    np.testing.assert_allclose(ours, pictures, atol=atol)
    np.testing.assert_allclose(encoder.encode(TEXTS, Modality.TEXT), words, atol=atol)
    # Parity would mean little if every input had the same vector.
    assert (pictures @ pictures.T).min() < 0.99
    assert (words @ words.T).min() < 0.99


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
        assert_parity(registry.load(f"open_clip:local-dir:{folder}"), f"local-dir:{folder}")

    def test_a_text_tower_and_tokenizer_of_hugging_face(self, tmp_path):
        folder = tmp_path / "m"
        save(folder, hugging_face_text(folder))
        encoder = registry.load(f"open_clip:local-dir:{folder}")
        assert_parity(encoder, f"local-dir:{folder}")
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


def load_bf16(folder):
    from mmsearch.encoders.open_clip import load

    return load(f"open_clip:local-dir:{folder}", precision="bf16")


def hugging_face_text(folder):
    """A small BERT in the folder: its configuration, and a tokenizer of a few words."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "on", "sofa", "rain", "wind", "&", ",", "猫"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    small = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertConfig(vocab_size=len(words), **small).save_pretrained(folder)
    text = {"hf_model_name": str(folder), "hf_tokenizer_name": str(folder), "context_length": 24}
    return MODEL | {"text_cfg": text | {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}}


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
        check_unit_rows(encoder.encode([os.fsdecode(b"caf\xe9")], Modality.TEXT))


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


@pytest.fixture
def tag(monkeypatch, tmp_path, folder):
    """``tiny/test`` as an architecture and tag of open_clip, its weights in an empty Hugging Face cache's place."""
    from huggingface_hub import constants
    from open_clip import factory, pretrained

    facts = {"hf_hub": "me/tiny/", "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    facts |= {"interpolation": "bilinear", "resize_mode": "squash", "quick_gelu": True}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODEL)
    monkeypatch.setitem(pretrained._PRETRAINED, "tiny", {"test": facts})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return facts


def put_in_cache(cache, folder, *files):
    """Files of a model's folder as the Hugging Face cache keeps those of the repository ``me/tiny``."""
    repo = cache / "models--me--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_bytes((folder / file).read_bytes())


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
    @pytest.mark.parametrize(
        ("name", "call"),
        [
            ("open_clip:tiny/test", "o.create_model('tiny', 'test'); o.get_tokenizer('tiny')"),
            ("open_clip:hf-hub:me/tiny", "o.create_model('hf-hub:me/tiny'); o.get_tokenizer('hf-hub:me/tiny')"),
        ],
    )
    def test_what_is_not_in_the_cache_is_not_fetched(self, tag, name, call):
        with pytest.raises(MissingModel) as caught:
            registry.load(name)
        assert f'fetch it with: python -c "import open_clip as o; {call}"' in str(caught.value)

    def test_nor_is_the_configuration_of_a_text_tower(self, tag, tmp_path, folder, monkeypatch):
        from open_clip import factory

        text = {"hf_model_name": "me/bert", "hf_tokenizer_name": "me/bert", "context_length": 24}
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODEL | {"text_cfg": text})
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors")
        with pytest.raises(MissingModel, match=r"can't be built .*fetch it with: python -c"):
            registry.load("open_clip:tiny/test")

    def test_nor_is_a_tokenizer(self, tag, tmp_path, folder, monkeypatch):
        from open_clip import factory

        text = TEXT | {"hf_tokenizer_name": "me/words"}
        monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", MODEL | {"text_cfg": text})
        put_in_cache(tmp_path / "hub", folder, "open_clip_model.safetensors")
        with pytest.raises(MissingModel, match=r"can't be built .*fetch it with: python -c"):
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
