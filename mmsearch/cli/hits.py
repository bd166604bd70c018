"""How hits look: a table, JSON, JSON lines, CSV, or their paths alone."""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any

import typer

from mmsearch.cli import render
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.common import Settings
    from mmsearch.cli.weak import Screen
    from mmsearch.library import Answer
    from mmsearch.retrieval.facets import Facets
    from mmsearch.types import Hit, Query, Span, Why

NOTHING_FOUND = 1


class Form(Enum):
    TABLE, JSON, JSONL, CSV, PATHS, NULL = range(6)

    @classmethod
    def of(cls, settings: Settings, *, paths: bool, null: bool, jsonl: bool, csv: bool) -> Form:
        """The form that was asked for. Raises ``UsageError`` if several were."""
        asked = {cls.JSON: settings.json, cls.JSONL: jsonl, cls.CSV: csv, cls.PATHS: paths, cls.NULL: null}
        chosen = [form for form, on in asked.items() if on]
        if len(chosen) > 1:
            raise UsageError("--json, --jsonl, --csv, --paths and -0 exclude each other")
        return chosen[0] if chosen else cls.TABLE


def show(
    settings: Settings,
    answer: Answer,
    query: Query,
    form: Form,
    preview: str | None = None,
    counts: Facets | None = None,
    screen: Screen | None = None,
) -> None:
    """Write an answer out, a table with pictures if ``preview`` says how; exits with 1 if it has no hits.

    ``screen``: what a terminal shows of it.
    """
    match form:
        case Form.JSON:
            _document(settings, answer, query, counts)
        case Form.JSONL:
            for hit in answer:
                json_line(**fields(hit))
        case Form.CSV:
            _csv(answer)
        case Form.PATHS | Form.NULL:
            for hit in answer:
                render.raw(hit.path) if form is Form.NULL else render.line(render.shown(hit.path))
        case Form.TABLE:
            _table(answer, query, preview, screen)
            if counts is not None:
                from mmsearch.cli import facets

                facets.show(settings, counts)
    _remarks(settings, answer, query, screen)
    if not answer.hits:
        raise typer.Exit(NOTHING_FOUND)


def _remarks(settings: Settings, answer: Answer, query: Query, screen: Screen | None) -> None:
    if screen is not None:
        screen.say(settings)
    for note in answer.notes if not settings.quiet else ():
        render.note(f"mmsearch: {note}")
    if settings.verbose:
        for hit in answer:
            if hit.why is not None:
                render.note(f"{hit.rank}: {_reasons(hit.why)}")
        took = ", ".join(f"{name} {ms:.0f} ms" for name, ms in answer.took_ms.items())
        asked = "; ".join(f"model {space.model}, index {index}" for space, index in answer.spaces)
        render.note(f"{asked or ('by the letter' if query.parts else answer.index)}: {took}")
    if not (answer.hits if screen is None else screen.hits) and not settings.quiet:
        render.note("nothing found")


def fields(hit: Hit) -> dict[str, Any]:
    """A hit as JSON has it."""
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "cosine": _rounded(hit.cosine),
        "confidence": None if hit.confidence is None else round(hit.confidence, 4),
        "path": hit.path,
        "modality": hit.modality,
        "span": hit.span and span(hit.span),
        "page": hit.page,
        "text": hit.text,
        "taken": hit.taken,
        "added": hit.added,
        "date": hit.date,
        "group": hit.group,
        "item_id": hit.item_id,
        "segment_id": hit.segment_id,
        "space": hit.space,
        "found_by": hit.found_by,
        "why": hit.why and why(hit.why),
        "moments": [
            {"span": span(one.span), "page": one.page, "text": one.text, "cosine": _rounded(one.cosine)}
            for one in hit.moments
        ],
    }


def span(part: Span) -> dict[str, Any]:
    """Where in a file, as JSON has it."""
    return {"start": part.start, "end": part.end, "unit": part.unit}


def _rounded(cosine: float | None) -> float | None:
    return None if cosine is None else round(cosine, 6)


def why(reasons: Why) -> dict[str, Any]:
    """What put a hit where it is, as JSON has it."""
    return {
        "z": round(reasons.z, 4),
        "words": round(reasons.words, 4),
        "folder": round(reasons.folder, 4),
        "matched": [{"word": word, "in": place} for word, place in reasons.matched],
    }


def json_line(**values: Any) -> None:
    import json

    render.line(json.dumps(values, default=os.fsdecode))


def _document(settings: Settings, answer: Answer, query: Query, counts: Facets | None) -> None:
    more: dict[str, Any] = {}
    if counts is not None:
        from mmsearch.cli import facets

        more = facets.document(counts)
    texts = [part.value for part in query.parts if part.kind == "text" and part.weight == 1]
    render.document(
        library=settings.library().folder,
        query={
            "text": " ".join(texts),
            "parts": [part._asdict() for part in query.parts],
            "mode": query.mode if query.parts else answer.index,
        },
        spaces=[{"model": space.model, "space": space.fingerprint, "index": index} for space, index in answer.spaces],
        took_ms={name: round(ms, 2) for name, ms in answer.took_ms.items()},
        hits=[fields(hit) for hit in answer],
        **more,
    )


def _csv(answer: Answer) -> None:
    import csv
    import io

    columns = ["rank", "score", "cosine", "confidence", "path", "modality", "start", "end", "unit", "page"]
    columns += ["taken", "added", "date"]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for hit in answer:
        row = fields(hit)
        writer.writerow({**row, **(row["span"] or {}), "path": render.shown(hit.path)})
    render.line(out.getvalue().rstrip("\n"))


def _table(answer: Answer, query: Query, preview: str | None, screen: Screen | None) -> None:
    """Rank, score, path; with the group where hits are grouped, and on a terminal with the confidence.

    A listing has dates in the place of scores.
    """
    shown = answer.hits if screen is None else screen.hits
    columns = ["rank", "score" if query.parts else "date", "path"]
    if sys.stdout.isatty() and query.parts:
        columns.insert(2, "confidence")
    if any(hit.group is not None for hit in shown):
        columns.insert(-1, "group")
    rows = [
        {
            "rank": str(hit.rank),
            "score": f"{hit.score:.3f}",
            "confidence": confidence(hit.confidence) + (screen.mark(hit) if screen is not None else ""),
            "date": (hit.date or "-")[:19],
            "group": render.shown(os.fsencode(hit.group or "")),
            "path": render.shown(hit.path) + places(hit),
        }
        for hit in shown
    ]
    if preview is None:
        render.table(columns, ([row[column] for column in columns] for row in rows))
    else:
        from mmsearch.cli.preview import show_all

        show_all(shown, ("  ".join(row[column] for column in columns) for row in rows), preview)


def _reasons(reasons: Why) -> str:
    parts = [f"z {reasons.z:.2f}"]
    parts += [f"words {reasons.words:+.2f}"] if reasons.words else []
    parts += [f"folder {reasons.folder:+.2f}"] if reasons.folder else []
    matched = ", ".join(f"{word} in {place}" for word, place in reasons.matched)
    return ", ".join(parts) + (f" ({render.shown(os.fsencode(matched))})" if matched else "")


def confidence(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def places(hit: Hit) -> str:
    """Where in the file its moments are."""
    return "".join(dict.fromkeys(where(one.span, one.page) for one in hit.moments)) or where(hit.span, hit.page)


def where(span: Span | None, page: int | None = None) -> str:
    """Where in the file: ``[1:05-1:10]`` for seconds, ``[120-480]`` for characters, ``[page 3]``."""
    if page is not None:
        return f" [page {page}]"
    if span is None:
        return ""
    if span.unit == "char":
        return f" [{span.start:.0f}-{span.end:.0f}]"
    return " [" + "-".join(f"{int(s) // 60}:{s % 60:02.0f}" for s in (span.start, span.end)) + "]"
