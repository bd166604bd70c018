"""What an exception out of a decoder means for its file."""

from __future__ import annotations

import errno
import re

from mmsearch.errors import MediaError, Rejected, Transient

_TRANSIENT = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EIO})

CUT_OFF = re.compile(r"truncated|end of file", re.IGNORECASE)
_ADDRESS = re.compile(r"\s*<[^>]* at 0x[0-9a-f]+>|\s*0x[0-9a-f]{6,}")


def outcome(format_: str, error: Exception) -> MediaError:
    """The one outcome of an exception out of a decoder, in words that hold neither addresses nor paths."""
    if isinstance(error, MediaError):
        return error
    if isinstance(error, MemoryError):
        return Transient("out of memory")
    if isinstance(error, FileNotFoundError):
        return Transient("gone before it was decoded")
    # FFmpeg calls broken bytes an input/output error; a disk's comes out of Python's reading as it is.
    said_of_bytes = type(error).__module__.startswith("av.") and getattr(error, "errno", None) == errno.EIO
    if isinstance(error, OSError) and error.errno in _TRANSIENT and not said_of_bytes:
        return Transient(str(error.strerror).lower())
    # A system's error, or FFmpeg's, whose own text holds the file's name.
    words = getattr(error, "strerror", None) or str(error)
    text = " ".join(words.split())
    if CUT_OFF.search(text):
        return Rejected(f"truncated {format_}")
    text = "".join(c if c.isprintable() else "?" for c in _ADDRESS.sub("", text))[:100]
    return Rejected(f"broken {format_}: {text or type(error).__name__}")
