"""Every class of model beside its own package's forward pass: in float32, in bf16, one input at a time and many."""

import numpy as np
import pytest

from mmsearch.encoders import hf, st
from mmsearch.encoders.hf_forward import tied_buffers
from mmsearch.types import Modality, check_unit_rows

torch = pytest.importorskip("torch", reason="torch is not installed")
tf = pytest.importorskip("transformers", reason="transformers is not installed")
package = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
pytest.importorskip("torchvision", reason="torchvision is not installed: no processor of pictures")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders import transformers_models as models  # noqa: E402
from tests.unit.encoders.clips import assert_counts  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["a cat on a sofa", "two dogs run", "一只猫", "rain and wind and rain " * 20]
SENTENCES = ("st-clip", "st-siglip", "st-clap", "st-bert")
PROMPTS = {"query": "the red ", "document": "low "}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Each kind of model, saved once."""
    saved = {}

    def of(kind):
        if kind not in saved:
            place = tmp_path_factory.mktemp("models") / kind
            saved[kind] = sentence(kind[3:], place) if kind in SENTENCES else models.save(models.MODELS[kind], place)
        return saved[kind]

    return of


def sentence(kind, place):
    """A transformers model as sentence-transformers saves it, with prompts; BERT with a mean of its tokens."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    plain = models.save(models.bert if kind == "bert" else models.MODELS[kind], place / "plain")
    parts = (
        {"modules": [Transformer(str(plain)), Pooling(32)]} if kind == "bert" else {"model_name_or_path": str(plain)}
    )
    made = package.SentenceTransformer(**parts, prompts=PROMPTS, local_files_only=True)
    made.save(str(place / "m"), create_model_card=False)
    return place / "m"


def load(kind, folder, precision="float32"):
    encoder = (st if kind in SENTENCES else hf).load(
        f"{'st' if kind in SENTENCES else 'hf'}:{folder}", precision=precision
    )
    return encoder.model() if hasattr(encoder, "loaded") else encoder


def inputs(encoder, count=4):
    """For us, and as the packages take them."""
    pictures = [models.photo(i) for i in range(count)]
    sounds = [models.sound(i, 0.4 + 0.1 * (i % 7)) for i in range(count)]
    texts = (TEXTS * count)[:count]
    found = {
        Modality.TEXT: (texts, texts),
        Modality.IMAGE: ([np.asarray(picture) for picture in pictures], pictures),
        Modality.AUDIO: (sounds, sounds),
    }
    return {modality: found[modality] for modality in sorted(encoder.spec.modalities)}


def unit(found):
    rows = found if torch.is_tensor(found) else found.pooler_output
    return torch.nn.functional.normalize(rows, dim=-1).numpy()


def of_sentences(folder, batch, modality):
    """sentence-transformers' documents, one at a time: some of its models feel their neighbours' padding."""
    model = package.SentenceTransformer(str(folder), local_files_only=True)
    if modality is Modality.AUDIO:
        batch = [{"array": sound, "sampling_rate": 8000} for sound in batch]
    return np.concatenate([model.encode_document([one], normalize_embeddings=True) for one in batch])


def of_transformers(folder, batch, modality):
    """transformers' own way: model, processor and forward pass as its documentation shows them."""
    config = tf.AutoConfig.from_pretrained(folder)
    model = getattr(tf, config.architectures[0]).from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    with torch.no_grad():
        if modality is Modality.TEXT:
            padding = "max_length" if config.model_type.startswith("siglip") else True
            tokens = processor.tokenizer(
                batch, padding=padding, truncation=True, max_length=processor.tokenizer.model_max_length,
                return_tensors="pt",
            )  # fmt: skip
            return unit(model.get_text_features(**tokens))
        if modality is Modality.IMAGE:
            return unit(model.get_image_features(**processor.image_processor(images=list(batch), return_tensors="pt")))
        rate = processor.feature_extractor.sampling_rate
        found = processor.feature_extractor(list(batch), sampling_rate=rate, return_tensors="pt")
        return unit(model.get_audio_features(**found))


def of_pe_av(folder, batch, modality):
    """The one way of PE-AV that works for all kinds in transformers 5.23: words, sound and video at once."""
    with tied_buffers(tf.PeAudioVideoModel):
        model = tf.PeAudioVideoModel.from_pretrained(folder).eval()
    processor = tf.AutoProcessor.from_pretrained(folder)
    given = {Modality.TEXT: "a", Modality.AUDIO: models.sound(9), Modality.IMAGE: models.photo(9)}
    rows = []
    for one in batch:
        given[modality] = one
        frames = torch.from_numpy(np.asarray(given[Modality.IMAGE]).copy()).permute(2, 0, 1)[None]
        inputs = processor.feature_extractor([given[Modality.AUDIO]], sampling_rate=8000, return_tensors="pt")
        inputs |= processor.video_processor([frames], return_tensors="pt")
        inputs |= processor.tokenizer(given[Modality.TEXT], truncation=True, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            found = model(**inputs)
        words = unit(found.text_audio_embeds) + unit(found.text_video_embeds)
        mine = {Modality.TEXT: torch.from_numpy(words), Modality.AUDIO: found.audio_embeds}
        rows.append(unit(mine.get(modality, found.video_embeds)))
    return np.concatenate(rows)


@pytest.mark.parametrize("kind", [*models.MODELS, *SENTENCES])
def test_parity_and_independence_of_neighbours(folders, kind):
    folder = folders(kind)
    exact, rounded = load(kind, folder), load(kind, folder, "bf16")
    own = of_sentences if kind in SENTENCES else of_pe_av if kind == "pe_av" else of_transformers
    for modality, (ours, theirs) in inputs(exact).items():
        expected = own(folder, theirs, modality)
        rows = exact.encode(ours, modality)
        np.testing.assert_allclose(rows, expected, atol=1e-4)
        # Parity would mean little if every input had the same vector.
        assert (rows @ rows.T).min() < 0.999
        coarse = rounded.encode(ours, modality)
        check_unit_rows(coarse)
        np.testing.assert_allclose(coarse, expected, atol=1e-2)
        assert kind == "pe_av" or not np.array_equal(coarse, expected)  # that one stays in float32
    for modality, (ours, _) in inputs(exact, 64).items():
        alone = np.concatenate([exact.encode([one], modality) for one in ours])
        np.testing.assert_allclose(exact.encode(ours, modality), alone, atol=1e-5)


@pytest.mark.parametrize("kind", [*models.MODELS, *SENTENCES])
def test_what_a_model_reads_of_a_text_is_known(folders, kind):
    """Documents are cut by this count: what is said to be too long is what the model would cut off."""
    encoder = load(kind, folders(kind))
    assert encoder.spec.text_tokens
    assert_counts(encoder)
