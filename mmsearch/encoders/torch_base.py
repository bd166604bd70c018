"""What every encoder on torch shares: unit rows on the CPU, batches that fit into memory, weights without pickle."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import numpy as np

from mmsearch.encoders import known
from mmsearch.errors import EncoderError, UsageError
from mmsearch.types import EncoderSpec, FloatArray, ImageInput, Media, Modality

# torch makes this folder as it is imported, below the system's for temporary files unless it is told another place.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(known.cache_folder(), "torch"))

Precision = Literal["float32", "bf16"]


def default_precision(place: str) -> Precision:
    """bf16 on CUDA, float32 on the CPU."""
    return "bf16" if place.startswith("cuda") else "float32"


def allows_pickle() -> bool:
    """Whether the user said ``MMSEARCH_ALLOW_PICKLE=1``: a pickled checkpoint can run any code when it is loaded."""
    return os.environ.get("MMSEARCH_ALLOW_PICKLE") == "1"


class TorchEncoder:
    """Behind the ``Encoder`` protocol; a subclass says how a batch of one modality becomes a tensor of rows."""

    spec: EncoderSpec
    device: str

    def __init__(self) -> None:
        self._most: dict[Modality, int] = {}

    @abstractmethod
    def features(self, batch: Sequence[Media], modality: Modality) -> Any:
        """A tensor ``(n, dim)``, of any length and type; called without gradients."""

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``.

        A batch that does not fit into memory is cut in halves, and later ones stay small. Raises ``EncoderError`` for
        a modality it lacks, ``MemoryError`` when not even one input fits.
        """
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if modality is Modality.IMAGE:
            check_pictures(batch, self.spec)
        rows = []
        done = 0
        while done < len(batch):
            count = min(len(batch) - done, self._most.get(modality, len(batch)))
            try:
                rows.append(self._unit(batch[done : done + count], modality))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                self._shrink(modality, count)
            else:
                done += count
        return np.concatenate(rows) if rows else np.empty((0, self.spec.dim), np.float32)

    def _unit(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        import torch

        with torch.inference_mode():
            unit = torch.nn.functional.normalize(self.features(batch, modality).float(), dim=-1)
            return cast(FloatArray, unit.cpu().numpy())

    def _shrink(self, modality: Modality, count: int) -> None:
        """Halve the batches of a modality after ``count`` inputs did not fit."""
        import torch

        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        if count == 1:
            raise MemoryError(f"out of memory on {self.device}: one {modality} does not fit") from None
        self._most[modality] = count // 2


def is_out_of_memory(error: BaseException) -> bool:
    """Torch's own error for a GPU; its CPU allocator and cuBLAS raise a plain ``RuntimeError``."""
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "alloc_failed" in text


def check_pictures(batch: Sequence[Media], spec: EncoderSpec) -> None:
    """Raise ``EncoderError`` unless every input is a picture as ``spec.image`` asks."""
    size = cast(ImageInput, spec.image).size
    for picture in batch:
        if not isinstance(picture, np.ndarray) or picture.shape != (size, size, 3) or picture.dtype != np.uint8:
            raise EncoderError(f"{spec.name} takes pictures as uint8 ({size}, {size}, 3)")


def plain(text: str) -> str:
    """Text that any tokenizer takes: a shell may hand over bytes that are no text, as lone surrogates."""
    return text.encode("utf-8", "replace").decode()


def to_pixels(batch: Sequence[Media], device: str) -> Any:
    """The pictures of a batch as one uint8 tensor ``(n, 3, h, w)`` on ``device``, in channels-last order."""
    import torch

    pixels = torch.from_numpy(np.stack(cast(Sequence[Any], batch)))
    if device.startswith("cuda"):
        # A pinned page is copied by the device while the processor goes on; bytes are a quarter of floats.
        pixels = pixels.pin_memory().to(device, non_blocking=True)
    return pixels.permute(0, 3, 1, 2)


def line(error: BaseException) -> str:
    """A third party's exception in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def offline() -> Iterator[None]:
    """What open_clip, timm and transformers would look up online comes from the cache, or fails at once."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def need_square(name: str, height: int, width: int) -> int:
    """The size of a square picture; raises ``UsageError`` for any other."""
    if height != width:
        raise UsageError(f"{name} takes pictures of {width}x{height}: only square ones can be prepared")
    return width
