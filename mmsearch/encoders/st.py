"""Models of sentence-transformers 6 or later: what they say of their modalities is used as it is.

``st:OWNER/REPO`` is a repository in the Hugging Face cache, ``st:PATH`` a folder. What is indexed goes through
``encode_document``, a question through ``encode_query``: with their prompts, one model makes two different vectors of a
sentence. Nothing is downloaded, and no code of a repository runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from mmsearch.encoders import hf_source, known
from mmsearch.encoders.device import resolve
from mmsearch.encoders.hf import quiet, unloadable
from mmsearch.encoders.hf_inputs import Sounds, wanted
from mmsearch.encoders.lazy import recalled
from mmsearch.encoders.torch_base import Precision, TorchEncoder, default_precision, offline, plain
from mmsearch.errors import EncoderError, MissingExtra, UsageError
from mmsearch.types import Encoder, EncoderSpec, FloatArray, ImageInput, Media, Modality

CODE_VERSION = 2
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
_TAKEN = {"text": Modality.TEXT, "image": Modality.IMAGE, "audio": Modality.AUDIO}
_ANY_SIZE = ImageInput(size=448, fit="pad")
"""For models that take pictures of any size: all of it, at a size at which objects are still told apart."""


def load(name: str, device: str = "cpu", *, precision: Precision | None = None) -> Encoder:
    """The encoder of this name. ``precision`` None is bf16 on CUDA and float32 on the CPU.

    A model whose files are those of an earlier call is neither hashed nor loaded before its first vector is wanted.
    Raises ``MissingExtra`` without sentence-transformers 6, ``UsageError`` for a device that is not here,
    ``MissingModel`` for files that are not here or are damaged.
    """
    name = hf_source.absolute(name)
    packages = known.versions("sentence-transformers", "transformers", "tokenizers")
    key = [name, str(CODE_VERSION), *known.hub_place(), *packages]
    return recalled(key, lambda: _load(name, device, precision, key), device)


def _load(name: str, device: str, precision: Precision | None, key: Sequence[str]) -> SentenceEncoder:
    try:
        from sentence_transformers import SentenceTransformer
        from sentence_transformers import __version__ as version
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(f"{name} ({error})", "st") from error
    if int(version.partition(".")[0]) < 6:
        raise MissingExtra(f"{name} (sentence-transformers {version} runs code that a model's folder brings)", "st")
    place = resolve(device)
    folder = hf_source.find(name)
    digest = hf_source.digest(name, folder)
    dtype = "bfloat16" if (precision or default_precision(place)) == "bf16" else "float32"
    with offline(), quiet():
        try:
            options = {"dtype": dtype, "weights_only": True}
            model = SentenceTransformer(folder, device=place, local_files_only=True, model_kwargs=options)
        except Exception as error:  # third-party code on a user's files: anything may come
            raise unloadable(name, error) from error
        encoder = SentenceEncoder(name, model.eval(), digest, place)
    known.remember(key, encoder.spec, hf_source.files(folder))
    return encoder


class SentenceEncoder(TorchEncoder):
    """A sentence-transformers model behind the ``Encoder`` protocol."""

    def __init__(self, name: str, model: Any, digest: str, device: str) -> None:
        super().__init__()
        self.model, self.device = model, device
        model[0].register_forward_pre_hook(_cast)
        kinds = frozenset(_TAKEN[kind] for kind in model.modalities if kind in _TAKEN)
        if Modality.TEXT not in kinds:
            raise UsageError(f"{name} takes no words: nothing could be asked")
        processor = getattr(model[0], "processor", None)
        sounds = Sounds(cast(Any, processor).feature_extractor) if Modality.AUDIO in kinds else None
        self._rate = sounds.rate if sounds else None
        # Without a mask a text would feel how long its neighbours are: such a model reads one at a time.
        self._guesses = len(model.modalities) > 1
        self._masks = "attention_mask" in model.preprocess(["a"])
        facts = [CODE_VERSION, digest, dict(model.prompts), model.default_prompt_name]
        self.spec = EncoderSpec(
            name=name,
            space=f"st-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}",
            dim=int(model.encode_query(["a"]).shape[1]),
            modalities=kinds,
            licence="the model's own",
            image=_picture(name, processor) if Modality.IMAGE in kinds else None,
            audio_rate=self._rate,
            audio_window=sounds.window if sounds else 10.0,
            text_tokens=_longest(model),
        )

    def count_tokens(self, text: str) -> int:
        """The tokens of a text, marks included and without a prompt, before anything is cut off."""
        return len(self.model.tokenizer(plain(text), verbose=False)["input_ids"])

    def features(self, batch: Sequence[Media], modality: Modality) -> Any:
        return self._run(self.model.encode_document, batch, modality)

    def encode_query(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """As ``encode``, for what is asked instead of what is indexed."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        rows = self._run(self.model.encode_query, batch, modality).float().cpu().numpy()
        unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        return unit

    def question_prompt(self) -> str:
        """What `encode_query` puts before every question."""
        prompts = self.model.prompts
        return str(prompts.get("query", prompts.get(self.model.default_prompt_name)) or "")

    def _text(self, text: str) -> Any:
        """A text as such: a bare string that is a picture's address or path would be taken for that picture."""
        return {"text": text} if self._guesses else text

    def _run(self, encode: Any, batch: Sequence[Media], modality: Modality) -> Any:
        inputs: list[Any] = list(batch)
        if modality is Modality.TEXT:
            inputs = [self._text(plain(text)) for text in inputs]
        elif modality is Modality.IMAGE:
            from PIL import Image

            inputs = [Image.fromarray(pixels) for pixels in inputs]
        else:
            inputs = [{"array": samples, "sampling_rate": self._rate} for samples in inputs]
        at_once = len(inputs) if self._masks or modality is not Modality.TEXT else 1
        return encode(inputs, batch_size=at_once, convert_to_tensor=True, show_progress_bar=False)


def _cast(module: Any, arguments: tuple[Any, ...]) -> None:
    """Prepared inputs in the model's own precision: the package leaves sounds in float32, which bf16 weights refuse."""
    features, dtype = arguments[0], next(module.parameters()).dtype
    for key, value in features.items():
        if getattr(value, "is_floating_point", bool)():
            features[key] = value.to(dtype)


def _longest(model: Any) -> int | None:
    """Tokens that the model reads; None where it does not say, or its tokenizer is not one of transformers."""
    longest = model.max_seq_length
    return int(longest) if longest and hasattr(model.tokenizer, "convert_tokens_to_ids") else None


def _picture(name: str, processor: Any) -> ImageInput:
    """The resize that the model's processor would do first, where it has a fixed size."""
    settings = getattr(processor, "image_processor", processor).to_dict()
    if settings.get("merge_size") or settings.get("min_pixels"):
        return _ANY_SIZE
    try:
        return wanted(name, settings)
    except UsageError:
        return _ANY_SIZE
