"""The shipped model through its public door: what it promises, and its first values."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest

from mmsearch.encoders import mini
from mmsearch.encoders.mini import blas
from mmsearch.errors import EncoderError, MissingModel, UsageError
from mmsearch.types import Encoder, Modality, check_unit_rows

FOLDER = files(mini)
TEXTS = ["a cat on a sofa", "two dogs run in the snow", "一只猫在沙发上", "", "x" * 3000, "rain"]


@pytest.fixture(scope="module")
def encoder():
    return mini.load(threads=1)


@pytest.fixture
def copied(tmp_path):
    """A copy of the package's model files that a test may break."""
    for name in [*json.loads((FOLDER / "manifest.json").read_text("utf-8"))["files"], "manifest.json"]:
        shutil.copy(str(FOLDER / name), tmp_path / name)
    return tmp_path


def photos(n: int, seed: int = 0) -> list[np.ndarray]:
    """Smooth coloured fields with a disc: no photos, but not noise either."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:224, 0:224] / 224
    out = []
    for _ in range(n):
        field = np.stack([rng.random() * 200 + 55 * np.sin(6 * (x * rng.random() + y)) for _ in range(3)], -1)
        field[(x - rng.random()) ** 2 + (y - rng.random()) ** 2 < 0.05] = rng.integers(0, 256, 3)
        out.append(field.clip(0, 255).astype(np.uint8))
    return out


def tone(hertz: float, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


INPUTS = {
    Modality.TEXT: TEXTS,
    Modality.IMAGE: photos(5),
    Modality.AUDIO: [tone(440, 1), tone(880, 0.2), tone(220, 5), np.zeros(16000, np.float32)],
}


def test_it_is_an_encoder_of_words_photos_and_sounds(encoder):
    assert isinstance(encoder, Encoder)
    assert encoder.spec.modalities == {Modality.TEXT, Modality.IMAGE, Modality.AUDIO}
    assert encoder.spec.audio_rate == 16000
    assert encoder.spec.image.size == 224
    assert "non-commercial" in encoder.spec.licence


def test_rows_are_unit_float32_and_as_many_as_inputs(encoder):
    for modality, batch in INPUTS.items():
        vectors = encoder.encode(batch, modality)
        assert vectors.shape == (len(batch), encoder.spec.dim)
        check_unit_rows(vectors)
        assert encoder.encode([], modality).shape == (0, encoder.spec.dim)


def test_a_row_does_not_depend_on_its_neighbours(encoder):
    for modality, batch in INPUTS.items():
        together = encoder.encode(batch * 4, modality)
        alone = np.concatenate([encoder.encode([item], modality) for item in batch])
        assert np.abs(together - np.tile(alone, (4, 1))).max() < 1e-5, modality


def test_the_same_input_gives_the_same_bits(encoder):
    for modality, batch in INPUTS.items():
        assert np.array_equal(encoder.encode(batch, modality), encoder.encode(batch, modality))


def test_threads_change_nothing_that_matters(encoder):
    several = mini.load(threads=2)
    batch = photos(3)
    assert np.abs(several.encode(batch, Modality.IMAGE) - encoder.encode(batch, Modality.IMAGE)).max() < 1e-5


def test_many_texts_of_all_lengths_come_out_as_alone_in_their_order(encoder):
    texts = [" ".join(["dog", "snow", "猫", "unfathomable"][(i * k) % 4] for k in range(i % 70)) for i in range(300)]
    together = mini.load(threads=2).encode(texts, Modality.TEXT)
    for i in range(0, 300, 7):
        assert np.abs(together[i] - encoder.encode([texts[i]], Modality.TEXT)[0]).max() < 1e-5


def test_threads_leave_numpy_as_it_was():
    get = blas._openblas()[0] if blas._openblas() else lambda: None
    threads, several = get(), mini.load(threads=2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: several.encode(["a dog"] * 100, Modality.TEXT), range(8)))
    assert get() == threads


@pytest.mark.parametrize("bad", [np.zeros((10, 10, 3), np.uint8), np.zeros((224, 224, 3), np.float32), "text"])
def test_a_photo_of_another_shape_is_refused(encoder, bad):
    with pytest.raises(EncoderError, match="224"):
        encoder.encode([bad], Modality.IMAGE)


@pytest.mark.parametrize(
    ("modality", "item", "first"),
    [
        (Modality.TEXT, "a cat on a sofa", [0.0172, 0.0055, -0.0817, 0.1054]),
        (Modality.TEXT, "一只狗在雪地里奔跑", [-0.0272, -0.0129, -0.0002, 0.0421]),
        (Modality.IMAGE, photos(1)[0], [0.0617, -0.0797, 0.1164, 0.003]),
        (Modality.AUDIO, tone(440, 1), [-0.0341, 0.1301, 0.0006, -0.0823]),
    ],
)
def test_first_values_of_pinned_inputs(encoder, modality, item, first):
    assert encoder.encode([item], modality)[0, :4] == pytest.approx(first, abs=2e-3)


def test_video_is_refused(encoder):
    with pytest.raises(EncoderError, match="video"):
        encoder.encode(photos(1), Modality.VIDEO)


def test_another_device_is_refused():
    with pytest.raises(UsageError, match="cuda:0"):
        mini.load(device="cuda:0")


@pytest.mark.parametrize(
    ("first", "near", "far"),
    [
        ("couch", "sofa", "mountain"),
        ("puppy", "dog", "car"),
        ("automobile", "car", "flower"),
        ("猫", "cat", "truck"),
        ("狗在雪地里奔跑", "a dog runs in the snow", "a man plays the guitar"),
    ],
)
def test_words_of_one_meaning_lie_together(encoder, first, near, far):
    a, b, c = encoder.encode([first, near, far], Modality.TEXT)
    assert a @ b > a @ c


def test_word_order_counts(encoder):
    a, b = encoder.encode(["a dog chases a man", "a man chases a dog"], Modality.TEXT)
    assert a @ b < 0.999


def test_a_text_query_imports_nothing_heavy():
    code = (
        "import sys; from mmsearch.encoders import mini; from mmsearch.types import Modality;"
        "mini.load().encode(['a cat'], Modality.TEXT);"
        "print([m for m in ('onnxruntime', 'PIL', 'torch', 'safetensors', 'faiss', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_verify_finds_one_flipped_byte(copied):
    mini.verify(str(copied))
    name = json.loads((copied / "manifest.json").read_text("utf-8"))["image"]["file"]
    data = bytearray((copied / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / name).write_bytes(data)
    mini.load(folder=str(copied))  # sizes still agree
    with pytest.raises(MissingModel, match=r"damaged.*pip install --force-reinstall mmsearch"):
        mini.verify(str(copied))


def test_a_half_downloaded_file_is_named_with_the_remedy(copied):
    name = json.loads((copied / "manifest.json").read_text("utf-8"))["text"]["file"]
    data = (copied / name).read_bytes()
    (copied / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(MissingModel, match=rf"{name}.*bytes instead of.*pip install --force-reinstall mmsearch"):
        mini.load(folder=str(copied))
    (copied / name).unlink()
    with pytest.raises(MissingModel, match="is missing"):
        mini.load(folder=str(copied))
    (copied / "manifest.json").write_text("{")
    with pytest.raises(MissingModel, match=r"manifest\.json"):
        mini.load(folder=str(copied))


def test_the_space_changes_with_weights_preprocessing_tokenizer_and_code(monkeypatch, encoder):
    manifest = json.loads((FOLDER / "manifest.json").read_text("utf-8"))
    spaces = {encoder.spec.space, mini.fingerprint(manifest)}
    assert len(spaces) == 1
    for part, key, value in [("image", "fit", "pad"), ("text", "longest", 32), ("image", "mirrored", "maybe")]:
        spaces.add(mini.fingerprint({**manifest, part: {**manifest[part], key: value}}))
    weights = {**manifest["files"], manifest["image"]["file"]: {"bytes": 1, "sha256": "0"}}
    spaces.add(mini.fingerprint({**manifest, "files": weights}))
    monkeypatch.setattr(mini, "PREPROCESSING_VERSION", mini.PREPROCESSING_VERSION + 1)
    spaces.add(mini.fingerprint(manifest))
    assert len(spaces) == 6


def test_the_package_stays_under_25_megabytes():
    total = sum(len(item.read_bytes()) for item in FOLDER.iterdir() if item.is_file())
    assert total < 25_000_000
    assert (FOLDER / "MODEL_CARD.md").is_file()


def test_missing_runtime_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(Exception, match=r'pip install "mmsearch\[cpu\]"'):
        mini.load().encode(photos(1), Modality.IMAGE)
