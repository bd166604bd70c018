"""What a model consists of: from its name to repositories of the Hugging Face Hub, and the files needed of each."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from mmsearch.encoders import presets, registry
from mmsearch.errors import MissingExtra, MissingModel, UsageError

_OPEN_CLIP_STEMS = ("open_clip_model", "open_clip_pytorch_model")
_TRANSFORMERS_STEMS = ("model", "pytorch_model")
_SMALL = (".json", ".txt", ".model", ".jinja")
"""Configurations, vocabularies and tokenizers."""
_SAFE, _PICKLED = (".safetensors",), (".bin", ".pt", ".pth")
_OTHER_RUNTIMES = ("onnx/", "openvino/", "tflite/", "coreml/", "flax/", ".")
CONFIG = "open_clip_config.json"


@dataclass(frozen=True, slots=True)
class Need:
    """A repository and what is wanted of it: weights by file stem, the first that there is; none for a tokenizer."""

    repo: str
    stems: tuple[str, ...] = ()
    nested: bool = False
    """Also files in folders, where sentence-transformers keeps its modules."""


def needs(model: str) -> list[Need]:
    """The repositories of a model, by its name or a preset's; for ``open_clip:hf-hub:`` see also ``tokenizer_of``.

    Raises ``UsageError`` for an unknown name, naming the nearest, and for one that no repository stands behind.
    """
    name = presets.resolve(model)
    family, _, rest = name.partition(":")
    if family == "open_clip":
        return _of_open_clip(name, rest)
    if family in ("hf", "st"):
        if os.path.exists(os.path.expanduser(rest)):
            raise UsageError(f"{rest} is a folder on this machine: there is nothing to pull")
        return [Need(repository(rest), _TRANSFORMERS_STEMS, nested=family == "st")]
    if family in registry.BUILTIN:
        raise UsageError(f"{family} has no files to pull: it is inside the package, or on this machine")
    raise UsageError(f"no model {model!r} to pull: did you mean {_nearest(model)}?")


def _of_open_clip(name: str, rest: str) -> list[Need]:
    kind, _, where = rest.partition(":")
    if kind == "hf-hub":
        return [Need(repository(where), _OPEN_CLIP_STEMS)]
    if kind == "local-dir":
        raise UsageError(f"{name} is a folder on this machine: there is nothing to pull")
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(f"{name} ({error})", "clip") from error
    from mmsearch.encoders.open_clip_source import find

    with suppress(MissingModel):
        find(name)  # says which architectures and tags there are
    architecture, _, tag = rest.partition("/")
    config = open_clip.get_pretrained_cfg(architecture, tag) or {}
    repo, file = os.path.split(config.get("hf_hub") or "")
    if not repo:
        raise UsageError(f"{name} is not on the Hugging Face Hub: fetch its checkpoint and give the path instead")
    stems = (os.path.splitext(file)[0],) if file else _OPEN_CLIP_STEMS
    tokenizer = tokenizer_of(open_clip.get_model_config(architecture), repo)
    return [Need(repository(repo), stems), *tokenizer]


def tokenizer_of(config: dict[str, Any], repo: str) -> list[Need]:
    """The other repositories that an open_clip configuration reads its tokenizer and text configuration from."""
    text = config.get("text_cfg") or {}
    others = {str(text.get(key) or repo) for key in ("hf_tokenizer_name", "hf_model_name")} - {repo}
    return [Need(repository(other)) for other in sorted(others)]


def tokenizer_in(text: str, repo: str) -> list[Need]:
    """The same for the text of a repository's own ``open_clip_config.json``; raises ``MissingModel`` if it is none."""
    try:
        config = json.loads(text).get("model_cfg", {})
        return tokenizer_of(config, repo)
    except (ValueError, AttributeError) as error:
        raise MissingModel(f"{repo}: {CONFIG} is no configuration ({error})") from None


def choose(need: Need, names: Iterable[str], allow_pickle: bool) -> list[str]:
    """The files to fetch out of all that a repository has.

    Raises ``MissingModel`` where there are no weights, or only pickled ones and ``allow_pickle`` is not set.
    """
    here = [name for name in names if need.nested or "/" not in name]
    small = [name for name in here if name.endswith(_SMALL) and not name.startswith(_OTHER_RUNTIMES)]
    if not need.stems:
        return small
    weights = _weights(need, here, _SAFE)
    if not weights:
        weights = _weights(need, here, _PICKLED)
        if weights and not allow_pickle:
            raise MissingModel(
                f"{need.repo} has only pickled weights ({weights[0]}), a format that can carry code: add "
                "--allow-pickle to fetch them (mmsearch reads nothing but plain tensors from them)"
            )
    if not weights:
        raise MissingModel(f"{need.repo} has no weights that mmsearch can read ({', '.join(need.stems)})")
    return small + weights


def is_small_or_safe(name: str) -> bool:
    """Whether a file is of a kind that `choose` takes without being asked: it can carry no code."""
    return name.endswith((*_SMALL, *_SAFE))


def is_pickled(name: str) -> bool:
    """Whether a file is of a kind that can carry code, and may be read as plain tensors all the same."""
    return name.endswith(_PICKLED)


def repository(text: str) -> str:
    """A checked repository name; its parts become folder names."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", text) or ".." in text or "--" in text:
        raise UsageError(f"{text!r} is no repository of the Hugging Face Hub: OWNER/NAME")
    return text


def _weights(need: Need, names: list[str], endings: tuple[str, ...]) -> list[str]:
    """All files of the first stem that has any, whole or in numbered shards."""
    for stem in need.stems:
        for ending in endings:
            pattern = re.compile(rf"(.*/)?{re.escape(stem)}(-\d{{5}}-of-\d{{5}})?{re.escape(ending)}")
            found = [name for name in names if pattern.fullmatch(name) and not name.startswith(_OTHER_RUNTIMES)]
            if found:
                return found
    return []


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    known = [preset.name for preset in presets.PRESETS] + [preset.model for preset in presets.PRESETS]
    return " or ".join(get_close_matches(name, known, n=3, cutoff=0.4) or [p.name for p in presets.PRESETS])
