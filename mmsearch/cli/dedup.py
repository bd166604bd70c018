"""`mmsearch dedup`: which files repeat each other."""

from __future__ import annotations

from typing import Annotated

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body

NOTHING_FOUND = 1


def command(
    context: typer.Context,
    close: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Look at pictures whose vectors are at least this close")
    ] = 0.9,
    null: Annotated[bool, typer.Option("-0", help="Paths as they are, each ended by a NUL, groups by another")] = False,
) -> None:
    """List groups of files that repeat each other; deletes nothing. The first of a group was indexed first."""
    with body(context) as settings:
        groups = settings.library().duplicates(close)
        if settings.json:
            render.document(groups=[{"paths": group} for group in groups])
        elif null:
            for group in groups:
                for path in group:
                    render.raw(path)
                render.raw(b"")
        else:
            rows = [(str(n), render.shown(path)) for n, group in enumerate(groups, 1) for path in group]
            render.table(("group", "path"), rows)
        if not groups:
            if not settings.quiet:
                render.note("no duplicates")
            raise typer.Exit(NOTHING_FOUND)
