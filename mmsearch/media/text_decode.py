"""Bytes of a text file to characters: which encoding, by rules that can be said in a few lines.

1. A byte-order mark decides: UTF-8, UTF-16 or UTF-32.
2. With zero bytes: UTF-16 without a mark, if 19 of 20 characters are then usual ones; otherwise no text.
3. UTF-8, also where one character in a hundred beyond ASCII is broken.
4. GB18030, if it decodes as such and four in five of its high bytes stand in pairs as those of Chinese characters do.
5. Otherwise Windows-1252, whose high bytes mostly stand alone between ASCII letters.

Other encodings of one byte a letter (KOI8-R, Windows-1251) and Shift-JIS or Big5 can't be told from these by rules so
short: such files are read as one of the last two, and found by their ASCII words only.
"""

from __future__ import annotations

import codecs
import re

HEAD = 64 * 1024
"""Bytes by which UTF-16 is told."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f]")
# All but Latin, Greek, Cyrillic, punctuation, Japanese, Chinese.
_UNUSUAL = re.compile("[^\t\n\r\x20-\x7e\xa0-\u052f\u2010-\u203a\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")
_HIGH = bytes(range(0x80, 0x100))
_HAN_PAIR = re.compile(rb"[\xa1-\xf7][\xa1-\xfe]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def encoding_of(data: bytes, *, whole: bool = True) -> str | None:
    """The name of the encoding of a text that begins with ``data`` (``whole``: is); None for what is no text.

    ``whole`` False forgives a character that the end cuts in two.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    if b"\0" in data:
        return _utf16(data)
    if _CONTROL.search(data):
        return None
    if _is_utf8(data, whole):
        return "utf-8"
    return "gb18030" if _is_chinese(data, whole) else "cp1252"


def decode(data: bytes, encoding: str) -> str:
    """The characters of ``data``; what is broken becomes U+FFFD, as do lone surrogates; zeros become blanks."""
    return clean(data.decode(encoding, "replace"))


def clean(text: str) -> str:
    """The same text, of the same length, without what no database or tokenizer takes."""
    return _SURROGATE.sub("\ufffd", text).replace("\0", " ")


def _utf16(data: bytes) -> str | None:
    # Two ASCII letters are a Chinese character to UTF-16: words in ASCII with a stray zero must not become a poem.
    head = data[:HEAD]
    if 4 * head.count(0) < len(head) and head.isascii():
        return None
    for name in ("utf-16-le", "utf-16-be"):
        text = head[: len(head) // 2 * 2].decode(name, "replace")
        if 20 * len(_UNUSUAL.findall(text)) <= len(text):
            return name
    return None


def _is_utf8(data: bytes, whole: bool) -> bool:
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=whole)
    broken = text.count("\ufffd")
    return not broken or 100 * broken <= len(text) - len(text.encode("ascii", "ignore"))


def _is_chinese(data: bytes, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("gb18030")().decode(data, final=whole)
    except UnicodeDecodeError:
        return False
    high = len(data) - len(data.translate(None, _HIGH))
    return 5 * 2 * _HAN_PAIR.subn(b"", data)[1] >= 4 * high
