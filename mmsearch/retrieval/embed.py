"""From the parts of a question to its vector: words are text; files are read and decoded as the encoder wants them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice

import numpy as np

from mmsearch.errors import EncoderError, MediaError, UsageError
from mmsearch.store.reader import Space
from mmsearch.types import Asked, Encoder, FloatArray, Modality, require_same_space

MOST_PIECES = 32
"""Of a long sound or a film the question is the mean of its first pieces."""


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
    """The unit vector float32 ``(dim,)`` of a file, named ``name`` in messages. Raises ``UsageError``."""
    # Pillow must not be imported by a question in words.
    from mmsearch.media.decode import pieces
    from mmsearch.media.files import read

    try:
        found = list(islice(pieces(read(os.fsencode(path), follow_links=True), encoder.spec), MOST_PIECES))
    except FileNotFoundError:
        raise UsageError(f"{name or path}: no such file") from None
    except MediaError as error:
        raise UsageError(f"{name or path} can't be searched with: {error}") from error
    # A film is asked by its pictures; its sound track would pull the mean elsewhere.
    first = found[0].modality
    return unit(encoder.encode([piece.content for piece in found if piece.modality is first], first).mean(axis=0))


def _fetched(encoder: Encoder, address: str) -> FloatArray:
    import tempfile

    from mmsearch.retrieval.fetch import fetch

    with tempfile.NamedTemporaryFile(prefix="mmsearch-") as file:
        fetch(address, file)
        file.flush()
        return file_vector(encoder, file.name, address)
