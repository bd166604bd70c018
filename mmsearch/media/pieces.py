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


Pieces: TypeAlias = Generator[Piece, None, Ending]
