"""An encoder whose spec is known before its model is loaded: what needs no vectors never pays for the model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from mmsearch.encoders import known
from mmsearch.encoders.device import resolve
from mmsearch.errors import EncoderError, MissingModel
from mmsearch.types import Encoder, EncoderSpec, FloatArray, Media, Modality

Tower: TypeAlias = Callable[[Sequence[Media]], FloatArray]
"""Inputs of one modality to unit rows float32 ``(n, dim)``."""


class LazyEncoder:
    """``encode`` asks a ready tower of the modality if there is one, else the model, which it loads once."""

    def __init__(
        self,
        spec: EncoderSpec,
        load: Callable[[], Encoder],
        device: str = "cpu",
        towers: Mapping[Modality, Callable[[], Tower]] | None = None,
    ) -> None:
        self.spec = spec
        self._load, self._device, self._makers = load, device, dict(towers or {})
        self._model: Encoder | None = None
        self._towers: dict[Modality, Tower] = {}
        self._lock, self._tower_lock = threading.Lock(), threading.Lock()

    @classmethod
    def of(cls, model: Encoder) -> LazyEncoder:
        """A model that is loaded already, behind towers that can be replaced."""
        lazy = cls(model.spec, lambda: model, str(getattr(model, "device", "cpu")))
        lazy._model = model
        return lazy

    def use(self, modality: Modality, make: Callable[[], Tower]) -> None:
        """Let ``make`` give the tower of a modality, when it is first needed."""
        self._makers[modality] = make

    @property
    def device(self) -> str:
        """Where the model runs; what was asked for until it is loaded."""
        towers = [str(tower.device) for tower in self._towers.values() if hasattr(tower, "device")]
        return towers[0] if towers else str(getattr(self._model, "device", self._device))

    @property
    def loaded(self) -> Encoder | None:
        """The model, if it was needed so far."""
        return self._model

    @property
    def used(self) -> bool:
        """Whether a vector was wanted so far, of a tower or of the model."""
        return self._model is not None or bool(self._towers)

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``; raises ``EncoderError`` for a modality it lacks."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if not len(batch):
            return np.empty((0, self.spec.dim), np.float32)
        if modality in self._makers:
            return self._tower(modality)(batch)
        return self.model().encode(batch, modality)

    def encode_query(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """As ``encode``, by the model's own way for questions if it has one."""
        if modality in self._makers or modality not in self.spec.modalities:
            return self.encode(batch, modality)
        model = self.model()
        rows: FloatArray = getattr(model, "encode_query", model.encode)(batch, modality)
        return rows

    def count_tokens(self, text: str) -> int:
        """The tokens of a text; only where ``spec.text_tokens`` is known."""
        count: int = self.model().count_tokens(text)  # type: ignore[attr-defined]
        return count

    def model(self) -> Encoder:
        """The whole model. Raises ``MissingModel`` if it is no longer the one that the spec describes."""
        with self._lock:
            if self._model is None:
                model = self._load()
                if model.spec.space != self.spec.space:
                    raise MissingModel(f"{self.spec.name} has changed on the disk: run `mmsearch index` again")
                self._model = model
            return self._model

    def _tower(self, modality: Modality) -> Tower:
        with self._tower_lock:
            if modality not in self._towers:
                self._towers[modality] = self._makers[modality]()
            return self._towers[modality]


def recalled(key: Sequence[str], load: Callable[[], Encoder], device: str) -> Encoder:
    """The encoder whose spec `known.remember` kept under ``key``, behind ``load``; loaded at once where none is known.

    Raises ``UsageError`` for a device that is not here.
    """
    spec = known.recall(key)
    if spec is None:
        return load()
    if device not in ("cpu", "auto"):
        resolve(device)
    return LazyEncoder(spec, load, device)
