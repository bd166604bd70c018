"""Decoded inputs to a transformers model's tensors, by the model's own processor, one class a modality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from mmsearch.encoders.torch_base import need_square, plain, to_pixels
from mmsearch.errors import UsageError
from mmsearch.types import FloatArray, ImageInput, Media

_RESAMPLE: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers. Others (Lanczos, nearest) are refused: vectors would be a little wrong."""


class Words:
    """Texts to ids and mask, padded as the model was trained."""

    def __init__(self, tokenizer: Any, model: Any, processor: Any) -> None:
        self.tokenizer = tokenizer
        config = getattr(model.config, "text_config", model.config)
        self.longest = _longest(tokenizer, config, processor)
        # SigLIP was trained without a mask, on texts of full length: padding is part of what it reads.
        self.fixed = str(model.config.model_type).startswith("siglip")

    def __call__(self, batch: Sequence[Media]) -> dict[str, Any]:
        return dict(
            self.tokenizer(
                [plain(text) for text in cast(Sequence[str], batch)],
                padding="max_length" if self.fixed else True,
                truncation=True,
                max_length=self.longest,
                return_tensors="pt",
            )
        )

    def count(self, text: str) -> int:
        """The tokens of a text, marks included, before anything is cut off."""
        return len(self.tokenizer(plain(text), verbose=False)["input_ids"])

    def stand_in(self) -> dict[str, Any]:
        """The tensors of one short text."""
        return self(["a"])

    def ids(self, text: str) -> npt.NDArray[np.int64]:
        """The tokens of one text."""
        return cast(npt.NDArray[np.int64], self([text])["input_ids"][0].numpy())


def _longest(tokenizer: Any, config: Any, processor: Any) -> int:
    """So many tokens at most: the processor's own limit, the tokenizer's, or the number of positions."""
    limits = [int(tokenizer.model_max_length)]
    if own := getattr(processor, "text_kwargs", {}).get("max_length"):
        limits.append(int(own))
    if positions := getattr(config, "max_position_embeddings", None):
        # RoBERTa counts positions from the padding's id on.
        roberta = "roberta" in str(config.model_type) or config.model_type in ("clap_text_model", "altclip_text_model")
        limits.append(int(positions) - (int(config.pad_token_id or 0) + 1 if roberta else 0))
    return min(limits)


class Pictures:
    """Prepared pictures to pixels. ``wanted`` is the resize that the decoder does; the processor does all the rest."""

    def __init__(self, name: str, processor: Any) -> None:
        self._processor = processor
        self.wanted = wanted(name, processor.to_dict())

    def __call__(self, batch: Sequence[Media]) -> dict[str, Any]:
        pictures = list(to_pixels(batch, "cpu"))
        return dict(self._processor(pictures, do_resize=False, input_data_format="channels_first", return_tensors="pt"))

    def stand_in(self) -> dict[str, Any]:
        """The tensors of one black picture."""
        return self([np.zeros((self.wanted.size, self.wanted.size, 3), np.uint8)])


class Frames(Pictures):
    """Pictures for a model of videos: each is a video of one frame."""

    def __call__(self, batch: Sequence[Media]) -> dict[str, Any]:
        videos = list(to_pixels(batch, "cpu")[:, None])
        return dict(self._processor(videos, do_resize=False, do_sample_frames=False, return_tensors="pt"))


def wanted(name: str, settings: dict[str, Any]) -> ImageInput:
    """The picture that is left to crop, scale and normalise once it has been resized."""
    size = {key: value for key, value in dict(settings.get("size") or {}).items() if value}
    resample = _RESAMPLE.get(int(settings.get("resample") or 0))
    if resample is None:
        raise UsageError(f"{name}: resample {settings.get('resample')} is neither bilinear (2) nor bicubic (3)")
    if patches := settings.get("max_num_patches"):
        # SigLIP2 of any aspect ratio gets the square one: all pictures of a batch have one shape.
        side = math.isqrt(int(patches)) * int(settings["patch_size"])
        return ImageInput(size=side, fit="squash", resample=resample)
    if "height" in size and "width" in size:
        return ImageInput(size=need_square(name, size["height"], size["width"]), fit="squash", resample=resample)
    if "shortest_edge" in size:
        return ImageInput(size=int(size["shortest_edge"]), fit="crop", resample=resample)
    raise UsageError(f"{name}: can't prepare pictures of size {size or 'unknown'}")


class Sounds:
    """Samples at ``rate`` hertz to the model's features; ``window`` is how many seconds it hears at once."""

    def __init__(self, extractor: Any) -> None:
        self._extractor = extractor
        self.rate = int(extractor.sampling_rate)
        self._most = int(getattr(extractor, "nb_max_samples", 0))
        self.window = self._most / self.rate if self._most else 10.0

    def cut(self, samples: FloatArray) -> list[FloatArray]:
        """Parts that the model hears whole: CLAP's extractor would take a random part of anything longer."""
        if not self._most or len(samples) <= self._most:
            return [samples]
        return [samples[start : start + self._most] for start in range(0, len(samples), self._most)]

    def alike(self, batch: Sequence[FloatArray]) -> list[list[int]]:
        """The places of sounds that may be prepared together.

        Where the extractor fills all to one length, any may; else those of a length, as padding changes a vector.
        """
        if self._most:
            return [list(range(len(batch)))]
        places: dict[int, list[int]] = {}
        for i, samples in enumerate(batch):
            places.setdefault(len(samples), []).append(i)
        return list(places.values())

    def stand_in(self) -> dict[str, Any]:
        """The tensors of a fifth of a second of silence."""
        return self([np.zeros(self.rate // 5, np.float32)])

    def __call__(self, batch: Sequence[FloatArray]) -> dict[str, Any]:
        import torch

        tensors = dict(self._extractor(list(batch), sampling_rate=self.rate, return_tensors="pt"))
        if "is_longer" in tensors:
            # No part is longer than the model hears; the extractor marks one at random, which training wanted.
            tensors["is_longer"] = torch.zeros_like(torch.as_tensor(tensors["is_longer"]))
        return tensors
