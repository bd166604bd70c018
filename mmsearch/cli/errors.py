"""`mmsearch errors`: the files that are not, or only in part, in the index, with the reasons."""

from __future__ import annotations

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body


def command(context: typer.Context) -> None:
    """List files that were rejected, partly readable, or could not be read, with the reasons."""
    with body(context) as settings:
        failures = settings.library().reader.failures()
        if settings.json:
            render.document(failures=[{"path": f.path, "state": f.state, "reason": f.reason} for f in failures])
        else:
            render.table(("state", "reason", "path"), ((f.state, f.reason, render.shown(f.path)) for f in failures))
