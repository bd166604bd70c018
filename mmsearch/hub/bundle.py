"""Carry a pulled model to a machine without a connection: a folder of its files and a list of their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, fields
from typing import Any

from mmsearch.errors import MissingModel, UsageError
from mmsearch.hub import cache, source

LIST = "mmsearch-model.json"
LONGEST = 10_000_000
"""Characters of such a list: some hundred for each file."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A file of a bundle. ``blob`` is its name in the cache, ``sha256`` that of its bytes."""

    repo: str
    commit: str
    name: str
    bytes: int
    sha256: str
    blob: str


def write(model: str, snapshots: list[cache.Snapshot], folder: str) -> list[Packed]:
    """Copy the files of a model into ``folder``, which must be new or empty, and list them.

    What other programs have put beside them stays; so do pickled weights, where the model has others.

    Raises ``UsageError`` for a folder that holds something, ``MissingModel`` for a damaged file.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{folder} is not empty: choose another folder")
    packed = []
    for snapshot in snapshots:
        for file in _wanted(snapshot):
            if not file.digest or not cache.intact(file.path, file.digest):
                raise MissingModel(f"{snapshot.repo}: {file.name} is damaged: mmsearch models pull {model}")
            target = _path(folder, snapshot.repo, file.name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(file.path, target)
            packed.append(Packed(snapshot.repo, snapshot.commit, file.name, file.bytes, _sha256(target), file.digest))
    # The list comes last: a folder without one is not taken for a bundle.
    with open(os.path.join(folder, LIST), "w", encoding="utf-8") as stream:
        json.dump({"model": model, "files": [asdict(file) for file in packed]}, stream, indent=1)
    return packed


def _wanted(snapshot: cache.Snapshot) -> list[cache.File]:
    safe = any(file.name.endswith(".safetensors") for file in snapshot.files)
    return [
        file
        for file in snapshot.files
        if source.is_small_or_safe(file.name) or (source.is_pickled(file.name) and not safe)
    ]


def read(folder: str, allow_pickle: bool = False) -> str:
    """Put a bundle's files into the cache, each checked first; returns the model's name.

    Only files that `models pull` would fetch are taken: other programs share the cache, and run what is in it. Raises
    ``MissingModel`` for a folder that is no bundle, or a file that is missing, wrong or of another kind: then nothing
    changes.
    """
    model, packed = _read_list(folder)
    for file in packed:
        if source.is_pickled(file.name) and not allow_pickle:
            raise MissingModel(
                f"{folder}: {file.name!r} is pickled, a format that can carry code: add --allow-pickle to take it "
                "(mmsearch reads nothing but plain tensors from it)"
            )
        if not source.is_small_or_safe(file.name) and not source.is_pickled(file.name):
            raise MissingModel(f"{folder}: {file.name!r} is no part of a model that `mmsearch models pull` would fetch")
    if not all(re.fullmatch(r"[0-9a-f]{40}", file.commit) for file in packed):
        raise MissingModel(f"{folder}/{LIST} names no commit: copy the bundle again")
    for file in packed:
        path = _path(folder, file.repo, file.name)
        if not cache.intact(path, file.blob) or _sha256(path) != file.sha256:
            raise MissingModel(f"{path} is missing or has a wrong checksum: copy the bundle again")
    for file in packed:
        target = cache.blob(file.repo, file.blob)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        fresh = f"{target}.{os.getpid()}"
        shutil.copyfile(_path(folder, file.repo, file.name), fresh)
        os.replace(fresh, target)
        cache.link(file.repo, file.commit, file.name, file.blob)
    for repo, commit in {(file.repo, file.commit) for file in packed}:
        cache.use(repo, commit)
    return model


def _read_list(folder: str) -> tuple[str, list[Packed]]:
    path = os.path.join(folder, LIST)
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise ValueError("too long")
        document: dict[str, Any] = json.loads(text)
        model, packed = document["model"], [Packed(**file) for file in document["files"]]
        if not isinstance(model, str) or not model.isprintable() or not packed:
            raise ValueError("no model, or no files")
        for file in packed:
            kinds = {field.name: int if field.name == "bytes" else str for field in fields(Packed)}
            if any(not isinstance(getattr(file, name), kind) for name, kind in kinds.items()):
                raise ValueError(f"a file is described by {asdict(file)}")
        return model, packed
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise MissingModel(
            f"{path} can't be read ({error}): make the folder with `mmsearch models export MODEL FOLDER --as-is`"
        ) from None


def _path(folder: str, repo: str, name: str) -> str:
    cache.require_name(repo, name)
    return os.path.join(folder, source.repository(repo).replace("/", "--"), name)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
