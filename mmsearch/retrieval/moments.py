"""A part of a file by its time: ``talk.wav@0:38-0:41``, ``film.mp4@1:05``; times are ``90s``, ``1:30``, ``1:02:03``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TypeVar

from mmsearch.errors import UsageError
from mmsearch.types import Span

T = TypeVar("T")

_TIME = r"\d+(?:\.\d+)?s?|\d+:[0-5]?\d(?:\.\d+)?|\d+:[0-5]?\d:[0-5]?\d(?:\.\d+)?"
_PART = re.compile(rf"(.+)@({_TIME})(?:-({_TIME}))?", re.DOTALL | re.ASCII)

ROUNDED_UP = 1.0
"""A span may end so many seconds after its file: people write whole seconds."""


def split(path: str) -> tuple[str, Span | None]:
    """A file, and the part of it that is meant (a moment is a span of no length); None: all of it.

    A file that has the whole name comes first: ``me@12`` may be one.
    """
    found = None if os.path.isfile(path) else _PART.fullmatch(path)
    if found is None:
        return path, None
    return found[1], Span(_seconds(found[2]), _seconds(found[3] or found[2]), "s")


def _seconds(text: str) -> float:
    seconds = 0.0
    for part in text.removesuffix("s").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def touches(part: Span, asked: Span) -> bool:
    """Whether they share some time; a moment lies in the part that begins with it, not in the one that it ends."""
    return (part.start < asked.end and asked.start < part.end) or part.start <= asked.start < part.end


def within(parts: Iterable[tuple[Span | None, T]], asked: Span, name: str, most: int) -> list[T]:
    """What lies in the span, of things in the order of their starts, at most ``most``; what comes later is not read.

    Raises ``UsageError``, which names the file, where it has no seconds or not so many.
    """
    if asked.end < asked.start:
        raise UsageError(f"{name}: this part ends before it begins")
    found: list[T] = []
    end = 0.0
    for span, part in parts:
        if span is None or span.unit != "s":
            raise UsageError(f"{name}: only of sounds and videos a part can be asked with")
        if len(found) == most or (found and span.start > asked.end):
            return found
        end = max(end, span.end)
        if touches(span, asked):
            found.append(part)
    if not found or asked.end > end + ROUNDED_UP:
        raise UsageError(f"{name}: the file ends at {end:g} s")
    return found
