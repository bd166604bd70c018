"""Any model of open_clip: pictures and words in one space, on the CPU or a CUDA device.

A name says where the weights are, in open_clip's own spelling:

* ``open_clip:ViT-B-32/laion2b_s34b_b79k``: an architecture and a pretrained tag, from the local caches
* ``open_clip:ViT-B-32//path/to/checkpoint``: an architecture and a file, with open_clip's default preprocessing
* ``open_clip:local-dir:FOLDER``: a folder with ``open_clip_config.json``, weights and tokenizer
* ``open_clip:hf-hub:OWNER/REPO``: the same layout in the Hugging Face cache

Nothing is downloaded, and no file can run code: weights are safetensors, or torch files of plain tensors.
"""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np

from mmsearch.encoders.device import resolve
from mmsearch.encoders.open_clip_source import Source, find
from mmsearch.errors import EncoderError, MissingExtra, MissingModel, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality

CODE_VERSION = 1
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
TOKENIZER_PROBE = ("A cat on a sofa, 2 dogs; it's RAINING!", "一只猫坐在沙发上", "naïve café 🐈", "word " * 300)
"""Texts whose tokens stand for the tokenizer in the fingerprint: vocabulary, cleaning, padding and length show."""
_FITS: dict[str, Literal["crop", "squash", "pad"]] = {"shortest": "crop", "squash": "squash", "longest": "pad"}

Precision = Literal["float32", "bf16"]


def load(name: str, device: str = "cpu", *, precision: Precision | None = None) -> OpenClipEncoder:
    """The encoder of this name. ``precision`` None is bf16 on CUDA and float32 on the CPU.

    Raises ``MissingExtra`` without open_clip, ``UsageError`` for an unknown architecture, tag or device, and
    ``MissingModel`` for files that are not here, are damaged, or need pickle.
    """
    try:
        import open_clip  # noqa: F401
    except (ImportError, RuntimeError) as error:  # torchvision beside another torch raises RuntimeError
        raise MissingExtra(f"{name} ({error})", "clip") from error
    place = resolve(device)
    with _offline(), _no_root_handler():
        source = find(name)
        # Costs a second of one core for each gigabyte; what follows finds the file in the page cache.
        digest = _sha256(source)
        model, tokenizer, config = _build(source, precision or ("bf16" if place.startswith("cuda") else "float32"))
        _load_weights(source, model)
    return OpenClipEncoder(source.name, model.eval().to(place), tokenizer, config, digest, place)


class OpenClipEncoder:
    """An open_clip model behind the ``Encoder`` protocol; safe to call from several threads."""

    def __init__(self, name: str, model: Any, tokenizer: Any, config: Any, digest: str, device: str) -> None:
        import torch

        self._model, self._tokenizer, self.device = model, tokenizer, device
        self._dtype = next(model.visual.parameters()).dtype
        cfg = model.visual.preprocess_cfg
        self._mean, self._std = (torch.tensor(cfg[key], device=device).view(1, 3, 1, 1) for key in ("mean", "std"))
        # The precision is no part of the space: bf16 against float32 has a cosine above 0.9999 (ViT-B-32).
        parts = [CODE_VERSION, digest, config, cfg, tokenizer(list(TOKENIZER_PROBE)).tolist()]
        space = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
        self.spec = EncoderSpec(
            name=name,
            space=f"open_clip-{space}",
            dim=config["embed_dim"],
            modalities=frozenset({Modality.IMAGE, Modality.TEXT}),
            licence="the model's own",
            image=_image_input(name, cfg),
        )

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``; raises ``EncoderError`` for a modality it lacks."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if not len(batch):
            return np.empty((0, self.spec.dim), np.float32)
        import torch

        with torch.inference_mode():
            if modality is Modality.TEXT:
                rows = self._model.encode_text(self._tokens(cast(Sequence[str], batch)))
            else:
                rows = self._model.encode_image(self._pictures(batch))
            unit = torch.nn.functional.normalize(rows.float(), dim=-1)
            return cast(FloatArray, unit.cpu().numpy())

    def _tokens(self, texts: Sequence[str]) -> Any:
        # A shell may hand over bytes that are no text, as lone surrogates: tokenizers raise on these.
        return self._tokenizer([text.encode("utf-8", "replace").decode() for text in texts]).to(self.device)

    def _pictures(self, batch: Sequence[Media]) -> Any:
        import torch

        size = cast(ImageInput, self.spec.image).size
        for picture in batch:
            if not isinstance(picture, np.ndarray) or picture.shape != (size, size, 3) or picture.dtype != np.uint8:
                raise EncoderError(f"{self.spec.name} takes pictures as uint8 ({size}, {size}, 3)")
        pixels = torch.from_numpy(np.stack(cast(Sequence[Any], batch))).to(self.device).permute(0, 3, 1, 2)
        return pixels.float().div_(255).sub_(self._mean).div_(self._std).to(self._dtype)


def _image_input(name: str, cfg: dict[str, Any]) -> ImageInput:
    size = cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise UsageError(f"{name} takes pictures of {width}x{height}: only square ones can be prepared")
    fit = _FITS.get(cfg["resize_mode"])
    if fit is None:
        raise UsageError(f"{name}: resize_mode {cfg['resize_mode']!r} is none of {', '.join(_FITS)}")
    return ImageInput(
        size=width,
        fit=fit,
        resample="bilinear" if cfg["interpolation"] == "bilinear" else "bicubic",
        fill=cfg["fill_color"],
    )


def _sha256(source: Source) -> str:
    try:
        with open(source.weights, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise MissingModel(
            f"{source.name}: {source.weights} can't be read ({error.strerror}): {source.remedy}"
        ) from error


def _build(source: Source, precision: Precision) -> tuple[Any, Any, dict[str, Any]]:
    """The model without its weights, its tokenizer and its configuration."""
    import open_clip

    # A tag knows the activation it was trained with; open_clip itself only warns when it differs from the
    # architecture's, and then makes vectors that are a little wrong.
    quick_gelu = bool(source.tag.get("quick_gelu"))
    try:
        config = open_clip.get_model_config(source.config)
        model = open_clip.create_model(
            source.config,
            load_weights=False,
            pretrained_text=False,
            # Pure: all parameters in one type. Text towers of Hugging Face fail with open_clip's mixed "bf16".
            precision="pure_bf16" if precision == "bf16" else "fp32",
            force_quick_gelu=quick_gelu,
            force_preprocess_cfg=source.tag,
        )
        return model, open_clip.get_tokenizer(source.config), {**config, "force_quick_gelu": quick_gelu}
    except Exception as error:  # third-party code on a user's configuration: anything may come
        raise MissingModel(f"{source.name} can't be built ({_line(error)}): {source.remedy}") from error


def _load_weights(source: Source, model: Any) -> None:
    import open_clip

    try:
        with warnings.catch_warnings():
            # torch warns about formats that it then refuses, which is said once, below.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.|open_clip\.")
            open_clip.load_checkpoint(model, source.weights, strict=True, weights_only=True)
    except Exception as error:  # each format fails in its own way, down to StopIteration for an empty one
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            problem = "needs pickle, which could run any code: convert it to safetensors"
        else:
            problem = f"is damaged, or not of this architecture ({_line(error)}): copy or fetch it again"
        raise MissingModel(f"{source.name}: {source.weights} {problem}") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def _offline() -> Iterator[None]:
    """What open_clip, timm and transformers would look up online comes from the cache, or fails at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def _no_root_handler() -> Iterator[None]:
    """open_clip logs through the root logger, which then installs a handler on stderr unless there is one."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
