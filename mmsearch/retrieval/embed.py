"""From the parts of a question to its vector: words are text; files are read and decoded as the encoder wants them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.errors import EncoderError, MediaError, UsageError
from mmsearch.retrieval import moments
from mmsearch.retrieval.scale import Question
from mmsearch.store.reader import Space
from mmsearch.store.words import telling
from mmsearch.types import Asked, Encoder, FloatArray, Modality, require_same_space

if TYPE_CHECKING:
    from mmsearch.media.pieces import Piece, Pieces

MOST_PIECES = 32
"""Of a long sound or a film, or of a long part of it, the question is the mean of its first pieces."""
AT_ONCE = 256
"""Texts encoded at a time."""


def embed(encoder: Encoder, parts: Sequence[Asked], space: Space, *, allow_url: bool = False) -> FloatArray:
    """The unit vector float32 ``(dim,)`` of a question: the weighted sum of its parts' vectors.

    Raises ``SpaceMismatch`` if the encoder is not the one that made ``space``, ``UsageError`` for a file that can't be
    a question, and ``EncoderError`` if the encoder takes no such part or the parts cancel out.
    """
    require_same_space(space.fingerprint, encoder.spec.space)
    total = np.zeros(space.dim, np.float32)
    for part in parts:
        total += np.float32(part.weight) * _vector(encoder, part, allow_url)
    return unit(total)


def questions(encoder: Encoder, texts: Sequence[str], *, as_typed: bool = False) -> list[Question]:
    """Texts as questions, encoded together.

    A single word is asked as "dog" and "a dog", as the mean is surer than either; not if ``as_typed``.
    """
    lone = {text: f"a {text}" for text in texts if text.isascii() and text.isalpha() and not as_typed}
    wanted = list(dict.fromkeys([*texts, *lone.values()]))
    # Some models make other vectors of a question than of a document; the protocol asks for one verb only.
    encode = getattr(encoder, "encode_query", encoder.encode)
    rows = [encode(wanted[start : start + AT_ONCE], Modality.TEXT) for start in range(0, len(wanted), AT_ONCE)]
    vectors = dict(zip(wanted, (row for block in rows for row in block), strict=True))
    found = []
    for text in texts:
        vector = vectors[text] + vectors[lone[text]] if text in lone else vectors[text]
        found.append(Question(unit(vector), len(telling(text)) or None))
    return found


def unit(total: FloatArray) -> FloatArray:
    """Scaled to length 1. Raises ``EncoderError`` for what has none."""
    length = float(np.linalg.norm(total))
    if not length > 1e-6:
        raise EncoderError("the parts of this question cancel each other out: change a weight")
    vector: FloatArray = total / np.float32(length)
    return vector


def _vector(encoder: Encoder, part: Asked, allow_url: bool) -> FloatArray:
    if part.kind == "text":
        # Some models make other vectors of a question than of a document; the protocol asks for one verb only.
        (vector,) = getattr(encoder, "encode_query", encoder.encode)([part.value], Modality.TEXT)
        return unit(vector)
    if part.kind == "file":
        return file_vector(encoder, os.path.expanduser(part.value))
    if not allow_url:
        raise UsageError(f"{part.value} is an address: --allow-url lets mmsearch fetch it")
    return _fetched(encoder, part.value)


def file_vector(encoder: Encoder, path: str, name: str = "") -> FloatArray:
    """The unit vector float32 ``(dim,)`` of a file or a part of it (`moments`), named ``name`` in messages.

    Raises ``UsageError``.
    """
    # No process that decodes is started, and none of this imported, by a question in words.
    from mmsearch.media.files import read
    from mmsearch.media.sandbox import shared

    file, span = moments.split(path)
    try:
        track = _track(shared()(read(os.fsencode(file), follow_links=True), encoder.spec))
        if span is None:
            found = list(islice(track, MOST_PIECES))
        else:
            found = moments.within(((piece.span, piece) for piece in track), span, name or path, MOST_PIECES)
    except FileNotFoundError:
        raise UsageError(f"{name or path}: no such file") from None
    except MediaError as error:
        raise UsageError(f"{name or path} can't be searched with: {error}") from error
    return unit(encoder.encode([piece.content for piece in found], found[0].modality).mean(axis=0))


def _track(stream: Pieces) -> Iterator[Piece]:
    """The pieces of the kind that comes first.

    A film is asked by its pictures: its sound track would pull the mean elsewhere.
    """
    first: Modality | None = None
    for piece in stream:
        first = first or piece.modality
        if piece.modality is not first:
            return
        yield piece


def _fetched(encoder: Encoder, address: str) -> FloatArray:
    import tempfile

    from mmsearch.retrieval.fetch import fetch

    with tempfile.NamedTemporaryFile(prefix="mmsearch-") as file:
        fetch(address, file)
        file.flush()
        return file_vector(encoder, file.name, address)
