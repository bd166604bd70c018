"""The one door from a file to what an encoder takes: indexing and asking both come through here."""

from __future__ import annotations

from dataclasses import dataclass

from mmsearch.errors import Unsupported
from mmsearch.media.files import Source
from mmsearch.media.sniff import require_indexable
from mmsearch.types import EncoderSpec, Media, MediaFacts, Modality, Span


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One segment's content, ready for the encoder, and where in the file it lies (None: it is all of it)."""

    content: Media
    span: Span | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A decoded file: at least one piece. ``partial`` says what is damaged, if anything."""

    modality: Modality
    facts: MediaFacts
    pieces: tuple[Piece, ...]
    partial: str | None = None


def decode(source: Source, spec: EncoderSpec) -> Decoded:
    """Turn a file's content into the segments that ``spec``'s encoder takes.

    Raises nothing but ``MediaError``: ``Unsupported`` for content that is not indexed or that the encoder does not
    take, ``Rejected`` for what is broken or over a limit, ``Transient`` for a passing failure.
    """
    kind = require_indexable(source.data, source.size)
    if kind.modality not in spec.modalities or spec.image is None:
        raise Unsupported(f"{spec.name} takes no {kind.modality} files")
    from mmsearch.media.image import decode_image

    picture = decode_image(source, spec.image)
    return Decoded(kind.modality, picture.facts, (Piece(picture.pixels),), picture.partial)
