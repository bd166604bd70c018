"""`mmsearch classify`: which of some labels fits each file best."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mmsearch.cli import complete, render
from mmsearch.cli.common import command as body
from mmsearch.errors import UsageError

PARTLY_FAILED = 3


def command(
    context: typer.Context,
    labels: Annotated[str, typer.Argument(metavar="LABELS", help="cat,dog,car; or a file with one a line")],
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders, indexed or not")],
    k: Annotated[int, typer.Option("-k", "--top", min=1, metavar="N", help="So many labels for each file")] = 1,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="[default: the library's, or mini]", autocompletion=complete.models),
    ] = None,
    template: Annotated[list[str], typer.Option(metavar="TEXT", help="A sentence about {}")] = [],  # noqa: B006
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "cpu",
) -> None:
    """Sort files by labels that you choose, without training: mmsearch classify cat,dog photos/."""
    with body(context) as settings:
        from mmsearch.retrieval.classify import read_labels

        if any("{}" not in sentence for sentence in template):
            raise UsageError("--template needs a {} where the label goes")
        results, failures = settings.library().classify(
            read_labels(labels), paths, k, model=model, templates=template, device=device
        )
        if settings.json:
            render.document(
                files=[
                    {"path": path, "labels": [{"label": one.name, "score": round(one.score, 6)} for one in found]}
                    for path, found in results
                ],
                failures=[{"path": path, "reason": reason} for path, reason in failures],
            )
        else:
            rows = [
                (one.name, f"{one.score:.3f}", render.shown(os.fsencode(path)))
                for path, found in results
                for one in found
            ]
            render.table(("label", "score", "path"), rows)
            for path, reason in failures if not settings.quiet else ():
                render.note(f"{render.shown(os.fsencode(path))}: {reason}")
        if failures:
            raise typer.Exit(PARTLY_FAILED)
