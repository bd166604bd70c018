"""Encoders by name: which there are, and how one is loaded.

A name is a family, and what the family makes of the rest: ``mini``, ``open_clip:ViT-B-32/laion2b_s34b_b79k``,
``fake:64``. The built-in families are a table here, because reading the entry points of all installed packages would
cost a cold query 30 ms; other families come from the entry-point group ``mmsearch.encoders``, in which the built-in
ones stand too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias, cast

from mmsearch.encoders import presets
from mmsearch.errors import UsageError
from mmsearch.types import Encoder

Factory: TypeAlias = Callable[[str, str], Encoder]
"""``load(name, device)``: gets the whole name, and a device ``auto``, ``cpu`` or ``cuda:N``."""

GROUP = "mmsearch.encoders"
BUILTIN = {
    "mini": "mmsearch.encoders.mini:load",
    "open_clip": "mmsearch.encoders.open_clip:load",
    "hf": "mmsearch.encoders.hf:load",
    "st": "mmsearch.encoders.st:load",
    "onnx": "mmsearch.encoders.onnx:load",
    "fake": "mmsearch.encoders.fake:load",
    "bridge": "mmsearch.encoders.bridge:load",
}


_TORCH = ("open_clip", "hf")
"""Families whose pictures can be encoded in several ways: ``auto`` takes the fastest, ``cpu`` is float32."""


@dataclass(frozen=True, slots=True)
class Description:
    """A family as `mmsearch models list` shows it. ``needs``: what must be done first, empty if it is present."""

    name: str
    present: bool
    needs: str
    licence: str
    description: str


def load(name: str, device: str = "cpu") -> Encoder:
    """The encoder of this name, which may be a preset's.

    Raises ``UsageError`` for an unknown family, naming the nearest; ``MissingExtra`` where its packages are not
    installed, ``MissingModel`` where its weights are not here.
    """
    name = presets.resolve(name)
    family = name.partition(":")[0]
    if family in BUILTIN:
        module, attribute = BUILTIN[family].split(":")
        encoder = cast(Factory, getattr(import_module(module), attribute))(name, device)
        return _quickened(encoder) if device == "auto" and family in _TORCH else encoder
    plugins = _plugins()
    if family not in plugins:
        raise UsageError(f"no model {name!r}: did you mean {_nearest(family, [*BUILTIN, *plugins, *presets.names()])}?")
    return cast(Factory, plugins[family]())(name, device)


def _quickened(encoder: Encoder) -> Encoder:
    from mmsearch.encoders.probe import quickened

    return quickened(encoder)


def available() -> list[Description]:
    """The families, present or not. Imports none of them."""
    from importlib.util import find_spec

    runtime = "" if find_spec("onnxruntime") else 'pip install "mmsearch[cpu]"'
    hf = "" if find_spec("transformers") and find_spec("torch") else 'pip install "mmsearch[hf]"'
    st = "" if find_spec("sentence_transformers") else 'pip install "mmsearch[st]"'
    clip = "" if find_spec("open_clip") else 'pip install "mmsearch[clip]"'
    described = [
        ("mini", runtime, "non-commercial research", "photos and words, small, offline, inside the package"),
        ("open_clip:NAME/PRETRAINED", clip, "the model's own", "any model of open_clip"),
        ("open_clip:hf-hub:OWNER/REPO", clip, "the model's own", "a model of open_clip in the Hugging Face cache"),
        ("open_clip:local-dir:PATH", clip, "the model's own", "a model of open_clip in a folder"),
        ("hf:OWNER/REPO or hf:PATH", hf, "the model's own", "any dual encoder of transformers: pictures or sounds"),
        ("st:OWNER/REPO or st:PATH", st, "the model's own", "any model of sentence-transformers 6 or later"),
        ("onnx:PATH", runtime, "the model's own", "a folder that `mmsearch models export` wrote"),
        ("fake:DIM", "", "Apache-2.0", "knows colours only: for tests"),
    ]
    families = [Description(name, not needs, needs, licence, text) for name, needs, licence, text in described]
    return families + [
        Description(name, True, "", "the plug-in's own", "from a plug-in") for name in sorted(_plugins())
    ]


def _plugins() -> dict[str, Callable[[], object]]:
    from importlib.metadata import entry_points

    return {point.name: point.load for point in entry_points(group=GROUP) if point.name not in BUILTIN}


def _nearest(family: str, names: list[str]) -> str:
    from difflib import get_close_matches

    return " or ".join(get_close_matches(family, names, cutoff=0.4) or sorted(names))
