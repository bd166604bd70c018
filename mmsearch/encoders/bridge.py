"""Two models as one: pictures and words by an image-text model, sounds by an audio-text model, in one space.

The sounds' vectors are carried over by a linear map, which was fitted on sentences that both text towers read
(`mmsearch.retrieval.bridge` fits it; `mmsearch bridge` is the command). A name is ``bridge:FILE``; the file holds the
map, the names of both models and the fingerprints of their spaces: 1 MB for 512 dimensions. A library keeps its own
copy in ``bridges/``, which is found again when the library, or the file, has moved. Questions in words load the
image-text model alone.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, cast
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from mmsearch import own
from mmsearch.encoders import sums
from mmsearch.errors import EncoderError, MissingModel, UsageError
from mmsearch.own import PRIVATE_FOLDER
from mmsearch.types import Encoder, FloatArray, Media, Modality, require_same_space

FOLDER = "bridges"
"""Where a library keeps its maps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bridge:
    """A fitted map: float32 ``weight`` ``(audio dim, dim)``, ``words`` ``(audio dim,)``, ``photos`` ``(dim,)``."""

    image_model: str
    image_space: str
    audio_model: str
    audio_space: str
    weight: FloatArray
    words: FloatArray
    """The middle of the words in the audio-text space: sounds are told apart by where they lie from there."""
    photos: FloatArray
    """The middle of the photos in the image-text space: there the sounds are put."""
    spread: float
    """How far photos lie from their middle. Photos score lower than words do (the modality gap); sounds that were put
    where their words are would stand before every photo."""
    audio_rate: int
    audio_window: float

    def carry(self, sounds: FloatArray) -> FloatArray:
        """Vectors of the audio-text model, unit rows ``(n, audio dim)``, as unit rows ``(n, dim)``."""
        moved = np.float32(self.spread) * unit((sounds - self.words) @ self.weight)
        return unit(moved + self.photos)

    @property
    def space(self) -> str:
        """The fingerprint: it changes with either model and with the map."""
        digest = hashlib.sha256(f"{self.image_space} {self.audio_space} {self.spread!r}".encode())
        for part in (self.weight, self.words, self.photos):
            digest.update(np.ascontiguousarray(part).tobytes())
        return f"bridge-{digest.hexdigest()[:16]}"

    def save(self, path: str) -> None:
        """Write the file, whole or not at all, and its folder."""
        fresh = f"{path}.{os.getpid()}"
        own.remove(fresh)
        with open(own.create(fresh), "wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)


def unit(rows: npt.NDArray[Any]) -> FloatArray:
    """Rows of length 1; a row of zeros stays as it is."""
    return cast(FloatArray, rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12)))


def read(path: str) -> Bridge:
    """The bridge in a file. Raises ``MissingModel`` where there is none, or a damaged one."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            values = {name: stored[name] for name in stored.files}
        return Bridge(**{name: value.item() if value.ndim == 0 else value for name, value in values.items()})
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        raise MissingModel(f"bridge:{path} can't be read ({error}): run `mmsearch bridge` again") from None


def load(name: str, device: str = "cpu", library: str | None = None) -> BridgeEncoder:
    """The encoder ``bridge:FILE``. Raises ``MissingModel`` where neither the file nor the library's copy is here."""
    path = os.path.abspath(os.path.expanduser(name.partition(":")[2]))
    if library and not os.path.exists(path) and os.path.exists(copy := _copy(library, path)):
        path = copy
    return BridgeEncoder(f"bridge:{path}", read(path), device)


def keep(library: str, encoder: BridgeEncoder) -> None:
    """Copy the map of a bridge that a library was indexed with into the library."""
    if not os.path.exists(copy := _copy(library, encoder.spec.name)):
        save(library, os.path.basename(copy), encoder.bridge)


def save(library: str, name: str, bridge: Bridge) -> str:
    """Keep a map in a library, with its sha256 in the list beside it; returns its path."""
    folder = os.path.join(library, FOLDER)
    if not os.path.lexists(folder):
        os.mkdir(folder, PRIVATE_FOLDER)
    if not own.is_folder(folder):
        raise UsageError(f"{folder} is a link, or no folder: nothing is written there")
    path = os.path.join(folder, name)
    bridge.save(path)
    # What is listed stays as it was listed: damage is not to become the rule.
    known = {**{other: sums.sha256(os.path.join(folder, other)) for other in _maps(library)}, **_listed(folder)}
    sums.write(folder, {**known, name: sums.sha256(path)})
    return path


def _listed(folder: str) -> dict[str, str]:
    try:
        return sums.read(folder) or {}
    except (OSError, ValueError):
        return {}


def _maps(library: str) -> list[str]:
    folder = os.path.join(library, FOLDER)
    names = sorted(os.listdir(folder)) if own.is_folder(folder) else []
    halves = {name for name in names if name.rpartition(".")[2].isdecimal()}  # `Bridge.save` was killed
    return [n for n in names if n not in halves and not sums.is_list(n) and own.is_file(os.path.join(folder, n))]


def damaged(library: str) -> list[str]:
    """The names of the maps in a library that are not what was written, every byte read; the list itself is one."""
    return sums.wrong(os.path.join(library, FOLDER))


def list_again(library: str, spaces: Container[str], dry_run: bool = False) -> list[str]:
    """Mend the list of the maps; one whose content is that of a space is whole. Returns the names of the others."""
    folder, wrong = os.path.join(library, FOLDER), set(damaged(library))
    listed = _listed(folder)
    suspect = {name for name in _maps(library) if name in wrong or name not in listed}
    broken = {name for name in suspect if not _is_map_of(os.path.join(folder, name), spaces)}
    kept = {name: digest for name, digest in listed.items() if name in _maps(library) and name not in suspect - broken}
    if not dry_run:
        sums.write(folder, {name: kept.get(name) or sums.sha256(os.path.join(folder, name)) for name in _maps(library)})
    return sorted(broken)


def _is_map_of(path: str, spaces: Container[str]) -> bool:
    try:
        return read(path).space in spaces
    except MissingModel:
        return False


def image_spaces(library: str) -> list[str]:
    """The spaces of the image-text models that the bridges of a library answer questions with."""
    folder = os.path.join(library, FOLDER)
    found = []
    for name in _maps(library):
        with suppress(MissingModel):
            found.append(read(os.path.join(folder, name)).image_space)
    return found


def _copy(library: str, path: str) -> str:
    return os.path.join(library, FOLDER, os.path.basename(path))


class BridgeEncoder:
    """Both models behind one ``Encoder``; the audio-text model loads when the first sound comes.

    ``image``: the image-text model, or what answers its questions; None loads it by its name.
    """

    def __init__(self, name: str, bridge: Bridge, device: str, image: Encoder | None = None) -> None:
        from mmsearch.encoders import registry

        self.bridge, self._device = bridge, device
        self.image = image or registry.load(bridge.image_model, device)
        require_same_space(bridge.image_space, self.image.spec.space)
        self.device = getattr(self.image, "device", "cpu")
        self.spec = replace(
            self.image.spec,
            name=name,
            space=bridge.space,
            modalities=self.image.spec.modalities | {Modality.AUDIO},
            licence=f"{self.image.spec.licence}; sounds: as {bridge.audio_model}",
            audio_rate=bridge.audio_rate,
            audio_window=bridge.audio_window,
        )

    @cached_property
    def _audio(self) -> Encoder:
        from mmsearch.encoders import registry

        audio = registry.load(self.bridge.audio_model, self._device)
        require_same_space(self.bridge.audio_space, audio.spec.space)
        return audio

    def encode(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """Unit rows float32 ``(len(batch), dim)``; raises ``EncoderError`` for a modality that neither model has."""
        if modality not in self.spec.modalities:
            raise EncoderError(f"{self.spec.name} can't encode {modality}")
        if modality is not Modality.AUDIO:
            return self.image.encode(batch, modality)
        return self.bridge.carry(self._audio.encode(batch, modality))

    def encode_query(self, batch: Sequence[Media], modality: Modality) -> FloatArray:
        """As ``encode``, by the image-text model's own way for questions if it has one."""
        if modality is not Modality.TEXT:
            return self.encode(batch, modality)
        rows: FloatArray = getattr(self.image, "encode_query", self.image.encode)(batch, modality)
        return rows
