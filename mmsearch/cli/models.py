"""`mmsearch models`: which encoders there are."""

from __future__ import annotations

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body

app = typer.Typer(help="The models that can encode.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def _group() -> None:
    """Keeps `list` a command of its own while it is the only one."""


@app.command("list")
def list_models(context: typer.Context) -> None:
    """List models: those that are here, and what the others need."""
    with body(context) as settings:
        from mmsearch.encoders import registry

        models = registry.available()
        if settings.json:
            render.document(
                models=[
                    {
                        "name": m.name,
                        "present": m.present,
                        "needs": m.needs,
                        "licence": m.licence,
                        "description": m.description,
                    }
                    for m in models
                ]
            )
        else:
            render.table(
                ("name", "", "licence", "what it is"),
                ((m.name, "here" if m.present else f"needs: {m.needs}", m.licence, m.description) for m in models),
            )
