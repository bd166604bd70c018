"""sentence-transformers models: saved as the package saves them, loaded by the public path."""

import numpy as np
import pytest

from mmsearch.encoders import registry
from mmsearch.errors import EncoderError, MissingExtra, MissingModel
from mmsearch.types import Modality, check_unit_rows

pytest.importorskip("torch", reason="torch is not installed")
st = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders import transformers_models as models  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["a cat on a sofa", "two dogs run", "rain and wind " * 20]
PROMPTS = {"query": "the red ", "document": "low "}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """An image-text and an audio-text model, with prompts."""
    place = tmp_path_factory.mktemp("st")
    for kind in ("clip", "clap"):
        plain = models.save(models.MODELS[kind], place / f"plain-{kind}")
        st.SentenceTransformer(str(plain), prompts=PROMPTS, local_files_only=True).save(str(place / kind))
    return place


@pytest.fixture(scope="module")
def reference(saved):
    return st.SentenceTransformer(str(saved / "clip"), local_files_only=True)


def test_pictures_and_words_are_the_packages_own(saved, reference):
    encoder = registry.load(f"st:{saved}/clip")
    assert encoder.spec.modalities == {Modality.IMAGE, Modality.TEXT}
    pictures = [models.photo(i) for i in range(3)]
    rows = encoder.encode([np.asarray(picture) for picture in pictures], Modality.IMAGE)
    check_unit_rows(rows)
    expected = reference.encode_document(pictures, normalize_embeddings=True)
    np.testing.assert_allclose(rows, expected, atol=1e-4)


def test_a_question_is_no_document(saved, reference):
    encoder = registry.load(f"st:{saved}/clip")
    asked, indexed = encoder.encode_query(TEXTS, Modality.TEXT), encoder.encode(TEXTS, Modality.TEXT)
    np.testing.assert_allclose(asked, reference.encode_query(TEXTS, normalize_embeddings=True), atol=1e-4)
    np.testing.assert_allclose(indexed, reference.encode_document(TEXTS, normalize_embeddings=True), atol=1e-4)
    assert (asked * indexed).sum(axis=1).min() < 0.999
    again = registry.load(f"st:{saved}/clip")  # known by now, and loaded by its first vector
    np.testing.assert_array_equal(again.encode_query(TEXTS, Modality.TEXT), asked)


def test_sounds(saved):
    encoder = registry.load(f"st:{saved}/clap")
    assert (encoder.spec.audio_rate, encoder.spec.audio_window) == (8000, 1.0)
    sounds = [models.sound(i, 0.5 + 0.1 * i) for i in range(3)]
    expected = st.SentenceTransformer(str(saved / "clap"), local_files_only=True).encode_document(
        [{"array": sound, "sampling_rate": 8000} for sound in sounds], normalize_embeddings=True
    )
    np.testing.assert_allclose(encoder.encode(sounds, Modality.AUDIO), expected, atol=1e-4)
    with pytest.raises(EncoderError, match="can't encode image"):
        encoder.encode([np.zeros((32, 32, 3), np.uint8)], Modality.IMAGE)


def test_another_prompt_is_another_space(saved, tmp_path):
    other = st.SentenceTransformer(str(saved / "clip"), prompts={"query": "two ", "document": ""})
    other.save(str(tmp_path / "m"))
    assert registry.load(f"st:{tmp_path}/m").spec.space != registry.load(f"st:{saved}/clip").spec.space


def test_what_is_missing(saved, tmp_path, monkeypatch):
    with pytest.raises(MissingModel, match="check the path"):
        registry.load(f"st:{tmp_path}/none")
    monkeypatch.setitem(__import__("sys").modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"mmsearch\[st\]"):
        registry.load(f"st:{saved}/clip")


def test_a_text_is_never_taken_for_what_it_names(saved, tmp_path, monkeypatch):
    models.photo().save(tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    texts = ["cat.png", str(tmp_path / "cat.png"), "https://example.org/a.jpg", "https://youtu.be/a", "data:image/a"]
    encoder = registry.load(f"st:{saved}/clip")
    rows = encoder.encode([*texts, "a cat"], Modality.TEXT)
    (tmp_path / "cat.png").unlink()
    np.testing.assert_allclose(encoder.encode(texts, Modality.TEXT), rows[:-1], atol=1e-5)
    (photo,) = encoder.encode([np.asarray(models.photo())], Modality.IMAGE)
    assert (encoder.encode_query(texts, Modality.TEXT) @ photo).max() < 0.999
