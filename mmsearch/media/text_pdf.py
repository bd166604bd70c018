"""PDF to passages, a page each, by PDFium. A scan without a layer of text has none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmsearch.errors import Rejected
from mmsearch.media.text_chunks import Passage
from mmsearch.media.text_decode import clean

MAX_BYTES = 256 * 1024 * 1024
"""Larger documents are rejected: they are held in memory whole."""

# PDFium's marks for a hyphen at a line's end.
_HYPHEN = re.compile("[\x02\ufffe\u00ad]\\s*")


def passages(data: bytes, longest: int) -> Iterator[Passage]:
    """The pages with their numbers, from 1; offsets count the text of all pages, a form feed between two.

    Ends after the page that exceeds ``longest`` characters in all. Raises ``Rejected``.
    """
    import pypdfium2

    if len(data) > MAX_BYTES:
        raise Rejected(f"larger than {MAX_BYTES // (1024 * 1024)} MiB")
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise Rejected("an encrypted PDF") from error
        raise Rejected("broken PDF") from error
    try:
        start = 0
        for number in range(len(document)):
            text = _text(document, number)
            if text.strip():
                yield Passage(text, ((0, start),), start + len(text), number + 1)
            start += len(text) + 1
            if start > longest:
                return
    finally:
        document.close()


def _text(document: object, number: int) -> str:
    """The words of a page; none of one that is broken."""
    import pypdfium2

    try:
        page = document[number]  # type: ignore[index]
    except pypdfium2.PdfiumError:
        return ""
    words = page.get_textpage()
    text = clean(_HYPHEN.sub("", words.get_text_bounded().replace("\r\n", "\n")))
    words.close()
    page.close()
    return text
