"""Bridge a library: find its two spaces, fit the map, carry the stored vectors over, let queries use the result."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmsearch.encoders.bank import bank_of
from mmsearch.encoders.bridge import BridgeEncoder, save
from mmsearch.encoders.sentences import sentences as own_sentences
from mmsearch.errors import UsageError
from mmsearch.retrieval.bridge import Fit, fit
from mmsearch.store import artifacts, levels
from mmsearch.store.catalog import Catalog
from mmsearch.store.derive import Origin, fill, some_vectors
from mmsearch.store.reader import Space
from mmsearch.types import Encoder, Modality, require_same_space


@dataclass(frozen=True, slots=True)
class Bridged:
    """What a bridge was made of and how it came out."""

    model: str
    image_model: str
    audio_model: str
    fit: Fit
    copied: int
    carried: int
    pending: int
    """Files that neither model had encoded: queries change over when none is left."""


def bridge_library(
    catalog: Catalog,
    load: Callable[[str], Encoder],
    *,
    image_model: str | None = None,
    audio_model: str | None = None,
    sentences: Sequence[str] = (),
) -> Bridged:
    """Make one space of an image-text and an audio-text model's.

    ``sentences`` come beside our own and the library's captions. Raises ``UsageError`` where the library does not hold
    such spaces, ``SpaceMismatch`` for a model that has changed, ``EncoderError`` where no bridge holds.
    """
    reader = catalog.reader
    spaces = [space for space in reversed(reader.spaces()) if not space.model.startswith("bridge:")]
    image = _space(spaces, load, image_model, Modality.IMAGE, Modality.AUDIO)
    others = [space for space in spaces if space.id != image.id]
    audio = _space(others, load, audio_model, Modality.AUDIO, Modality.IMAGE)
    first, second = (load(space.model) for space in (image, audio))
    for space, encoder in ((image, first), (audio, second)):
        require_same_space(space.fingerprint, encoder.spec.space)
    texts = [*own_sentences(), *(str(row[0]) for row in reader.query(_CAPTIONS)), *sentences]
    bridge, quality = fit(first, second, texts, some_vectors(catalog, image, Modality.IMAGE))
    path = save(catalog.folder, f"{bridge.space}.npz", bridge)
    encoder = BridgeEncoder(f"bridge:{path}", bridge, "cpu")
    target = catalog.space(encoder.spec)
    run_id = catalog.start_run(target.id, "cpu")
    copied, carried = fill(
        catalog, target, [Origin(image, False, lambda rows: rows), Origin(audio, True, bridge.carry)]
    )
    pending = catalog.pending(target.id)
    if not pending:
        catalog.activate(target.id)
    levels.refresh(catalog, target, bank_of(encoder))
    artifacts.refresh(catalog, target)
    catalog.finish_run(run_id, json.dumps({"copied": copied, "carried": carried}))
    return Bridged(encoder.spec.name, image.model, audio.model, quality, copied, carried, pending)


def _space(
    spaces: list[Space], load: Callable[[str], Encoder], model: str | None, needed: Modality, better_without: Modality
) -> Space:
    """The first space whose model knows words and ``needed``; rather one of a model that lacks the other kind."""
    if model is not None:
        spaces = [space for space in spaces if space.model == model]
    kinds = {space.id: load(space.model).spec.modalities for space in spaces}
    able = [space for space in spaces if {needed, Modality.TEXT} <= kinds[space.id]]
    if not able:
        what = "photos" if needed is Modality.IMAGE else "sounds"
        raise UsageError(
            f"no model in this library takes words and {what}{f' and is called {model}' if model else ''}: "
            f"mmsearch index FOLDER --model {model or 'MODEL'}"
        )
    return next((space for space in able if better_without not in kinds[space.id]), able[0])


_CAPTIONS = "SELECT DISTINCT caption FROM item WHERE caption IS NOT NULL AND gone IS NULL ORDER BY caption LIMIT 20000"
