"""What a decoder hands over: pieces, one after the other, and at the end what is known of the whole file.

A decoder is a generator, so that a film of any length costs the memory of one frame. What it can only know at the end
(how long the sound was, whether the file breaks off) is what it returns.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeAlias

from mmsearch.types import Detail, Media, MediaFacts, Modality, Span

PLAIN = Detail()


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One segment's content, ready for the encoder, and where in the file it lies (span None: it is all of it).

    ``modality`` is what the encoder takes it for: the frames of a video are images.
    """

    content: Media
    modality: Modality
    span: Span | None = None
    detail: Detail = PLAIN


@dataclass(frozen=True, slots=True)
class Ending:
    """A file after its last piece. ``partial`` says what is damaged or left out, if anything.

    ``caption``: what the file itself says that it shows.
    """

    modality: Modality
    facts: MediaFacts
    partial: str | None = None
    caption: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A whole decoded file: at least one piece. ``partial`` says what is damaged, if anything."""

    modality: Modality
    facts: MediaFacts
    pieces: tuple[Piece, ...]
    partial: str | None = None


Pieces: TypeAlias = Generator[Piece, None, Ending]


def whole(stream: Pieces) -> Decoded:
    """All pieces of a file at once; raises what the stream raises. For files that are known to be short."""
    found: list[Piece] = []
    while True:
        try:
            found.append(next(stream))
        except StopIteration as stop:
            ending: Ending = stop.value
            return Decoded(ending.modality, ending.facts, tuple(found), ending.partial)
