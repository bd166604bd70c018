"""Documents: text, Markdown, HTML, tables, JSON and PDF become chunks, with where in the file each stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mmsearch.errors import MediaError, Rejected, Unsupported
from mmsearch.media import text_markup, text_pdf, text_records
from mmsearch.media.files import Source
from mmsearch.media.outcome import outcome
from mmsearch.media.pieces import Ending, Pieces
from mmsearch.media.sniff import HEAD, Kind
from mmsearch.media.text_chunks import Passage, chunks
from mmsearch.media.text_decode import decode, encoding_of
from mmsearch.types import EncoderSpec, MediaFacts, Modality

MAX_BYTES = 4 * 1024 * 1024
"""So much of a file is indexed: the longest novels are 3 MB, and whatever is longer is a log or data."""

MAX_ROWS = 10_000
"""Rows of a table, and objects of JSON, that are indexed: 4 MiB may have a million, and each costs a vector."""
_IN_ROWS = frozenset({"CSV", "TSV", "JSON", "JSON lines"})


def _whole(text: str) -> Iterator[Passage]:
    yield Passage(text, ((0, 0),), len(text))


_READERS: dict[str, Callable[[str], Iterator[Passage]]] = {
    "HTML": text_markup.passages,
    "CSV": text_records.table,
    "TSV": lambda text: text_records.table(text, "\t"),
    "JSON": text_records.objects,
    "JSON lines": text_records.lines,
}


def pieces(source: Source, kind: Kind, spec: EncoderSpec) -> Pieces:
    """The chunks of a document: strings, with spans in characters of the decoded file (of a PDF: of its text).

    Raises ``Rejected`` for what is broken or has no words, ``Unsupported`` for data without sentences and scans.
    """
    partial = f"longer than {MAX_BYTES // (1024 * 1024)} MiB: the rest is left out"
    found, end, rows = False, 0, 0
    try:
        with source.opened() as file:
            data = file.read(text_pdf.MAX_BYTES + 1 if kind.format == "PDF" else MAX_BYTES)
        longer = kind.format != "PDF" and source.size > len(data)
        for passage in _passages(data, kind.format, whole=not longer):
            if kind.format in _IN_ROWS and rows == MAX_ROWS:
                longer, partial = True, f"more than {MAX_ROWS:,} rows: the rest is left out"
                break
            rows += 1
            for piece in chunks(passage, spec):
                found = True
                yield piece
            end = passage.end
    except MediaError:
        raise
    except Exception as error:  # parsers of strangers' files raise nearly anything
        raise outcome(kind.format, error) from error
    if not found:
        _refuse(kind.format)
    longer |= kind.format == "PDF" and end > MAX_BYTES
    return Ending(Modality.TEXT, MediaFacts(), partial if longer else None)


def _passages(data: bytes, format_: str, *, whole: bool) -> Iterator[Passage]:
    if format_ == "PDF":
        return text_pdf.passages(data, MAX_BYTES)
    # The head was judged when the file was let in; all of it may be judged otherwise, and is the better ground.
    encoding = encoding_of(data, whole=whole) or encoding_of(data[:HEAD], whole=False) or "utf-8"
    return _READERS.get(format_, _whole)(decode(data, encoding))


def _refuse(format_: str) -> None:
    match format_:
        case "PDF":
            raise Unsupported("a PDF without text (a scan?)")
        case "JSON" | "JSON lines" | "CSV" | "TSV":
            raise Unsupported(f"{format_} without sentences")
        case _:
            raise Rejected("holds no words")
