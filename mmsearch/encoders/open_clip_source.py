"""Where an open_clip model is: from its name to a configuration and a file of weights, without a connection."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from mmsearch.encoders.known import files_below
from mmsearch.errors import MissingModel, UsageError

_CONFIG = "open_clip_config.json"
_TOKENIZER = "tokenizer_config.json"
_HUB_NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a model comes from: what open_clip calls its configuration, and its weights."""

    name: str
    config: str
    weights: str
    remedy: str = "check the path"
    tag: dict[str, Any] = field(default_factory=dict)
    """What open_clip knows about a pretrained tag: its preprocessing and its activation."""


def absolute(name: str) -> str:
    """The name with any path in it absolute, so that it means the same from every folder."""
    rest = name.removeprefix("open_clip:")
    kind, _, where = rest.partition(":")
    if kind == "local-dir":
        return f"open_clip:local-dir:{os.path.abspath(os.path.expanduser(where))}"
    architecture, _, pretrained = rest.partition("/")
    path = os.path.abspath(os.path.expanduser(pretrained))
    if kind != "hf-hub" and pretrained and os.path.isfile(path):
        return f"open_clip:{architecture}/{path}"
    return name


def files(source: Source, config: dict[str, Any]) -> list[str]:
    """All files and folders that, changed, may change what the model is."""
    text = config.get("text_cfg") or {}
    named = {repo for key in ("hf_model_name", "hf_tokenizer_name") if (repo := str(text.get(key) or ""))}
    folders = [repo if os.path.isdir(repo) else os.path.dirname(_cached(repo, _TOKENIZER) or "") for repo in named]
    if source.config.startswith(("local-dir:", "hf-hub:")):
        folders.append(os.path.dirname(source.weights))
    return [source.weights, *(file for folder in folders if folder for file in files_below(folder))]


def find(name: str) -> Source:
    """What a name stands for. Opens no connection.

    Raises ``UsageError`` for an architecture, tag or repository that can't be, ``MissingModel`` for files that are
    not here, with the line that fetches them.
    """
    rest = name.removeprefix("open_clip:")
    kind, _, where = rest.partition(":")
    if kind == "local-dir":
        folder = os.path.abspath(os.path.expanduser(where))
        weights = _in_folder(name, folder, "check the path")
        return Source(name=f"open_clip:local-dir:{folder}", config=f"local-dir:{folder}", weights=weights)
    if kind == "hf-hub":
        remedy = f"mmsearch models pull {name}"
        config = _cached(where, _CONFIG)
        if not config:
            raise MissingModel(f"{name} is not in the Hugging Face cache: {remedy}")
        weights = _in_folder(name, os.path.dirname(config), remedy)
        return Source(name=name, config=rest, weights=weights, remedy=remedy)
    return _of_architecture(name, *rest.partition("/")[::2])


def _of_architecture(name: str, architecture: str, pretrained: str) -> Source:
    """A built-in architecture with the weights of a tag or of a checkpoint file."""
    import open_clip

    known = open_clip.list_models()
    if architecture not in known:
        nearest = _nearest(architecture, known)
        raise UsageError(f"open_clip has no architecture {architecture!r}: did you mean {nearest}?")
    tag = open_clip.get_pretrained_cfg(architecture, pretrained)
    if tag:
        remedy = f"mmsearch models pull {name}"
        return Source(name=name, config=architecture, weights=_of_tag(name, tag, remedy), remedy=remedy, tag=tag)
    path = os.path.abspath(os.path.expanduser(pretrained))
    if pretrained and os.path.isfile(path):
        return Source(name=f"open_clip:{architecture}/{path}", config=architecture, weights=path)
    if "/" in pretrained or pretrained.endswith(_WEIGHTS):
        raise MissingModel(f"{name}: there is no checkpoint {path}: check the path")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    choice = f"use {_nearest(pretrained, tags)}, or" if tags else "give"
    raise UsageError(f"{architecture} has no weights {pretrained!r}: {choice} the path of a checkpoint")


def _nearest(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), lower, n=5, cutoff=0.4)
    return " or ".join([lower[match] for match in close] or names[:5])


def _of_tag(name: str, tag: dict[str, Any], remedy: str) -> str:
    """The weights of a pretrained tag in the Hugging Face cache, or in open_clip's own of older releases."""
    repo, file = os.path.split(tag.get("hf_hub") or "")
    plain = (f"{os.path.splitext(file)[0]}.safetensors", file)
    for candidate in (plain if file else _HUB_NAMES) if repo else ():
        if path := _cached(repo, candidate):
            return path
    old = os.path.join(os.path.expanduser("~/.cache/clip"), os.path.basename(tag.get("url") or ""))
    if os.path.isfile(old):
        return old
    raise MissingModel(f"{name} is not in the local caches: {remedy}")


def _cached(repo: str, file: str) -> str | None:
    """A file's path in the Hugging Face cache (``HF_HOME``), None if it is not there."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        path = try_to_load_from_cache(repo, file)
    except HFValidationError as error:
        raise UsageError(f"{repo!r} is no repository: {error}") from None
    return path if isinstance(path, str) else None


def _in_folder(name: str, folder: str, remedy: str) -> str:
    """The weights in a folder: open_clip's own names first, safetensors before torch files."""
    if not os.path.isfile(os.path.join(folder, _CONFIG)):
        raise MissingModel(f"{name}: there is no {folder}/{_CONFIG}: {remedy}")
    files = [file for file in os.listdir(folder) if file.endswith(_WEIGHTS)]
    if not files:
        raise MissingModel(f"{name}: no weights ({', '.join(_WEIGHTS)}) in {folder}: {remedy}")
    best = min(files, key=lambda file: (not file.startswith("open_clip"), not file.endswith(_WEIGHTS[0]), file))
    return os.path.join(folder, best)
