"""From a file to what an encoder takes. Only the processes of `sandbox` come through here, and tests.

A modality is one module with a function ``pieces(source, kind, spec)``, named in the table below.
"""

from __future__ import annotations

from importlib import import_module

from mmsearch.errors import Rejected
from mmsearch.media.files import Source
from mmsearch.media.pieces import Decoded, Ending, Piece, Pieces, whole
from mmsearch.media.sniff import require_indexable
from mmsearch.types import EncoderSpec, Modality

__all__ = ["Decoded", "Ending", "Piece", "Pieces", "decode", "pieces"]

_DECODERS = {
    Modality.IMAGE: "mmsearch.media.image",
    Modality.AUDIO: "mmsearch.media.audio",
    Modality.VIDEO: "mmsearch.media.video",
    Modality.TEXT: "mmsearch.media.text",
}


def pieces(source: Source, spec: EncoderSpec) -> Pieces:
    """Turn a file's content into the segments that ``spec``'s encoder takes, one after the other, at least one.

    Raises nothing but ``MediaError``, also in the midst of it: ``Unsupported`` for content that is not indexed, that
    the encoder does not take, or whose decoder is not installed, ``Rejected`` for what is broken or over a limit,
    ``Transient`` for a passing failure.
    """
    kind = require_indexable(source.data, source.size, spec, source.path)
    stream: Pieces = import_module(_DECODERS[kind.modality]).pieces(source, kind, spec)
    try:
        yield next(stream)
    except StopIteration:
        raise Rejected("holds nothing to look at or listen to") from None
    return (yield from stream)


def decode(source: Source, spec: EncoderSpec) -> Decoded:
    """All pieces of a file at once; raises what `pieces` raises. For files that are known to be short."""
    return whole(pieces(source, spec))
