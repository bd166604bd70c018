"""What a process that decodes may answer. It may have been taken over: nothing in an answer is believed unchecked."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmsearch.errors import MediaError, Rejected
from mmsearch.media.pieces import Ending, Piece
from mmsearch.media.sound import OVERLAP_S
from mmsearch.media.worker import LONGEST_REASON
from mmsearch.types import Detail, EncoderSpec, Media, MediaFacts, Modality, Span

MOST_HEADER = 64 * 1024
"""Bytes of a line of JSON. The longest is a chunk's text or a caption, escaped."""

MOST_PIECES = 1 << 21
"""Of one file: twice what the densest table of 4 MB gives."""

_MOST_TEXT = 1024 * 1024
_LONGEST = 4_096
_WORDS = {"taken", "camera"}


def nonsense() -> Rejected:
    return Rejected("breaks its decoder (it answers nonsense)")


def most_bytes(spec: EncoderSpec) -> int:
    """Of one piece, by what the encoder takes."""
    pixels = 3 * spec.image.size**2 if spec.image else 0
    samples = 4 * math.ceil((spec.audio_window + 2 * OVERLAP_S) * spec.audio_rate) if spec.audio_rate else 0
    return max(pixels, samples, _MOST_TEXT)


def header(line: bytes, most: int) -> tuple[dict[str, Any], int]:
    """A line as an object, and how many bytes follow it. Raises ``Rejected`` for anything else."""
    try:
        head = json.loads(line)
        length = head["bytes"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise nonsense() from error
    if type(length) is not int or not 0 <= length <= most:
        raise nonsense()
    return head, length


def confined(head: dict[str, Any]) -> list[str]:
    """What a process that has just started says that it gave up."""
    found = head.get("confined")
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise nonsense()
    return found


def failure(head: dict[str, Any], kinds: Mapping[str, type[MediaError]]) -> tuple[type[MediaError], str]:
    """The kind of a failure and its reason."""
    kind, reason = kinds.get(str(head["failure"])), head.get("reason")
    if kind is None or not isinstance(reason, str):
        raise nonsense()
    return kind, "".join(c if c.isprintable() else "?" for c in reason[:LONGEST_REASON])


def piece(head: dict[str, Any], content: bytes, spec: EncoderSpec) -> Piece:
    """A piece as the encoder takes it. Raises ``Rejected`` for any other."""
    try:
        modality, more = Modality(head["modality"]), Detail(*head["detail"])
        detail = Detail(more.modality and Modality(more.modality), _text(more.text, _MOST_TEXT), _count(more.page))
        return Piece(_media(head, content, modality, spec), modality, _span(head["span"]), detail)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise nonsense() from error


def _media(head: dict[str, Any], content: bytes, modality: Modality, spec: EncoderSpec) -> Media:
    if modality is Modality.TEXT:
        return content.decode("utf-8", "surrogatepass")
    if modality is Modality.IMAGE and spec.image is not None:
        return np.frombuffer(content, np.uint8).reshape(spec.image.size, spec.image.size, 3)
    if modality is Modality.AUDIO and spec.audio_rate is not None:
        samples = np.frombuffer(content, np.float32)
        if len(samples) and np.isfinite(samples).all():
            return samples
    raise ValueError(modality)


def _span(fields: dict[str, Any] | None) -> Span | None:
    if fields is None:
        return None
    if fields["unit"] not in ("s", "char"):
        raise ValueError(fields)
    start, end = (_number(fields[name]) for name in ("start", "end"))
    if start is None or end is None:
        raise ValueError(fields)
    return Span(start, end, fields["unit"])


def ending(fields: dict[str, Any]) -> Ending:
    """What is known of a whole file. Raises ``Rejected`` for anything else."""
    try:
        facts = {
            name: _text(value) if name in _WORDS else _count(value) if name in ("width", "height") else _number(value)
            for name, value in fields["facts"].items()
        }
        said = _text(fields["partial"], LONGEST_REASON), _text(fields["caption"])
        return Ending(Modality(fields["modality"]), MediaFacts(**facts), *said)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise nonsense() from error


def _text(value: Any, most: int = _LONGEST) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) <= most):
        raise ValueError("no text")
    return value


def _count(value: Any) -> int | None:
    if value is not None and not (type(value) is int and 0 <= value < 1 << 31):
        raise ValueError("no count")
    return value


def _number(value: Any) -> float | None:
    if value is not None and not (type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e15):
        raise ValueError("no number")
    return None if value is None else float(value)
