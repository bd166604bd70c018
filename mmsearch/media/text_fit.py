"""Chunks that an encoder's own tokenizer finds too long are cut again: nothing is cut off in silence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from mmsearch.media.pieces import Piece, Pieces
from mmsearch.media.text_chunks import cost, cut
from mmsearch.types import Encoder, Span


def fitted(pieces: Pieces, encoder: Encoder) -> Pieces:
    """The same pieces; a chunk of text with more tokens than ``encoder`` reads comes as several, if it can count."""
    count, longest = getattr(encoder, "count_tokens", None), encoder.spec.text_tokens
    if count is None or longest is None:
        return (yield from pieces)
    try:
        while True:
            piece = next(pieces)
            if isinstance(piece.content, str):
                yield from _fitting(piece, count, longest)
            else:
                yield piece
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        pieces.close()


def _fitting(piece: Piece, count: Callable[[str], int], longest: int) -> Iterator[Piece]:
    text = str(piece.content)
    tokens = count(text)
    # One character can't be cut, whatever a tokenizer makes of it.
    if tokens <= longest or len(text) < 2:
        yield piece
        return
    # The estimate was too low by this factor; at least halved, so that it comes to an end.
    limit = min(cost(text) // 2, cost(text) * longest // tokens)
    half = len(text) // 2
    for start, end in cut(text, limit) if limit else ((0, half), (half, len(text))):
        yield from _fitting(_part(piece, text, start, end), count, longest)


def _part(piece: Piece, text: str, start: int, end: int) -> Piece:
    """Some characters of a piece; where it stands in the file is counted in proportion, exactly for plain text."""
    span, part = piece.span, text[start:end]
    assert span is not None
    scale = (span.end - span.start) / len(text)
    place = Span(span.start + int(start * scale), max(span.start + int(end * scale), span.start + 1), "char")
    return replace(piece, content=part, span=place, detail=piece.detail._replace(text=part))
