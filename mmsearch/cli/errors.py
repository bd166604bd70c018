"""`mmsearch errors`: the files that are not, or only in part, in the index, with the reasons."""

from __future__ import annotations

import os

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body


def command(context: typer.Context) -> None:
    """List files that were rejected, partly readable, or could not be read, with the reasons."""
    with body(context) as settings:
        rows = settings.library().reader.query(_FAILURES)
        failures = [(os.path.join(root, path), str(state), str(reason)) for root, path, state, reason in rows]
        if settings.json:
            render.document(
                failures=[{"path": path, "state": state, "reason": reason} for path, state, reason in failures]
            )
        else:
            render.table(
                ("state", "path", "reason"), ((state, render.shown(path), reason) for path, state, reason in failures)
            )


_FAILURES = """
SELECT r.path, i.path, i.state, coalesce(i.reason, '') FROM item i JOIN root r ON r.id = i.root_id
WHERE i.state <> 'ok' AND i.state IN ('partial', 'rejected', 'transient') AND i.gone IS NULL ORDER BY 1, 2
"""
