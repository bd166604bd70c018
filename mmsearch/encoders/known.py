"""What is already known about a model's files, so that an unchanged model is neither loaded nor hashed again.

One small JSON file a model under the platform's cache folder (``$MMSEARCH_CACHE``): the encoder's spec, and the size,
times and inode of every file that it was computed from. Everything here can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from mmsearch.types import EncoderSpec, ImageInput, Modality

Stat = tuple[int, int, int, int]
TOWERS = "towers"


def cache_folder() -> str:
    """``$MMSEARCH_CACHE``, else the platform's folder for caches."""
    if named := os.environ.get("MMSEARCH_CACHE"):
        return os.path.abspath(named)
    import platformdirs

    return platformdirs.user_cache_dir("mmsearch", appauthor=False)


def recall(key: Sequence[str]) -> EncoderSpec | None:
    """The spec that `remember` kept under ``key``, if every file that it came from is as it was."""
    found = read_note("specs", key)
    try:
        if found is None or any(_stat(path) != tuple(stat) for path, stat in found["files"].items()):
            return None
        return spec_from(found["spec"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def remember(key: Sequence[str], spec: EncoderSpec, files: Iterable[str]) -> None:
    """Keep a spec under ``key``. ``files``: all files and folders that, changed, may change the spec."""
    stats = {path: _stat(path) for path in files}
    write_note("specs", key, {"spec": asdict(spec) | {"modalities": sorted(spec.modalities)}, "files": stats})


def sha256(path: str) -> str:
    """A file's sha256, computed once for each size, time and inode: a second of one core for each gigabyte.

    Raises ``OSError`` for a file that can't be read.
    """
    before, key = _stat(path), ["sha256", os.path.realpath(path)]
    note = read_note("specs", key)
    if isinstance(note, list) and len(note) == 2 and before is not None and note[1] == list(before):
        return str(note[0])
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if before is not None and before == _stat(path):
        write_note("specs", key, [digest, before])
    return digest


def has_towers(space: str) -> bool:
    """Whether a way of running this model's pictures is kept on this machine; see `probe`."""
    return os.path.isdir(os.path.join(cache_folder(), TOWERS, space))


def read_note(kind: str, key: Sequence[str]) -> Any | None:
    """What `write_note` kept, None if nothing is there or it can't be read."""
    try:
        with open(_path(kind, key), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def write_note(kind: str, key: Sequence[str], value: Any) -> bool:
    """Keep a JSON value; a cache that can't be written costs time and nothing else. Returns whether it could."""
    path = _path(kind, key)
    newborn = f"{path}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(newborn, "w", encoding="utf-8") as file:
            json.dump(value, file)
        os.replace(newborn, path)
    except OSError:
        return False
    return True


def spec_from(facts: dict[str, Any]) -> EncoderSpec:
    """The spec whose fields `dataclasses.asdict` gave; raises ``TypeError`` or ``ValueError`` for anything else."""
    image = facts["image"] and ImageInput(**facts["image"])
    return EncoderSpec(
        **facts | {"image": image, "modalities": frozenset(Modality(kind) for kind in facts["modalities"])}
    )


def versions(*packages: str) -> list[str]:
    """The installed versions of some distributions, as part of a key: another version may make other vectors.

    Read off the names of their folders: importing ``importlib.metadata`` costs 30 ms.
    """
    found = {package.replace("-", "_"): "-" for package in packages}
    for place in reversed(sys.path):  # the first one counts
        with suppress(OSError):
            for entry in os.listdir(place or "."):
                name, _, version = entry.removesuffix(".dist-info").partition("-")
                if entry.endswith(".dist-info") and name.lower() in found:
                    found[name.lower()] = version
    return [f"{package} {version}" for package, version in found.items()]


def hub_place() -> list[str]:
    """What decides where Hugging Face's cache is, as part of a key. Does not import its package."""
    return [os.environ.get(name, "") for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME")]


def files_below(folder: str) -> list[str]:
    """A folder, the files in it, and the reference that says which snapshot of a repository is current."""
    found = [folder, *(entry.path for entry in os.scandir(folder) if entry.is_file())]
    reference = os.path.join(folder, os.pardir, os.pardir, "refs", "main")
    return [*found, reference] if os.path.basename(os.path.dirname(folder)) == "snapshots" else found


def _path(kind: str, key: Sequence[str]) -> str:
    name = hashlib.sha256("\0".join(key).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return os.path.join(cache_folder(), kind, f"{name}.json")


def _stat(path: str) -> Stat | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
