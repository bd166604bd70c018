"""Dual encoders whose class has no working ``get_..._features``: asked through ``forward``, beside a stand-in.

PE-AV in transformers 5.23 is one: ``get_text_audio_embeds``, ``get_text_video_embeds`` and ``get_video_embeds`` call
methods that are not there. Its parts, each for words and one other kind, do work: their ``forward`` takes both kinds,
in any numbers, and gives ``text_..._embeds`` beside ``audio_embeds`` or ``video_embeds``. So every kind is asked for
together with one short input of the other kind. Sounds and videos were trained into one space, and words against each
of the two by a head of its own: a text is the mean of what these heads say.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from operator import attrgetter
from typing import Any

from mmsearch.types import Modality

_INPUTS = {
    "input_values": Modality.AUDIO,
    "input_features": Modality.AUDIO,
    "pixel_values_videos": Modality.IMAGE,
    "pixel_values": Modality.IMAGE,
}
"""What a ``forward`` may take beside words; a picture is a video of one frame."""


@dataclass(frozen=True, slots=True)
class Part:
    """A module for words and one other kind, and the fields of its output that hold their vectors."""

    module: Any
    words: str
    media: str


def parts(model: Any) -> dict[Modality, Part]:
    """The parts of a model, or the model itself, by the kind that they take beside words."""
    found: dict[Modality, Part] = {}
    for module in (model, *model.children()):
        signature = inspect.signature(module.forward)
        kinds = [kind for name, kind in _INPUTS.items() if name in signature.parameters]
        output = signature.return_annotation
        if "input_ids" not in signature.parameters or len(kinds) != 1 or not is_dataclass(output):
            continue
        names = [field.name for field in fields(output) if field.name.endswith("_embeds")]
        words = [name for name in names if name.startswith("text")]
        media = [name for name in names if name in ("audio_embeds", "video_embeds", "image_embeds")]
        if len(words) == len(media) == 1:
            found.setdefault(kinds[0], Part(module, words[0], media[0]))
    return found


def methods(model: Any, stand_ins: dict[Modality, dict[str, Any]]) -> dict[Modality, Callable[..., Any]]:
    """For each kind a function from its tensors to rows ``(n, dim)``; empty for a model that has no such parts.

    ``stand_ins``: the tensors of one input of each kind.
    """
    found = parts(model)

    def words(**tensors: Any) -> Any:
        from torch.nn.functional import normalize

        asked = (
            getattr(part.module(**tensors, **_like(model, stand_ins[kind])), part.words) for kind, part in found.items()
        )
        return sum(normalize(rows, dim=-1) for rows in asked)

    def media(part: Part) -> Callable[..., Any]:
        def ask(**tensors: Any) -> Any:
            return getattr(part.module(**tensors, **_like(model, stand_ins[Modality.TEXT])), part.media)

        return _signed(ask, part)

    others = {kind: media(part) for kind, part in found.items()}
    return {Modality.TEXT: _signed(words, next(iter(found.values()))), **others} if found else {}


def _signed(function: Callable[..., Any], part: Part) -> Callable[..., Any]:
    """With the signature of the part, so that a caller sees which tensors it takes."""
    function.__signature__ = inspect.signature(part.module.forward)  # type: ignore[attr-defined]
    return function


def _like(model: Any, tensors: dict[str, Any]) -> dict[str, Any]:
    own = next(model.parameters())
    return {
        key: value.to(own.device, own.dtype if value.is_floating_point() else None) for key, value in tensors.items()
    }


@contextmanager
def tied_buffers(kind: type) -> Iterator[None]:
    """Let transformers 5.23 load classes with tied parts that hold buffers: timm's rotary ``bands`` stop it else.

    It looks every tied tensor up as a parameter; here it finds a buffer too.
    """
    kind.get_parameter = lambda self, name: attrgetter(name)(self)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del kind.get_parameter  # type: ignore[attr-defined]
