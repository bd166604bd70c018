"""`mmsearch query`: ask in words or with a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body

if TYPE_CHECKING:
    from mmsearch.library import Answer
    from mmsearch.types import Span

NOTHING_FOUND = 1


def command(
    context: typer.Context,
    parts: Annotated[list[str] | None, typer.Argument(metavar="PARTS...", help="What to look for, in words")] = None,
    k: Annotated[int, typer.Option("-k", "--top", min=1, max=10_000, metavar="N", help="So many hits at most")] = 10,
    within: Annotated[str | None, typer.Option("--in", metavar="PATH", help="Only files at or below PATH")] = None,
    image: Annotated[list[str], typer.Option(metavar="FILE", help="A picture to look for")] = [],  # noqa: B006
    paths: Annotated[bool, typer.Option("--paths", help="Paths alone, one a line")] = False,
    null: Annotated[bool, typer.Option("-0", help="Paths alone as they are, each ended by a NUL")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "cpu",
) -> None:
    """Find files by meaning: mmsearch query "a cat on a sofa"."""
    with body(context) as settings:
        text = " ".join(parts or [])
        library = settings.library()
        answer = library.search(text, images=image, k=k, within=within, device=device)
        if settings.json:
            _document(library.folder, text, image, answer)
        elif null or paths:
            for hit in answer:
                render.raw(hit.path) if null else render.line(render.shown(hit.path))
        else:
            render.table(
                ("rank", "score", "path"),
                ((str(hit.rank), f"{hit.score:.3f}", render.shown(hit.path) + _span(hit.span)) for hit in answer),
            )
        for note in answer.notes if not settings.quiet else ():
            render.note(f"mmsearch: {note}")
        if settings.verbose:
            took = ", ".join(f"{name} {ms:.0f} ms" for name, ms in answer.took_ms.items())
            render.note(f"model {answer.space.model}, index {answer.index}: {took}")
        if not answer.hits:
            if not settings.quiet:
                render.note("nothing found")
            raise typer.Exit(NOTHING_FOUND)


def _document(folder: str, text: str, images: list[str], answer: Answer) -> None:
    render.document(
        library=folder,
        query={"text": text, "images": images},
        spaces=[{"model": answer.space.model, "space": answer.space.fingerprint, "index": answer.index}],
        took_ms={name: round(ms, 2) for name, ms in answer.took_ms.items()},
        hits=[
            {
                "rank": hit.rank,
                "score": round(hit.score, 6),
                "path": hit.path,
                "modality": hit.modality,
                "span": hit.span and {"start": hit.span.start, "end": hit.span.end, "unit": hit.span.unit},
                "item_id": hit.item_id,
                "segment_id": hit.segment_id,
                "space": hit.space,
            }
            for hit in answer
        ],
    )


def _span(span: Span | None) -> str:
    """Where in the file: ``[1:05-1:10]`` for seconds, ``[120-480]`` for characters."""
    if span is None:
        return ""
    if span.unit == "char":
        return f" [{span.start:.0f}-{span.end:.0f}]"
    return " [" + "-".join(f"{int(s) // 60}:{s % 60:02.0f}" for s in (span.start, span.end)) + "]"
