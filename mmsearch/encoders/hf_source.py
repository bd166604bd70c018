"""Where a model of Hugging Face's layout is: a folder of the user's, or a repository in the local cache."""

from __future__ import annotations

import hashlib
import json
import os
import re

from mmsearch.encoders import known
from mmsearch.errors import MissingModel, UsageError

_WEIGHTS = (re.compile(r"model(-\d+-of-\d+)?\.safetensors"), re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"))
_SETTINGS = re.compile(r"(config|preprocessor_config|processor_config|modules|.*config_sentence_transformers)\.json")


def absolute(name: str) -> str:
    """``family:PATH`` with the path absolute; a repository's name stays as it is."""
    family, _, where = name.partition(":")
    path = os.path.abspath(os.path.expanduser(where))
    return f"{family}:{path}" if where and (os.path.isdir(path) or where[0] in "./~") else name


def find(name: str) -> str:
    """The folder of ``family:REPO_OR_PATH``. Opens no connection.

    Raises ``UsageError`` for what can't be a repository, ``MissingModel`` for what is not here.
    """
    where = name.partition(":")[2]
    if where.startswith("/"):
        if not os.path.isdir(where):
            raise MissingModel(f"{name}: there is no folder {where}: check the path")
        return where
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        config = try_to_load_from_cache(where, "config.json") or try_to_load_from_cache(where, "modules.json")
    except HFValidationError as error:
        raise UsageError(f"{name}: {where!r} is no repository: {error}") from None
    if not isinstance(config, str):
        raise MissingModel(f"{name} is not in the Hugging Face cache: mmsearch models pull {name}")
    return os.path.dirname(config)


def weights(name: str, folder: str) -> list[str]:
    """All files of weights in a folder: safetensors if there are any, else torch files. In all of its subfolders too.

    Raises ``MissingModel`` if there are none, or if one of several parts is not there.
    """
    below = sorted(os.path.join(place, file) for place, _, files in os.walk(folder) for file in files)
    for pattern in _WEIGHTS:
        if found := [path for path in below if pattern.fullmatch(os.path.basename(path))]:
            _require_all_parts(name, found)
            return found
    raise MissingModel(f"{name}: no weights (model.safetensors, pytorch_model.bin) in {folder}: {remedy(name)}")


def remedy(name: str) -> str:
    """What brings a model's files."""
    return "check the path" if name.partition(":")[2].startswith("/") else f"mmsearch models pull {name}"


def _require_all_parts(name: str, found: list[str]) -> None:
    for path in found:
        if part := re.search(r"-\d+-of-(\d+)\.", path):
            there = sum(os.path.dirname(other) == os.path.dirname(path) for other in found)
            if there < int(part[1]):
                raise MissingModel(f"{name}: {there} of {int(part[1])} files of weights are there: {remedy(name)}")


def digest(name: str, folder: str) -> str:
    """The sha256 over all weights and settings of a model; file names count, places and layout of JSON do not."""
    total = hashlib.sha256()
    try:
        for path in weights(name, folder):
            total.update(f"{os.path.relpath(path, folder)} {known.sha256(path)}\n".encode())
        for place, _, files in sorted(os.walk(folder)):
            for file in sorted(filter(_SETTINGS.fullmatch, files)):
                with open(os.path.join(place, file), encoding="utf-8") as stream:
                    total.update(f"{file} {json.dumps(json.load(stream), sort_keys=True)}\n".encode())
    except (OSError, ValueError) as error:
        raise MissingModel(f"{name}: {folder} can't be read ({error}): {remedy(name)}") from error
    return total.hexdigest()


def files(folder: str) -> list[str]:
    """Everything that, changed, may change what the model is."""
    return [file for place, _, _ in os.walk(folder) for file in known.files_below(place)]
