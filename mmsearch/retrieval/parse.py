"""From what was typed to a ``Query``: words are text; files are read and decoded as the encoder wants them."""

from __future__ import annotations

import os
from collections.abc import Sequence

from mmsearch.errors import MediaError, UsageError
from mmsearch.types import EncoderSpec, Modality, Part


def text_part(words: Sequence[str]) -> Part | None:
    """The words of a question as one part; None if there are none."""
    text = " ".join(" ".join(words).split())
    return Part(text, Modality.TEXT) if text else None


def file_part(path: str | bytes, spec: EncoderSpec) -> Part:
    """A picture (or what else the encoder takes) as a part. Raises ``UsageError`` for a file that can't be one."""
    # Pillow must not be imported by a question in words.
    from mmsearch.media.decode import decode
    from mmsearch.media.files import read

    name = os.fsdecode(path)
    try:
        decoded = decode(read(os.fsencode(path), follow_links=True), spec)
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file") from None
    except MediaError as error:
        raise UsageError(f"{name} can't be searched with: {error}") from error
    return Part(decoded.pieces[0].content, decoded.modality)
