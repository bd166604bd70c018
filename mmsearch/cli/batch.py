"""`--batch FILE`: a question a line, in the grammar of the shell; for each hit a JSON line that names its question.

A line that can't be asked is a line of its own, with an `error`; the others are answered all the same.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import typer

from mmsearch.cli import hits, render
from mmsearch.errors import EncoderError, UsageError
from mmsearch.retrieval.embed import AT_ONCE
from mmsearch.retrieval.filtering import condition_of
from mmsearch.retrieval.parse import parse

if TYPE_CHECKING:
    from mmsearch.cli.common import Settings
    from mmsearch.library import Answer, Library
    from mmsearch.types import Query

SOME_FAILED = 3
OF_ONE_LINE = (UsageError, EncoderError)
"""What may be wrong with one question and not with the next: a mistake in it, a file, parts that cancel out."""


class _Line(NamedTuple):
    """A line of the file that is not blank, counted from 1; what it asks, or why that can't be asked."""

    number: int
    text: str
    query: Query | None
    error: str = ""


def run(settings: Settings, path: str, query: Query, device: str, allow_url: bool) -> None:
    """Ask each line of a file (``-``: of stdin) with the options of ``query``; exits with 3 if one could not be."""
    condition_of(query)  # a mistake in an option is no line's
    lines = list(_lines(path, query))
    queries = [line.query for line in lines if line.query is not None]
    answers = _answers(settings.library(), queries, device, allow_url)
    failed = False
    for question, line in enumerate(lines, 1):
        answer = line.error if line.query is None else next(answers)
        if isinstance(answer, str):
            failed = True
            hits.json_line(question=question, query=line.text, error=answer)
            render.note(f"mmsearch: --batch {path}, line {line.number}: {answer}")
            continue
        for hit in answer:
            hits.json_line(question=question, query=line.text, **hits.fields(hit))
    if failed:
        raise typer.Exit(SOME_FAILED)


def _answers(library: Library, queries: Sequence[Query], device: str, allow_url: bool) -> Iterator[Answer | str]:
    """For each question its answer, or why there is none."""
    for start in range(0, len(queries), AT_ONCE):
        yield from _bisected(
            lambda some: library.ask_many(some, device, allow_url=allow_url), queries[start:][:AT_ONCE]
        )


def _bisected(ask: Callable[[Sequence[Query]], Iterator[Answer]], queries: Sequence[Query]) -> Iterator[Answer | str]:
    """Questions asked together; where one can't be, each half by itself."""
    try:
        answers: list[Answer] = list(ask(queries))
    except OF_ONE_LINE as error:
        if len(queries) == 1:
            yield str(error)
            return
        half = len(queries) // 2
        yield from _bisected(ask, queries[:half])
        yield from _bisected(ask, queries[half:])
    else:
        yield from answers


def _lines(path: str, query: Query) -> Iterator[_Line]:
    for number, raw in enumerate(_read(path).splitlines(), 1):
        text = raw.decode("utf-8-sig", "backslashreplace").strip()
        if text:
            try:
                raw.decode()
                yield _Line(number, text, _asked(text, query))
            except UnicodeDecodeError:
                yield _Line(number, text, None, "this line is no UTF-8")
            except (UsageError, ValueError) as error:
                yield _Line(number, text, None, str(error))


def _read(path: str) -> bytes:
    try:
        if path == "-":
            return sys.stdin.buffer.read()
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UsageError(f"--batch {path}: {error}") from None


def _asked(text: str, query: Query) -> Query:
    """What a line asks. Raises ``ValueError`` for a quotation mark that is not closed."""
    parts = shlex.split(text)
    if parts[-1:] == ["-"]:
        raise UsageError("a last - reads stdin, which a line of a batch does not have")
    return replace(query, parts=query.parts + parse(parts))
