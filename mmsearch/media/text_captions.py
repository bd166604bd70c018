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
import threading
from collections.abc import Iterator
from html import unescape
from itertools import chain, islice
from typing import Any

from mmsearch.media.text_decode import clean, decode, encoding_of

REASON = "captions of other files"
"""Why such a file is skipped."""

LONGEST = 4_000
"""Characters of a caption that are kept."""

_MOST = 1_000
"""Lines, fields and subjects of which a caption is made; none needs so many to have ``LONGEST`` characters."""

TABLES = (b"captions.csv", b"captions.jsonl")
_BYTES, _WORDS_BYTES = 1024 * 1024, 64 * 1024
"""Of a JSON or XMP file, and of a text."""
_TABLE_BYTES, _TABLE_ROWS, _KEPT_BYTES = 32 * 1024 * 1024, 500_000, 64 * 1024 * 1024
"""Of a table so much is read, and tables of so many bytes in all are kept while their folders are indexed."""

_SUFFIXES = b"""
jpg jpeg jpe png webp gif bmp tif tiff avif heic heif wav flac mp3 ogg oga opus m4a aac aiff aif wma mp4 m4v mov mkv
webm avi mpg mpeg
""".split()
_MEDIA = tuple(b"." + suffix for lower in _SUFFIXES for suffix in (lower, lower.upper()))
_TAKEOUT, _TAKEOUT_LENGTH = b".supplemental-metadata", 46
_FILE_KEYS = ("file_name", "filename", "file", "image", "audio", "video", "path", "name")
_WORD_KEYS = ("title", "caption", "captions", "description", "text", "alt", "keywords", "tags", "en", "zh")
# Linear: no tag runs over the beginning of another one.
_XMP = re.compile(r"<(/?)dc:(?:title|description|subject)\b[^<>]{0,1000}>")
_XMP_ITEM = re.compile(r"<rdf:li\b[^<>]{0,1000}>([^<]*)</rdf:li>")


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
        found += _text(base + b".txt", _WORDS_BYTES).splitlines()
        found += _said(_json(base + b".json"), name)
        found += xmp(_text(base + b".xmp"))
    found += _said(_json(os.path.join(folder, (name + _TAKEOUT)[:_TAKEOUT_LENGTH] + b".json")), name)
    return joined(found + _listed(path))


def sentences(path: bytes) -> list[str]:
    """Of what stands beside a media file, what is a caption by itself: lines of text, and of tables."""
    beside = [line for base in _bases(path) for line in _text(base + b".txt", _WORDS_BYTES).splitlines()]
    return list(_lines(beside + _listed(path)))


def _bases(path: bytes) -> list[bytes]:
    return list(dict.fromkeys((path, os.path.splitext(path)[0])))


def _listed(path: bytes) -> list[str]:
    """What the tables of its folder, and of the one above, say of a file."""
    folder, name = os.path.split(path)
    above, below = os.path.split(folder)
    found: list[str] = []
    for table in TABLES:
        found += _tables.rows(os.path.join(folder, table)).get(name, ())
        found += _tables.rows(os.path.join(above, table)).get(os.path.join(below, name), ())
    return found


def joined(parts: list[str]) -> str | None:
    """Some captions as one, a line each, without repetitions and what no tokenizer takes; None if they say nothing."""
    kept: dict[str, None] = {}
    length = 0
    for line in _lines(parts):
        if line and line not in kept:
            kept[line] = None
            length += len(line) + 1
            if length > LONGEST:
                break
    return "\n".join(kept)[:LONGEST] or None


def _lines(parts: list[str]) -> Iterator[str]:
    return (" ".join(clean(part[:LONGEST]).split()) for part in parts[:_MOST])


def xmp(text: str) -> list[str]:
    """Title, description and subjects of an XMP packet; read by patterns, so that no entity can grow."""
    found: list[str] = []
    start: int | None = None
    for tag in _XMP.finditer(text):
        if not tag[1]:
            start = tag.end() if start is None else start
        elif start is not None:
            block, start = text[start : tag.start()], None
            found += [_unescaped(item) for item in _XMP_ITEM.findall(block) or [block] if item]
            if len(found) > _MOST:
                break
    return found


def _unescaped(text: str) -> str:
    try:
        return unescape(text)
    except ValueError:  # the number of a character has thousands of digits
        return text


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
    """The strings under the keys that captions have, of a file of this name."""
    return _new(_strings(value), name) if isinstance(value, dict) else []


def _strings(value: dict[str, Any]) -> list[str]:
    fields = [value[key] for key in _WORD_KEYS if key in value]
    strings = [one for field in fields for one in (field[:_MOST] if isinstance(field, list) else [field])]
    return [string for string in strings if isinstance(string, str)]


def _new(strings: list[str], name: bytes) -> list[str]:
    """Without titles that only repeat the file's name."""
    own = os.fsdecode(name)
    return [string for string in strings if string != own and string != os.path.splitext(own)[0]]


class _Tables:
    """The newest tables that were asked for, by path; a changed one is read again. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[bytes, tuple[tuple[int, int], dict[bytes, list[str]]]] = {}

    def rows(self, path: bytes) -> dict[bytes, list[str]]:
        """The captions in a folder's table by the file's name relative to it."""
        try:
            status = os.lstat(path)
        except OSError:
            return {}
        stamp = status.st_mtime_ns, status.st_size
        with self._lock:  # the folder's files come together: the first reads it for all
            known, found = self._kept.pop(path, (None, None))
            if found is None or known != stamp:
                found = _table(path)
            self._kept[path] = stamp, found
            while sum(size for (_, size), _ in self._kept.values()) > _KEPT_BYTES and len(self._kept) > 1:
                del self._kept[next(iter(self._kept))]
            return found


_tables = _Tables()


def _table(path: bytes) -> dict[bytes, list[str]]:
    text = _text(path, _TABLE_BYTES)
    found: dict[bytes, list[str]] = {}
    try:
        for file, said in islice(_csv(text) if path.endswith(b".csv") else _json_lines(text), _TABLE_ROWS):
            if not file:
                continue
            plain = "/" not in file and not file.startswith(".")
            name = os.fsencode(file if plain else os.path.normpath(file))
            found.setdefault(name, []).extend(_new(said, name))
    except csv.Error:
        pass  # what was read until there counts
    return found


def _csv(text: str) -> Iterator[tuple[str, list[str]]]:
    """Files and what is said of them; of a table without a header, the first column is the file, the second words."""
    rows: Iterator[list[str]] = csv.reader(io.StringIO(text))
    first = next(rows, [])
    columns = {cell.strip().lower(): number for number, cell in enumerate(first)}
    if not columns.keys() & set(_FILE_KEYS):
        columns = {"file": 0, "caption": 1}
        rows = chain([first], rows)
    files = [columns[key] for key in _FILE_KEYS if key in columns]
    words = [columns[key] for key in _WORD_KEYS if key in columns]
    for row in rows:
        width = len(row)
        for file in files:
            if file < width and row[file]:
                yield row[file], [row[word] for word in words if word < width]
                break
        else:
            yield "", []


def _json_lines(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in re.finditer(r"[^\n]+", text):
        row = _parsed(line[0])
        key = next((row[key] for key in _FILE_KEYS if row.get(key)), None) if isinstance(row, dict) else None
        yield (clean(key), _strings(row)) if isinstance(key, str) else ("", [])
