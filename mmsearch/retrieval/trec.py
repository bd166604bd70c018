"""TREC files: a run ``query Q0 document rank score tag``, qrels ``query 0 document gain``; fields between spaces.

trec_eval and its kin ignore the rank and sort by score, ties by the greater name. The runs written here therefore
have scores that fall strictly, as float32, which is what trec_eval keeps: every tool reads the order that was measured.
Names are percent-encoded, because no field may hold a space.
"""

from __future__ import annotations

import os
from typing import NamedTuple, TextIO
from urllib.parse import quote, unquote

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.retrieval.measured import Direction
from mmsearch.retrieval.metrics import Qrels
from mmsearch.types import IdArray

Judged = dict[str, dict[str, float]]


class Loaded(NamedTuple):
    """Runs over the same questions, numbered: the names of the questions, their judgements, and each run."""

    queries: list[str]
    qrels: Qrels
    runs: list[IdArray]


def write_run(path: str, direction: Direction, tag: str) -> None:
    """The run of a direction."""
    tag = _name(tag)
    with _writing(path) as file:
        for query, found, scores in zip(direction.queries, direction.run, direction.scores, strict=True):
            above = np.float32(np.inf)
            for rank, (document, score) in enumerate(zip(found[found >= 0].tolist(), scores, strict=False), 1):
                above = min(np.float32(score), np.nextafter(above, np.float32(-np.inf)))
                file.write(f"{_name(query)} Q0 {_name(direction.documents[document])} {rank} {above:.9g} {tag}\n")


def write_qrels(path: str, direction: Direction) -> None:
    """The judgements of a direction: right ones only."""
    qrels = direction.qrels
    with _writing(path) as file:
        for query, document, gain in zip(
            qrels.query.tolist(), qrels.document.tolist(), qrels.gain.tolist(), strict=True
        ):
            file.write(f"{_name(direction.queries[query])} 0 {_name(direction.documents[document])} {gain:g}\n")


def read_qrels(path: str) -> Judged:
    """Gains by question and document. Raises ``UsageError`` naming the line that is none."""
    judged: Judged = {}
    for query, document, gain in _rows(path, 4, 2, 3):
        judged.setdefault(query, {})[document] = gain
    return judged


def read_run(path: str) -> Judged:
    """Scores by question and document. Raises ``UsageError`` naming a line that is none, or repeats a document."""
    run: Judged = {}
    for number, (query, document, score) in enumerate(_rows(path, 6, 2, 4), 1):
        answers = run.setdefault(query, {})
        if document in answers:
            raise UsageError(f"{path}:{number}: {query} found {document} twice")
        answers[document] = score
    return run


def load(qrels: str, runs: list[str]) -> Loaded:
    """Qrels and runs as arrays. Questions without a right answer are left out; one that a run lacks is a miss."""
    judged = {query: gains for query, gains in read_qrels(qrels).items() if any(gain > 0 for gain in gains.values())}
    if not judged:
        raise UsageError(f"{qrels}: no right answers in it")
    results = [read_run(path) for path in runs]
    for path, result in zip(runs, results, strict=True):
        if not set(result) & set(judged):
            raise UsageError(f"{path} answers no question of {qrels}")
    queries = list(judged)
    seen = dict.fromkeys(d for found in (judged, *results) for answers in found.values() for d in answers)
    number = {name: i for i, name in enumerate(seen)}
    pairs = [(q, number[d], gain) for q, query in enumerate(queries) for d, gain in judged[query].items()]
    return Loaded(queries, Qrels.of(pairs, len(queries)), [_table(queries, result, number) for result in results])


def _table(queries: list[str], run: Judged, number: dict[str, int]) -> IdArray:
    """A run in trec_eval's order, int64 ``(q, depth)``, padded with -1."""
    depth = max((len(run.get(query, ())) for query in queries), default=0)
    table = np.full((len(queries), max(depth, 1)), -1, np.int64)
    for row, query in enumerate(queries):
        ranked = sorted(run.get(query, {}).items(), key=lambda answer: (answer[1], answer[0]), reverse=True)
        table[row, : len(ranked)] = [number[document] for document, _ in ranked]
    return table


def _rows(path: str, fields: int, document: int, value: int) -> list[tuple[str, str, float]]:
    rows = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                parts = line.split()
                if len(parts) != fields:
                    raise UsageError(f"{path}:{number}: {len(parts)} fields, not {fields}")
                try:
                    rows.append((unquote(parts[0]), unquote(parts[document]), float(parts[value])))
                except ValueError:
                    raise UsageError(f"{path}:{number}: {parts[value]!r} is no number") from None
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None
    except ValueError as error:
        raise UsageError(f"{path}: not a TREC file: {error}") from None
    return rows


def _name(text: str) -> str:
    return quote(os.fsencode(text), safe="/#:,;@+=~!()[]'&$")


def _writing(path: str) -> TextIO:
    try:
        return open(path, "w", encoding="utf-8", newline="\n")
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be written').lower()}") from None
