"""Carry a pulled model to a machine without a connection: a folder of its files and a list of their checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from typing import Any

from mmsearch.errors import MissingModel, UsageError
from mmsearch.hub import cache, source

LIST = "mmsearch-model.json"


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

    Raises ``UsageError`` for a folder that holds something, ``MissingModel`` for a damaged file.
    """
    if os.path.isdir(folder) and os.listdir(folder):
        raise UsageError(f"{folder} is not empty: choose another folder")
    packed = []
    for snapshot in snapshots:
        for file in snapshot.files:
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


def read(folder: str) -> str:
    """Put a bundle's files into the cache, each checked first; returns the model's name.

    Raises ``MissingModel`` for a folder that is no bundle, or a file that is missing or wrong: then nothing changes.
    """
    model, packed = _read_list(folder)
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
            document: dict[str, Any] = json.load(stream)
        return str(document["model"]), [Packed(**file) for file in document["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MissingModel(
            f"{path} can't be read ({error}): make the folder with `mmsearch models export MODEL FOLDER --as-is`"
        ) from None


def _path(folder: str, repo: str, name: str) -> str:
    cache.require_name(repo, name)
    return os.path.join(folder, source.repository(repo).replace("/", "--"), name)


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
