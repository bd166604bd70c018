"""Small open_clip models with random weights in the real layouts, and the package's own answers to compare with."""

import io
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from mmsearch.media.decode import decode
from mmsearch.media.files import Source
from mmsearch.types import Modality

VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
TEXT = {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2}
MODEL = {"embed_dim": 48, "vision_cfg": VISION, "text_cfg": TEXT}
TEXTS = ["a cat on a sofa", "一只猫", "", "RAIN, rain & wind " * 40]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


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


def put_in_cache(cache, folder, *files):
    """Files of a model's folder as the Hugging Face cache keeps those of the repository ``me/tiny``."""
    repo = cache / "models--me--tiny"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in files:
        (snapshot / file).write_bytes((folder / file).read_bytes())


def assert_counts(encoder):
    """What the encoder says that it reads of a text is what it reads."""
    long = "rain "
    while encoder.count_tokens(long) <= encoder.spec.text_tokens:
        long += long
    assert encoder.count_tokens("a cat") < encoder.spec.text_tokens
    for text, same in (("a cat", False), (long, True)):
        a, b = encoder.encode([text, text + " and wind"], Modality.TEXT)
        assert np.allclose(a, b, atol=1e-5) == same
