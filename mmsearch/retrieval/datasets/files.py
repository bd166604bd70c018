"""Annotation files, read so that whatever is wrong is named by file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft


def content(path: str, draft: Draft) -> bytes:
    """An annotation file in UTF-8; it counts in the set's revision. Raises ``UsageError`` if it can't be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    draft.add_revision(data)
    return _utf8(data)


def _utf8(data: bytes) -> bytes:
    """Without a byte order mark; what spreadsheets save as "Unicode text" is UTF-16."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


def lines(path: str, draft: Draft) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, numbered from 1. Bytes that are not UTF-8 become U+FFFD, and a problem."""
    data = content(path, draft).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            draft.problem(path, number, "not UTF-8: the wrong letters are read as U+FFFD")
            text = line.decode(errors="replace")
        if text.strip():
            yield number, text


def json_lines(path: str, draft: Draft) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers; a line that is none is a problem."""
    for number, line in lines(path, draft):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            draft.problem(path, number, f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            draft.problem(path, number, "not a JSON object")


def whole_json(path: str, draft: Draft) -> dict[str, Any]:
    """A JSON document; a bare list under the key ``""``. Raises ``UsageError`` naming the line where it is no JSON."""
    try:
        document = json.loads(content(path, draft).decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    return document if isinstance(document, dict) else {"": document}


def objects(whole: dict[str, Any], key: str, path: str, draft: Draft) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a list in a JSON document, numbered from 1, as JSON keeps no lines; what is none is a problem.

    Raises ``UsageError`` if there is no such list.
    """
    values = whole.get(key)
    if not isinstance(values, list):
        raise UsageError(f"{path}: no list `{key}` in it" if key else f"{path}: not a JSON list")
    found = []
    for number, value in enumerate(values, 1):
        if isinstance(value, dict):
            found.append((number, value))
        else:
            draft.problem(path, number, f"{key or 'the list'} holds something that is not a JSON object")
    return found


def table(
    path: str, draft: Draft, delimiter: str = ",", needs: Sequence[str] = ()
) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, by column name, with the line on which each ends.

    Raises ``UsageError`` without the columns that it ``needs``, and for a quotation mark that swallows the rest.
    """
    numbers: list[int] = []

    def fed() -> Iterator[str]:
        for number, line in lines(path, draft):
            numbers.append(number)
            yield line + "\n"

    rows = _parsed(csv.reader(fed(), delimiter=delimiter, strict=True), numbers, path, draft)
    header = [name.strip() for name in next(rows, [])]
    if lacks := [name for name in needs if name not in header]:
        raise UsageError(f"{path}:1: no column {' or '.join(map(repr, lacks))} among {', '.join(header) or 'none'}")
    for row in rows:
        if len(row) != len(header):
            draft.problem(path, numbers[-1], f"{len(row)} fields, not {len(header)}: quote a text with {delimiter!r}")
        yield numbers[-1], dict(zip(header, row, strict=False))


def _parsed(rows: Iterator[list[str]], numbers: list[int], path: str, draft: Draft) -> Iterator[list[str]]:
    """The rows that are CSV; ``numbers`` are the lines read so far."""
    while True:
        before = len(numbers)
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            if len(numbers) > before + 1:  # a field that goes on and on
                raise UsageError(f"{path}:{numbers[before]}: a quotation mark that is not closed") from None
            draft.problem(path, numbers[-1], f"not CSV: {error}")


def first_line(path: str) -> str:
    """The first line of a text file, short; empty if it can't be read."""
    try:
        with open(path, "rb") as file:
            return next(iter(_utf8(file.read(65536)).decode(errors="replace").splitlines()), "").strip()
    except OSError:
        return ""
