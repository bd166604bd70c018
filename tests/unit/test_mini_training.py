"""The recipe's own parts: small, without the data folder unless a test is marked so."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the training package needs torch")
onnx = pytest.importorskip("onnx", reason="writing graphs needs onnx")

from mmsearch.encoders.mini import audio  # noqa: E402
from mmsearch.encoders.mini.runtime import Session  # noqa: E402
from mmsearch.training import data, export, measure  # noqa: E402
from mmsearch.training.crops import crops  # noqa: E402
from mmsearch.training.tflite import Layer  # noqa: E402
from mmsearch.training.towers import Head, Root, SameConv, TextTrunk, Tower, pool  # noqa: E402
from mmsearch.types import ImageInput  # noqa: E402


def need(folder: str) -> None:
    if not (data.data_folder() / folder).exists():
        pytest.skip(f"no folder {data.data_folder() / folder}: set MMSEARCH_DATA")


def test_hit_at_counts_the_best_right_answer_and_ties_against_the_model():
    similarity = np.array([[0.9, 0.1, 0.5], [0.2, 0.8, 0.8], [0.3, 0.2, 0.1]], np.float32)
    right = np.array([[False, False, True], [False, True, False], [True, True, False]])
    # Ranks: 2 (0.9 is ahead), 2 (the tie counts as ahead), 1.
    assert measure.hit_at(similarity, right, (1, 2)) == pytest.approx([100 / 3, 100])


@pytest.mark.parametrize(("size", "stride"), [(8, 1), (8, 2), (7, 2)])
def test_same_padding_is_tensorflows(size, stride):
    kernel = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
    conv = SameConv(Layer(kernel, np.zeros(1, np.float32), stride, 1, None))
    x = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
    out = -(-size // stride)
    total = max((out - 1) * stride + 3 - size, 0)
    padded = np.pad(x, (total // 2, total - total // 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3))[::stride, ::stride]
    expected = np.einsum("hwij,ij->hw", windows, kernel[0, 0])[:out, :out]
    assert conv(torch.from_numpy(x)[None, None])[0, 0].detach().numpy() == pytest.approx(expected, abs=1e-4)


class Small(torch.nn.Module):
    """A tower of two strided convolutions: exported padding, kernels and products in a second."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(1)
        shapes = [(8, 3, 3, 3, 1), (8, 1, 3, 3, 8)]
        self.convs = torch.nn.Sequential(
            *(
                SameConv(Layer(rng.normal(size=s[:4]).astype(np.float32), np.zeros(8, np.float32), 2, s[4], 6.0))
                for s in shapes
            )
        )

    def forward(self, x):
        return self.convs(x / 127.5 - 1).mean((2, 3))


def unit_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1)


def test_written_graphs_agree_with_torch_in_every_format(tmp_path):
    torch.manual_seed(0)
    tower = Tower(Small(), Head(8, Root(), hidden=16)).eval()
    photos = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    whole = tmp_path / "whole.onnx"
    export.write_onnx(export.ImageGraph(tower, mirrored=True), torch.from_numpy(photos[:2]), whole)
    assert "Pad" not in {node.op_type for node in onnx.load(str(whole)).graph.node}
    with torch.no_grad():
        x = torch.from_numpy(photos).permute(0, 3, 1, 2).float()
        expected = torch.nn.functional.normalize(tower(x) + tower(x.flip(3)), dim=1).numpy()
    assert unit_cosines(Session(str(whole), 1)(photos), expected) == pytest.approx(1, abs=1e-5)
    for write, tolerance in ((export.halve_onnx, 1e-3), (export.narrow_onnx, 1e-2)):
        write(whole, tmp_path / "small.onnx")
        assert unit_cosines(Session(str(tmp_path / "small.onnx"), 1)(photos), expected) == pytest.approx(
            1, abs=tolerance
        )


def test_quantised_rows_are_within_half_a_step():
    matrix = np.random.default_rng(0).normal(size=(5, 40)).astype(np.float32)
    matrix[3] = 0
    rows, scales = export.quantise_rows(matrix)
    assert rows.dtype == np.int8
    assert np.all(np.abs(rows * scales[:, None] - matrix) <= scales[:, None] / 2 + 1e-7)


def test_the_numpy_text_tower_is_the_torch_one(tmp_path):
    from mmsearch.encoders.mini.text import TextTower
    from mmsearch.training.minilm import pad

    torch.manual_seed(0)
    vocabulary = sorted([b"", b"[CLS]", b"[SEP]", b"[UNK]", b"a", b"cat", b"dog", b"##s", "猫".encode()])
    trunk, head = (
        TextTrunk(len(vocabulary), width=24, layers=2, heads=4, positions=16).eval(),
        Head(24, torch.nn.LayerNorm(24), hidden=8).eval(),
    )
    for matrix in (*trunk.parameters(), *head.parameters()):
        if matrix.ndim == 2 and matrix is not trunk.positions:  # so that rounding to int8 changes nothing
            rows, scales = export.quantise_rows(matrix.detach().numpy())
            matrix.data.copy_(torch.from_numpy(rows * scales[:, None]))
    export.write_text(trunk, head, vocabulary, tmp_path / "text.safetensors")
    tower = TextTower(str(tmp_path / "text.safetensors"), layers=2, heads=4, longest=16)
    texts = ["a cat", "dogs", "猫 a", "a dog a cat a dog"]
    with torch.no_grad():
        states = trunk(pad([tower.tokenize(text) for text in texts]))
        expected = torch.nn.functional.normalize(head(states), dim=1).numpy()
    assert tower.encode(texts) == pytest.approx(expected, abs=1e-4)


def test_crops_are_of_the_asked_size_and_differ():
    photos = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    views = crops(np.repeat(photos[:1], 2, 0), 32, np.random.default_rng(1))
    assert views.shape == (2, 3, 32, 32)
    assert views.min() >= 0
    assert views.max() <= 255
    assert not torch.equal(views[0], views[1])


def test_patches_of_any_length_and_loud_patches_win():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000 * 3) / 16000).astype(np.float32)
    assert audio.patches(tone[:100]).shape == (1, 96, 64)
    assert audio.patches(np.zeros(0, np.float32)).shape == (1, 96, 64)
    assert np.isfinite(audio.patches(np.zeros(16000, np.float32))).all()
    mixed = np.concatenate([tone[:16000], np.zeros(32000, np.float32)])
    clip = torch.from_numpy(audio.patches(mixed))
    one_hot = torch.eye(len(clip))
    weights = pool(one_hot, clip)[0]
    assert weights[:3].sum() > 0.99  # the first three patches hear the tone, the others silence


def test_a_tone_is_loudest_in_its_own_mel_band():
    bands = audio.patches(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32))[0].mean(0)
    mel = 1127 * np.log1p(np.array([125, 1000, 7500]) / 700)
    expected = (mel[1] - mel[0]) / (mel[2] - mel[0]) * 65 - 1
    assert abs(int(bands.argmax()) - expected) < 1


@pytest.mark.data
def test_the_teachers_layers_give_the_teachers_answers():
    need("teachers")
    need("imagenet")
    from mmsearch.training.model import image_teacher
    from mmsearch.training.towers import MobileNetV2

    layers = image_teacher()
    assert len(layers) == 53
    trunk, last = MobileNetV2(layers).eval(), layers[-1]
    photos = data.imagenet_photos()[::4]
    pixels = np.stack([measure.read_photo(path, ImageInput(size=224)) for path, _ in photos])
    with torch.no_grad():
        features = trunk(torch.from_numpy(pixels).permute(0, 3, 1, 2).float()).numpy()
    top = (features @ last.weight.reshape(1001, -1).T + last.bias).argmax(1) - 1
    assert (top == np.array([label for _, label in photos])).mean() >= 0.75


@pytest.mark.data
def test_the_mel_front_end_is_the_teachers():
    need("teachers")
    from mmsearch.training.tflite import read_layers

    mel = read_layers(str(data.data_folder() / "teachers" / "yamnet.tflite"))[0]
    # The file holds it in int8: half a step is 0.004.
    assert np.abs(mel.weight.T - audio._mel_matrix()).max() < 0.005


@pytest.mark.data
def test_nothing_of_val_is_trained_on():
    need("flickr8k")
    train, val = ({photo.path.name for photo in data.flickr8k(split)} for split in ("train", "val"))
    assert not train & val
    # A few short captions ("A man rides a bike .") were written for photos of both splits.
    texts = {text for text, _ in data.teacher_sentences([])}
    shared = [text for photo in data.flickr8k("val") for text in photo.en if text in texts]
    assert len(shared) < 100
