"""Any dual encoder of transformers, driven by what its class offers: words with pictures, with sounds, or with both.

``hf:OWNER/REPO`` is a repository in the Hugging Face cache, ``hf:PATH`` a folder: CLIP, ALIGN, SigLIP, Chinese-CLIP,
AltCLIP, CLAP and whatever else has ``get_text_features`` beside ``get_image_features`` or ``get_audio_features``; PE-AV
and its like through their ``forward`` (see `hf_forward`).
Nothing is downloaded, no code of a repository runs, and weights are safetensors or torch files of plain tensors.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any, cast

import numpy as np

from mmsearch.encoders import hf_forward, hf_source, known
from mmsearch.encoders.device import resolve
from mmsearch.encoders.hf_inputs import Frames, Pictures, Sounds, Words
from mmsearch.encoders.lazy import recalled
from mmsearch.encoders.torch_base import Precision, TorchEncoder, default_precision, line, offline
from mmsearch.errors import MissingExtra, MissingModel, UsageError
from mmsearch.types import Encoder, EncoderSpec, FloatArray, Media, Modality

CODE_VERSION = 1
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
TOKENIZER_PROBE = ("A cat on a sofa, 2 dogs; it's RAINING!", "一只猫坐在沙发上", "naïve café 🐈", "word " * 300)
"""Texts whose tokens stand for the tokenizer in the fingerprint."""

_METHODS = {
    Modality.TEXT: ("get_text_features",),
    Modality.IMAGE: ("get_image_features",),
    Modality.AUDIO: ("get_audio_features",),
}
"""What a model class may offer for each modality; the first that is there is used."""


def load(name: str, device: str = "cpu", *, precision: Precision | None = None) -> Encoder:
    """The encoder of this name. ``precision`` None is bf16 on CUDA and float32 on the CPU.

    A model whose files are those of an earlier call is neither hashed nor loaded before its first vector is wanted.
    Raises ``MissingExtra`` without transformers, ``UsageError`` for what is no dual encoder and for a device that is
    not here, ``MissingModel`` for files that are not here, are damaged, or need pickle.
    """
    name = hf_source.absolute(name)
    key = [name, str(CODE_VERSION), *known.hub_place(), *known.versions("transformers", "tokenizers")]
    return recalled(key, lambda: _load(name, device, precision, key), device)


def _load(name: str, device: str, precision: Precision | None, key: Sequence[str]) -> HfEncoder:
    try:
        import torch
        import transformers  # noqa: F401
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(f"{name} ({error})", "hf") from error
    place = resolve(device)
    folder = hf_source.find(name)
    digest = hf_source.digest(name, folder)
    dtype = torch.bfloat16 if (precision or default_precision(place)) == "bf16" else torch.float32
    with offline(), quiet():
        model = _model(name, folder, dtype)
        processor = _processor(name, folder)
    encoder = HfEncoder(name, model.eval().to(place), processor, digest, place)
    known.remember(key, encoder.spec, hf_source.files(folder))
    return encoder


class HfEncoder(TorchEncoder):
    """A model of transformers behind the ``Encoder`` protocol; safe to call from several threads."""

    def __init__(self, name: str, model: Any, processor: Any, digest: str, device: str) -> None:
        super().__init__()
        self.model, self.device = model, device
        self._dtype = next(model.parameters()).dtype
        self.inputs = _inputs(name, model, processor)
        pictures, sounds = self.inputs.get(Modality.IMAGE), self.inputs.get(Modality.AUDIO)
        self.words = cast(Words, self.inputs[Modality.TEXT])
        probe = [ids.tolist() for ids in map(self.words.ids, TOKENIZER_PROBE)]
        facts = [CODE_VERSION, type(model).__name__, digest, probe]
        self.spec = EncoderSpec(
            name=name,
            space=f"hf-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]}",
            dim=0,
            modalities=frozenset(self.inputs),
            licence="the model's own",
            image=pictures.wanted if isinstance(pictures, Pictures) else None,
            audio_rate=sounds.rate if isinstance(sounds, Sounds) else None,
            audio_window=sounds.window if isinstance(sounds, Sounds) else 10.0,
            text_tokens=self.words.longest,
        )
        self.spec = _with_dim(self)

    def count_tokens(self, text: str) -> int:
        """The tokens of a text, marks included, before anything is cut off."""
        return self.words.count(text)

    def features(self, batch: Sequence[Media], modality: Modality) -> Any:
        inputs = self.inputs[modality]
        if isinstance(inputs, Sounds):
            return self._sounds(inputs, cast(Sequence[FloatArray], batch))
        return self.rows(inputs(batch), modality)

    def method(self, modality: Modality) -> Callable[..., Any]:
        """The model's own method for this modality."""
        return methods(self.model, self.inputs)[modality]

    def rows(self, tensors: dict[str, Any], modality: Modality) -> Any:
        """What the model makes of prepared tensors: ``(n, dim)``."""
        method = self.method(modality)
        accepted = inspect.signature(method).parameters
        moved = {key: self._place(value) for key, value in tensors.items() if key in accepted}
        found = method(**moved)
        # Since transformers 5 these methods give an output object, before that the tensor itself.
        return found if hasattr(found, "shape") else found.pooler_output

    def prepared(self, batch: Sequence[Media]) -> Any:
        """Normalised pixels float32 ``(n, 3, h, w)``, None if the model takes more than that (SigLIP2's patches)."""
        tensors = self.inputs[Modality.IMAGE](batch)
        pixels = tensors.pop("pixel_values", None)
        return None if tensors or pixels is None or pixels.ndim != 4 else pixels

    def picture_module(self) -> Any:
        """A torch module from these to rows."""
        import torch

        class Pictures(torch.nn.Module):  # type: ignore[misc]
            def __init__(self, model: Any) -> None:
                super().__init__()
                self.model = model

            def forward(self, pixels: Any) -> Any:
                found = self.model.get_image_features(pixel_values=pixels)
                return getattr(found, "pooler_output", found)

        return Pictures(self.model)

    def _place(self, tensor: Any) -> Any:
        return tensor.to(self.device, self._dtype if tensor.is_floating_point() else None)

    def _sounds(self, inputs: Sounds, batch: Sequence[FloatArray]) -> Any:
        """A sound that is longer than the model hears is the mean of its parts."""
        import torch

        parts = [inputs.cut(samples) for samples in batch]
        flat = [part for several in parts for part in several]
        alike = [self.rows(inputs([flat[i] for i in some]), Modality.AUDIO) for some in inputs.alike(flat)]
        order = torch.tensor([i for some in inputs.alike(flat) for i in some]).argsort()
        rows = torch.nn.functional.normalize(torch.cat(alike).float(), dim=-1)[order.to(alike[0].device)]
        return torch.stack([part.mean(dim=0) for part in rows.split([len(several) for several in parts])])


def _inputs(name: str, model: Any, processor: Any) -> dict[Modality, Any]:
    """What prepares each modality that the class and the processor both know."""
    found: dict[Modality, Any] = {}
    if tokenizer := getattr(processor, "tokenizer", None):
        found[Modality.TEXT] = Words(tokenizer, model, processor)
    if pictures := getattr(processor, "image_processor", None):
        found[Modality.IMAGE] = Pictures(name, pictures)
    elif frames := getattr(processor, "video_processor", None):
        found[Modality.IMAGE] = Frames(name, frames)
    if sounds := getattr(processor, "feature_extractor", None):
        found[Modality.AUDIO] = Sounds(sounds)
    found = {modality: found[modality] for modality in methods(model, found) if modality in found}
    if Modality.TEXT not in found or len(found) < 2:
        raise UsageError(
            f"{name} is no dual encoder: {type(model).__name__} gives vectors of {', '.join(found) or 'nothing'} alone"
        )
    return found


def methods(model: Any, inputs: dict[Modality, Any]) -> dict[Modality, Callable[..., Any]]:
    """What the class offers for each modality."""
    offered = {
        modality: [method for name in names if (method := getattr(model, name, None))]
        for modality, names in _METHODS.items()
    }
    found = {modality: some[0] for modality, some in offered.items() if some}
    return found or hf_forward.methods(model, {modality: prepare.stand_in() for modality, prepare in inputs.items()})


def _with_dim(encoder: HfEncoder) -> EncoderSpec:
    """The spec with its dimension, which configurations call by many names: found out by encoding one input of each."""
    from dataclasses import replace

    spec = encoder.spec
    size, rate = spec.image.size if spec.image else 0, spec.audio_rate or 0
    trial: dict[Modality, Media] = {
        Modality.TEXT: "a",
        Modality.IMAGE: np.zeros((size, size, 3), np.uint8),
        Modality.AUDIO: np.zeros(rate, np.float32),
    }
    import torch

    with torch.inference_mode():
        try:
            shapes = {
                modality: tuple(encoder.features([trial[modality]], modality).shape) for modality in spec.modalities
            }
        except Exception as error:  # third-party code on a user's configuration: anything may come
            raise MissingModel(f"{spec.name} can't encode ({line(error)}): {hf_source.remedy(spec.name)}") from error
    if len(set(shapes.values())) != 1 or len(shapes[Modality.TEXT]) != 2:
        shown = ", ".join(f"{modality} {shape}" for modality, shape in sorted(shapes.items()))
        raise UsageError(f"{spec.name} is no dual encoder: its vectors differ in shape ({shown})")
    return replace(spec, dim=shapes[Modality.TEXT][1])


def _model(name: str, folder: str, dtype: Any) -> Any:
    """The class that the configuration names, with its weights: every one of them, or ``MissingModel``."""
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        architecture = (config.architectures or [""])[0]
        kind = getattr(transformers, architecture, transformers.AutoModel)
        if not hasattr(kind, "get_text_features"):
            # PE-AV in bf16 moves a value of a sound's vector by up to 0.07 (random weights): too much.
            dtype = None
        with hf_forward.tied_buffers(kind):
            model, report = kind.from_pretrained(
                folder,
                config=config,
                dtype=dtype or "float32",
                local_files_only=True,
                use_safetensors=hf_source.weights(name, folder)[0].endswith(".safetensors"),
                weights_only=True,
                output_loading_info=True,
            )
    except MissingModel:
        raise
    except Exception as error:  # each format fails in its own way
        raise unloadable(name, error) from error
    if absent := sorted(report["missing_keys"]):
        # transformers would fill these with random numbers, and only warn.
        raise MissingModel(
            f"{name}: the weights lack {len(absent)} tensors, {absent[0]} first: {hf_source.remedy(name)}"
        )
    return model


def unloadable(name: str, error: Exception) -> MissingModel:
    """What is said of weights that raised ``error`` as they were loaded."""
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
        problem = "needs pickle, which could run any code: convert it to safetensors"
    else:
        problem = f"can't be loaded ({line(error)}): {hf_source.remedy(name)}"
    return MissingModel(f"{name} {problem}")


def _processor(name: str, folder: str) -> Any:
    import transformers

    try:
        return transformers.AutoProcessor.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # third-party code on a user's files: anything may come
        raise MissingModel(f"{name}: no processor ({line(error)}): {hf_source.remedy(name)}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """transformers reports on stderr, with progress bars, and on stdout; what matters is raised."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
