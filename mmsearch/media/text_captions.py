"""Captions beside media: which small files describe a photo, a sound or a video, and what they say.

    photo.jpg.txt  photo.txt          words as they are
    photo.jpg.json  photo.json        description, caption, title (also photo.jpg.supplemental-metadata.json: Takeout)
    photo.jpg.xmp  photo.xmp          Dublin Core's title, description, subject
    captions.csv  captions.jsonl      of the folder, and of the folders in it: a row for each file

All that say something count, each once. Such files are no documents of their own while what they describe is there.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from collections.abc import Iterator
from functools import lru_cache
from html import unescape
from typing import Any

from mmsearch.media.text_decode import clean, decode, encoding_of

REASON = "captions of other files"
"""Why such a file is skipped."""

LONGEST = 4_000
"""Characters of a caption that are kept."""

TABLES = (b"captions.csv", b"captions.jsonl")
_TABLE_BYTES, _BYTES = 64 * 1024 * 1024, 1024 * 1024

_SUFFIXES = b"""
jpg jpeg jpe png webp gif bmp tif tiff avif heic heif wav flac mp3 ogg oga opus m4a aac aiff aif wma mp4 m4v mov mkv
webm avi mpg mpeg
""".split()
_MEDIA = tuple(b"." + suffix for lower in _SUFFIXES for suffix in (lower, lower.upper()))
_TAKEOUT, _TAKEOUT_LENGTH = b".supplemental-metadata", 46
_FILE_KEYS = ("file_name", "filename", "file", "image", "audio", "video", "path", "name")
_WORD_KEYS = ("title", "caption", "captions", "description", "text", "alt", "keywords", "tags", "en", "zh")
_XMP = re.compile(
    r"<dc:(?:title|description|subject)\b[^>]{0,1000}>(.{0,100000}?)</dc:(?:title|description|subject)>", re.DOTALL
)
_XMP_ITEM = re.compile(r"<rdf:li\b[^>]{0,1000}>([^<]*)</rdf:li>")


def described(path: bytes) -> list[bytes]:
    """The stems or names that a file describes if it is a caption: ``a.jpg.txt`` gives ``a.jpg``; else an empty list.

    Judged by the name alone. A stem stands for all media of that stem.
    """
    base, suffix = os.path.splitext(path)
    match suffix.lower():
        case b".txt" | b".xmp":
            return [base]
        case b".json":
            head, dot, tail = base.rpartition(b".")
            return [base, head] if dot and tail and _TAKEOUT.startswith(b"." + tail) else [base]
        case _:
            return []


def may_be_caption(path: bytes) -> bool:
    """Whether a file's name is one that captions have."""
    return os.path.basename(path).lower() in TABLES or bool(described(path))


def is_caption(path: bytes) -> bool:
    """Whether a file is the caption of another one that is there."""
    if os.path.basename(path).lower() in TABLES:
        return True
    return any(
        (base.endswith(_MEDIA) and os.path.lexists(base)) or any(os.path.lexists(base + suffix) for suffix in _MEDIA)
        for base in described(path)
    )


def beside(path: bytes) -> str | None:
    """What stands beside a media file about it; None: nothing."""
    if not path.endswith(_MEDIA):
        return None
    folder, name = os.path.split(path)
    found: list[str] = []
    for base in _bases(path):
        found += _text(base + b".txt").splitlines()
        found += _said(_json(base + b".json"), name)
        found += xmp(_text(base + b".xmp"))
    found += _said(_json(os.path.join(folder, (name + _TAKEOUT)[:_TAKEOUT_LENGTH] + b".json")), name)
    return joined(found + _listed(path))


def sentences(path: bytes) -> list[str]:
    """Of what stands beside a media file, what is a caption by itself: lines of text, and of tables."""
    return _lines([line for base in _bases(path) for line in _text(base + b".txt").splitlines()] + _listed(path))


def _bases(path: bytes) -> list[bytes]:
    return list(dict.fromkeys((path, os.path.splitext(path)[0])))


def _listed(path: bytes) -> list[str]:
    """What the tables of its folder, and of the one above, say of a file."""
    folder, name = os.path.split(path)
    above, below = os.path.split(folder)
    found: list[str] = []
    for table in TABLES:
        found += _rows(os.path.join(folder, table)).get(name, ())
        found += _rows(os.path.join(above, table)).get(os.path.join(below, name), ())
    return found


def joined(parts: list[str]) -> str | None:
    """Some captions as one, a line each, without repetitions and what no tokenizer takes; None if they say nothing."""
    lines = _lines(parts)
    return "\n".join(dict.fromkeys(filter(None, lines)))[:LONGEST] or None


def _lines(parts: list[str]) -> list[str]:
    return [" ".join(clean(part[:LONGEST]).split()) for part in parts]


def xmp(text: str) -> list[str]:
    """Title, description and subjects of an XMP packet; read by patterns, so that no entity can grow."""
    return [unescape(item) for block in _XMP.findall(text) for item in _XMP_ITEM.findall(block) or [block] if item]


def _read(path: bytes, most: int) -> bytes:
    """The first bytes of a regular file, b"" if there is none or it can't be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError:
        return b""
    with open(descriptor, "rb") as file:
        try:
            return file.read(most) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
        except OSError:
            return b""


def _text(path: bytes, most: int = _BYTES) -> str:
    data = _read(path, most)
    encoding = encoding_of(data, whole=len(data) < most) if data else None
    return decode(data, encoding).removeprefix("\ufeff") if encoding else ""


def _json(path: bytes) -> Any:
    return _parsed(_text(path))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None


def _said(value: Any, name: bytes) -> list[str]:
    """The strings under the keys that captions have; a title that only repeats the file's name is none."""
    if not isinstance(value, dict):
        return []
    fields = [value[key] for key in _WORD_KEYS if key in value]
    strings = [one for field in fields for one in (field if isinstance(field, list) else [field])]
    own = {os.fsdecode(name), os.fsdecode(os.path.splitext(name)[0])}
    return [string for string in strings if isinstance(string, str) and string not in own]


def _rows(path: bytes) -> dict[bytes, list[str]]:
    """The captions in a folder's table by the file's name relative to it; read again when it changes."""
    try:
        status = os.lstat(path)
    except OSError:
        return {}
    return _table(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _table(path: bytes, mtime_ns: int, size: int) -> dict[bytes, list[str]]:
    text = _text(path, _TABLE_BYTES)
    found: dict[bytes, list[str]] = {}
    try:
        for row in _csv(text) if path.endswith(b".csv") else map(_parsed, text.split("\n")):
            key = next((row[key] for key in _FILE_KEYS if row.get(key)), None) if isinstance(row, dict) else None
            if isinstance(key, str):
                name = os.fsencode(clean(os.path.normpath(key)))
                found.setdefault(name, []).extend(_said(row, name))
    except csv.Error:
        pass  # what was read until there counts
    return found


def _csv(text: str) -> Iterator[dict[str, str]]:
    """Rows by column; of a table without a header, the first column is the file and the second its caption."""
    rows = csv.reader(io.StringIO(text))
    first = next(rows, [])
    header = [cell.strip().lower() for cell in first]
    if not set(header) & set(_FILE_KEYS):
        header = ["file", "caption"]
        yield dict(zip(header, first, strict=False))
    for row in rows:
        yield dict(zip(header, row, strict=False))
