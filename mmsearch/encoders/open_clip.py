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

from mmsearch.encoders import known
from mmsearch.encoders.device import resolve
from mmsearch.encoders.lazy import recalled
from mmsearch.encoders.open_clip_source import Source, absolute, files, find
from mmsearch.encoders.torch_base import (
    Precision,
    TorchEncoder,
    allows_pickle,
    default_precision,
    line,
    need_square,
    offline,
    plain,
    to_pixels,
)
from mmsearch.errors import MissingExtra, MissingModel, UsageError
from mmsearch.types import Encoder, EncoderSpec, ImageInput, Media, Modality

CODE_VERSION = 1
"""Part of the fingerprint: raise it with any change of code that alters a vector."""
TOKENIZER_PROBE = ("A cat on a sofa, 2 dogs; it's RAINING!", "一只猫坐在沙发上", "naïve café 🐈", "word " * 300)
"""Texts whose tokens stand for the tokenizer in the fingerprint: vocabulary, cleaning, padding and length show."""
_FITS: dict[str, Literal["crop", "squash", "pad"]] = {"shortest": "crop", "squash": "squash", "longest": "pad"}


def load(name: str, device: str = "cpu", *, precision: Precision | None = None) -> Encoder:
    """The encoder of this name. ``precision`` None is bf16 on CUDA and float32 on the CPU.

    A model whose files are those of an earlier call is neither hashed nor loaded before its first vector is wanted.
    Raises ``MissingExtra`` without open_clip, ``UsageError`` for an unknown architecture, tag or device, and
    ``MissingModel`` for files that are not here, are damaged, or need pickle.
    """
    name = absolute(name)
    key = [name, str(CODE_VERSION), *known.hub_place(), *known.versions("open_clip_torch", "transformers")]
    return recalled(key, lambda: _load(name, device, precision, key), device)


def _load(name: str, device: str, precision: Precision | None, key: Sequence[str]) -> OpenClipEncoder:
    try:
        import open_clip  # noqa: F401
    except (ImportError, RuntimeError) as error:  # torchvision beside another torch raises RuntimeError
        raise MissingExtra(f"{name} ({error})", "clip") from error
    place = resolve(device)
    with offline(), _no_root_handler():
        source = find(name)
        digest = _sha256(source)
        model, tokenizer, config = _build(source, precision or default_precision(place))
        _load_weights(source, model)
    encoder = OpenClipEncoder(source.name, model.eval().to(place), tokenizer, config, digest, place)
    known.remember(key, encoder.spec, files(source, config))
    return encoder


class OpenClipEncoder(TorchEncoder):
    """An open_clip model behind the ``Encoder`` protocol; safe to call from several threads."""

    def __init__(self, name: str, model: Any, tokenizer: Any, config: Any, digest: str, device: str) -> None:
        super().__init__()
        import torch

        self.model, self.tokenizer, self.config, self.device = model, tokenizer, config, device
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
            text_tokens=tokenizer.context_length,
        )

    def count_tokens(self, text: str) -> int:
        """The tokens of a text, marks included, before anything is cut off."""
        # There is no common way to ask: with more room than any text of these bytes fills, padding ends the row.
        row = self.tokenizer([plain(text)], context_length=2 * len(text.encode("utf-8", "replace")) + 16)[0]
        return int((row != row[-1]).nonzero().max()) + 1

    def features(self, batch: Sequence[Media], modality: Modality) -> Any:
        if modality is Modality.TEXT:
            tokens = self.tokenizer([plain(text) for text in cast(Sequence[str], batch)])
            return self.model.encode_text(tokens.to(self.device))
        return self.model.encode_image(self.prepared(batch).to(self._dtype))

    def prepared(self, batch: Sequence[Media]) -> Any:
        """Normalised pixels float32 ``(n, 3, size, size)`` on the model's device."""
        pixels = to_pixels(batch, str(self._mean.device))
        return pixels.float().div_(255).sub_(self._mean).div_(self._std)

    def picture_module(self) -> Any:
        """The torch module from these to rows."""
        return self.model.visual


def _image_input(name: str, cfg: dict[str, Any]) -> ImageInput:
    size = cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    need_square(name, height, width)
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
        return known.sha256(source.weights)
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
        raise MissingModel(f"{source.name} can't be built ({line(error)}): {source.remedy}") from error


def _load_weights(source: Source, model: Any) -> None:
    import open_clip

    try:
        with warnings.catch_warnings():
            # torch warns about formats that it then refuses, which is said once, below.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.|open_clip\.")
            open_clip.load_checkpoint(model, source.weights, strict=True, weights_only=not allows_pickle())
    except Exception as error:  # each format fails in its own way, down to StopIteration for an empty one
        if isinstance(error, pickle.UnpicklingError) or "weights_only" in str(error):
            problem = "needs pickle, which could run any code: convert it to safetensors (or MMSEARCH_ALLOW_PICKLE=1)"
        else:
            problem = f"is damaged, or not of this architecture ({line(error)}): copy or fetch it again"
        raise MissingModel(f"{source.name}: {source.weights} {problem}") from error


@contextmanager
def _no_root_handler() -> Iterator[None]:
    """open_clip logs through the root logger, which then installs a handler on stderr unless there is one."""
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
