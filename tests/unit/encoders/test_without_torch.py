"""A question in words never imports torch: whatever kind of model made the library, asked by the command line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from mmsearch import Library
from mmsearch.encoders import kept, registry
from mmsearch.types import Modality

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed: nothing can be exported")
pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("open_clip", reason="open_clip is not installed")

from tests.unit.encoders import transformers_models as models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PROMPTS = {"query": "the red ", "document": "low "}
QUESTIONS = ["a cat on a sofa", "TWO dogs run; 猫", "x", "rain and wind " * 40]
ASK = """
import json, sys
from mmsearch.cli.app import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
heavy = {"torch", "transformers", "sentence_transformers", "open_clip", "sqlalchemy", "PIL"} & set(sys.modules)
print(json.dumps(sorted(heavy)), file=sys.stderr)
"""


def hf(kind):
    return lambda place: f"hf:{models.save(models.MODELS[kind], place / 'm')}"


def wrapped(kind):
    """What `mmsearch` gets where a transformers model was saved by sentence-transformers, with prompts."""

    def make(place):
        st = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
        plain = models.save(models.MODELS[kind], place / "plain")
        st.SentenceTransformer(str(plain), prompts=PROMPTS, local_files_only=True).save(
            str(place / "m"), create_model_card=False
        )
        return f"st:{place / 'm'}"

    return make


def pooled(place):
    """The usual sentence model: BERT, a mean of its tokens, a dense layer."""
    st = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    words = Transformer(str(models.save(models.bert, place / "bert")), max_seq_length=20)
    parts = [words, Pooling(32, pooling_mode="mean"), Dense(32, 16), Normalize()]
    st.SentenceTransformer(modules=parts, prompts=PROMPTS).save(str(place / "m"), create_model_card=False)
    return f"st:{place / 'm'}"


def exported(kind):
    def make(place):
        from mmsearch.encoders.export import export

        return export(hf(kind)(place), str(place / "onnx"))

    return make


def bridged(place):
    """Pictures and words by one model, sounds by another: a map of random numbers, as only words are asked here."""
    from mmsearch.encoders.bridge import Bridge

    seer, hearer = hf("clip")(place / "seer"), hf("clap")(place / "hearer")
    image, audio = (registry.load(model).spec for model in (seer, hearer))
    weight = np.random.default_rng(0).standard_normal((audio.dim, image.dim)).astype(np.float32)
    made = Bridge(
        image_model=seer, image_space=image.space, audio_model=hearer, audio_space=audio.space, weight=weight,
        words=np.zeros(audio.dim, np.float32), photos=np.zeros(image.dim, np.float32), spread=1.0,
        audio_rate=audio.audio_rate, audio_window=audio.audio_window,
    )  # fmt: skip
    made.save(str(place / "bridge.npz"))
    return f"bridge:{place / 'bridge.npz'}"


CASES = {
    "hf-siglip": hf("siglip"),
    "hf-clap": hf("clap"),
    "hf-pe-av": hf("pe_av"),
    "st-clip": wrapped("clip"),
    "st-siglip": wrapped("siglip"),
    "st-mean": pooled,
    "bridge": bridged,
    "onnx-chinese-clip": exported("chinese_clip"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_question_is_answered_without_torch_and_as_by_the_model(tmp_path, case):
    model = CASES[case](tmp_path)
    encoder = registry.load(model)
    things = tmp_path / "things"
    things.mkdir()
    for i in range(3):
        if Modality.IMAGE in encoder.spec.modalities:
            models.photo(i, 60, 40).save(things / f"{i}.png")
        else:
            (things / f"{i}.txt").write_text(" ".join(models.WORDS[i:]))
    summary = Library(str(tmp_path / "library")).index([str(things)], model=model, device="cpu")
    assert (summary.added, [note for note in summary.notes if "tower" in note]) == (3, [])
    command = [sys.executable, "-c", ASK, "--library", str(tmp_path / "library"), "--json", "query", QUESTIONS[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == []
    assert len(json.loads(done.stdout)["hits"]) == 3
    own = getattr(encoder, "encode_query", encoder.encode)(QUESTIONS, Modality.TEXT)
    space = encoder.bridge.image_space if case == "bridge" else encoder.spec.space
    asker = kept.open_kept(str(tmp_path / "library"), space, lambda: pytest.fail("the model was loaded"))
    rows = (asker or registry.load(model)).encode(QUESTIONS, Modality.TEXT)
    assert asker is not None or case.startswith("onnx")
    assert (rows * own).sum(axis=1).min() >= 0.9999
    assert (own @ own.T).min() < 0.999  # cosines would mean little if all texts had one vector
    assert np.abs(rows - own).max() < 1e-2
