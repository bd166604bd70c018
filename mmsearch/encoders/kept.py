"""The text tower that is kept beside a library, so that a question in words never starts torch.

    <library>/text/<space>/config.json    the encoder's spec, and the size of every file
                          /textual/...    see `textual`

Derived data: it can be deleted, and is written again by the next `index` that encodes anything. A model whose pictures
need no torch (see `probe`) has a copy in the cache of this machine, so that a new library needs none for its words.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import cast

from mmsearch.encoders import known, textual
from mmsearch.encoders.lazy import LazyEncoder, Tower
from mmsearch.errors import MMSearchError
from mmsearch.types import Encoder, Modality

FOLDER, CONFIG = "text", "config.json"


def open_kept(library: str, space: str, load: Callable[[], Encoder]) -> Encoder | None:
    """An encoder of this space whose words need no model; ``load`` gives the model for anything else.

    None where no tower is kept, or not all of it is there.
    """
    folder = os.path.join(library, FOLDER, space)
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
            config = json.load(file)
        spec = known.spec_from(config["spec"])
        whole = all(os.path.getsize(os.path.join(folder, name)) == size for name, size in config["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if spec.space != space or not whole:
        return None
    encoder: LazyEncoder

    def tower() -> Tower:
        try:
            return cast(Tower, textual.open_tower(folder))
        except MMSearchError:
            raise
        except Exception:  # derived data, damaged in any way: the model itself is the truth
            return lambda batch: encoder.model().encode(batch, Modality.TEXT)

    encoder = LazyEncoder(spec, load, "cpu", {Modality.TEXT: tower})
    return encoder


def keep(library: str, encoder: Encoder) -> list[str]:
    """Keep the text tower of a torch encoder that was used; returns what the user should know."""
    space, cache = encoder.spec.space, known.cache_folder()
    if isinstance(encoder, LazyEncoder) and not encoder.used:
        return []
    try:
        if not _is_there(library, space) and not (_is_there(cache, space) and _copy(cache, library, space)):
            model = encoder.model() if isinstance(encoder, LazyEncoder) else encoder
            if not _is_torch(model):
                return []
            _born(library, space, lambda folder: _write(model, folder))
        if known.has_towers(space) and not _is_there(cache, space):
            _copy(library, cache, space)
    except Exception as error:  # derived data: whatever third-party code raises here, what was indexed is committed
        return [f"questions will load the whole model: its text tower can't be kept ({error})"]
    return []


def _is_there(place: str, space: str) -> bool:
    return open_kept(place, space, _no_model) is not None


def _no_model() -> Encoder:
    raise AssertionError("a tower that is only looked at loads nothing")


def _copy(source: str, target: str, space: str) -> bool:
    """Whether the copy is a tower; a disk without room for it is a failure of the caller's."""
    _born(target, space, lambda folder: _synced(str(shutil.copytree(os.path.join(source, FOLDER, space), folder))))
    return _is_there(target, space)


def _born(place: str, space: str, make: Callable[[str], None]) -> None:
    """Nothing half-written is ever opened: a folder is written beside its place, synced and renamed."""
    folder = os.path.join(place, FOLDER, space)
    newborn = f"{folder}.tmp-{os.getpid()}"
    try:
        make(newborn)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(newborn, folder)
    finally:
        shutil.rmtree(newborn, ignore_errors=True)


def drop(library: str, spaces: Iterable[str]) -> list[str]:
    """Drop the towers of spaces that are none of these; returns the ones dropped."""
    place = os.path.join(library, FOLDER)
    gone = [name for name in (os.listdir(place) if os.path.isdir(place) else []) if name not in set(spaces)]
    for name in gone:
        shutil.rmtree(os.path.join(place, name), ignore_errors=True)
    return gone


def _is_torch(model: object) -> bool:
    from sys import modules

    base = modules.get("mmsearch.encoders.torch_base")
    return base is not None and isinstance(model, base.TorchEncoder)


def _write(model: Encoder, folder: str) -> None:
    from mmsearch.encoders.export_text import write
    from mmsearch.encoders.torch_base import TorchEncoder

    os.makedirs(folder)
    write(cast(TorchEncoder, model), folder)
    place = os.path.join(folder, textual.FOLDER)
    names = [os.path.join(textual.FOLDER, name) for name in sorted(os.listdir(place))]
    spec = asdict(model.spec) | {"modalities": sorted(model.spec.modalities)}
    sizes = {name: os.path.getsize(os.path.join(folder, name)) for name in names}
    with open(os.path.join(folder, CONFIG), "w", encoding="utf-8") as file:
        json.dump({"spec": spec, "files": sizes}, file, indent=1)
    _synced(folder)


def _synced(folder: str) -> None:
    place = os.path.join(folder, textual.FOLDER)
    files = [os.path.join(place, name) for name in os.listdir(place)]
    for path in (*files, os.path.join(folder, CONFIG), place, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
