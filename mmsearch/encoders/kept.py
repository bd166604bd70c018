"""The text tower that is kept beside a library, so that a question in words never starts torch.

    <library>/text/<space>/config.json    the encoder's spec, and the size of every file
                          /sha256sums     see `sums`: what a tower that does not agree would answer is not believed
                          /textual/...    see `textual`

Derived data: it can be deleted, and is written again by the next `index` that encodes anything. A model whose pictures
need no torch (see `probe`) has a copy in the cache of this machine, so that a new library needs none for its words.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import cast

from mmsearch import own
from mmsearch.encoders import known, sums, textual
from mmsearch.encoders.lazy import LazyEncoder, Tower
from mmsearch.errors import MMSearchError, UsageError
from mmsearch.own import PRIVATE_FILE, PRIVATE_FOLDER
from mmsearch.types import Encoder, Modality

FOLDER, CONFIG = "text", "config.json"
_NEWBORN = ".tmp-"
_FILES = (*(os.path.join(textual.FOLDER, name) for name in textual.NAMES), CONFIG)


def open_kept(library: str, space: str, load: Callable[[], Encoder]) -> Encoder | None:
    """An encoder of this space whose words need no model; ``load`` gives the model for anything else.

    None where no tower is kept, or not all of it is as it was. A file is hashed once for each size, time and inode.
    """
    folder = os.path.join(library, FOLDER, space)
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
            config = json.load(file)
        spec = known.spec_from(config["spec"])
        whole = all(os.path.getsize(os.path.join(folder, name)) == size for name, size in config["files"].items())
        whole = whole and not sums.wrong(folder, known.sha256, only=[*config["files"], CONFIG])
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
        elif sums.read(folder := os.path.join(library, FOLDER, space)) is None:  # an older version kept it
            _synced(folder)
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
    parent = _require_own(place)
    folder = os.path.join(parent, space)
    newborn = f"{folder}{_NEWBORN}{os.getpid()}"
    _remove(newborn)
    try:
        make(newborn)
        _remove(folder)
        os.rename(newborn, folder)
    finally:
        _remove(newborn)


def _require_own(place: str) -> str:
    """The folder of the towers, made if it is not there; a link is not followed."""
    parent = os.path.join(place, FOLDER)
    if not os.path.lexists(parent):
        os.makedirs(parent, PRIVATE_FOLDER)
    if not own.is_folder(parent):
        raise UsageError(f"{parent} is a link, or no folder: nothing is written there")
    return parent


def _remove(folder: str) -> bool:
    """Remove a tower, and nothing else that may lie in its folder."""
    return own.remove_folder(folder, [*_FILES, *filter(sums.is_list, _entries(folder))], [textual.FOLDER])


def _entries(folder: str) -> list[str]:
    return os.listdir(folder) if own.is_folder(folder) else []


def drop(library: str, spaces: Iterable[str]) -> list[str]:
    """Drop the towers of spaces that are none of these, and what kills left; returns the names of what is gone."""
    place, used = os.path.join(library, FOLDER), set(spaces)
    unused = [name for name in _entries(place) if name not in used and _is_tower(place, name)]
    return [name for name in unused if _remove(os.path.join(place, name))]


def _is_tower(place: str, name: str) -> bool:
    """Whether a folder holds a tower, or the start of one, and nothing else."""
    folder, (_, newborn, pid) = os.path.join(place, name), name.rpartition(_NEWBORN)
    if not all(entry in (CONFIG, textual.FOLDER) or sums.is_list(entry) for entry in _entries(folder)):
        return False
    if newborn and pid.isascii() and pid.isdecimal():
        return True
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
            return bool({"spec", "files"} <= json.load(file).keys())
    except (OSError, ValueError, AttributeError):
        return False


def damaged(library: str) -> Iterator[tuple[str, list[str]]]:
    """The towers beside a library that are not what was written, every byte read: the space, and names of files."""
    place = os.path.join(library, FOLDER)
    for space in sorted(_entries(place)):
        folder = os.path.join(place, space)
        if own.is_folder(folder) and _NEWBORN not in space and (wrong := sums.wrong(folder)):
            yield space, wrong


def drop_damaged(library: str, space: str) -> bool:
    """Drop one tower: the next `index` that encodes anything keeps it again; until then the model itself answers."""
    return _remove(os.path.join(library, FOLDER, space))


def _is_torch(model: object) -> bool:
    from sys import modules

    base = modules.get("mmsearch.encoders.torch_base")
    return base is not None and isinstance(model, base.TorchEncoder)


def _write(model: Encoder, folder: str) -> None:
    from mmsearch.encoders.export_text import write
    from mmsearch.encoders.torch_base import TorchEncoder

    os.makedirs(folder, PRIVATE_FOLDER)
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
    names = [CONFIG, *(os.path.join(textual.FOLDER, name) for name in os.listdir(place))]
    files = [os.path.join(folder, name) for name in names]
    sums.write(folder, {name: sums.sha256(path) for name, path in zip(names, files, strict=True)})
    for path in files:
        os.chmod(path, PRIVATE_FILE)
    for path in (*files, place, folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
