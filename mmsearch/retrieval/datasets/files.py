"""Annotation files, read so that whatever is wrong is named by file and line."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import Any

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft


def content(path: str, draft: Draft) -> bytes:
    """The bytes of an annotation file; they count in the set's revision. Raises ``UsageError`` if it can't be read."""
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    draft.add_revision(data)
    return data.removeprefix(b"\xef\xbb\xbf")


def lines(path: str, draft: Draft) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, numbered from 1. Bytes that are not UTF-8 become U+FFFD, and a problem."""
    for number, line in enumerate(content(path, draft).split(b"\n"), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            draft.problem(path, number, "not UTF-8: the wrong letters are read as U+FFFD")
            text = line.decode(errors="replace")
        if text.strip():
            yield number, text.rstrip("\r")


def json_lines(path: str, draft: Draft) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers; a line that is none is a problem."""
    for number, line in lines(path, draft):
        try:
            row = json.loads(line)
        except ValueError as error:
            draft.problem(path, number, f"not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield number, row
        else:
            draft.problem(path, number, "not a JSON object")


def whole_json(path: str, draft: Draft) -> dict[str, Any]:
    """A JSON document that is an object. Raises ``UsageError`` naming the line where it is not."""
    try:
        document = json.loads(content(path, draft).decode())
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    if not isinstance(document, dict):
        raise UsageError(f"{path}: not a JSON object")
    return document


def table(path: str, draft: Draft, delimiter: str = ",") -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file with a header, by column name, with the line on which each ends."""
    numbers: list[int] = []

    def fed() -> Iterator[str]:
        for number, line in lines(path, draft):
            numbers.append(number)
            yield line + "\n"

    rows = csv.reader(fed(), delimiter=delimiter)
    header = [name.strip() for name in next(rows, [])]
    for row in rows:
        if len(row) != len(header):
            draft.problem(path, numbers[-1], f"{len(row)} fields, not {len(header)}")
        yield numbers[-1], dict(zip(header, row, strict=False))


def first_line(path: str) -> str:
    """The first line of a text file, short; empty if it can't be read."""
    try:
        with open(path, "rb") as file:
            return file.readline(65536).removeprefix(b"\xef\xbb\xbf").decode(errors="replace").strip()
    except OSError:
        return ""
