"""`mmsearch ls`: what the library knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import complete, query, render
from mmsearch.cli.common import command as body
from mmsearch.cli.query import Kinds, Near, Since, Until, Where

if TYPE_CHECKING:
    from mmsearch.store.reader import Item

NOTHING_FOUND = 1

Top = Annotated[int | None, typer.Option("-k", "--top", min=1, metavar="N", help="So many files at most")]
Sort = Annotated[
    str,
    typer.Option(
        metavar="BY",
        help="path, date, taken or added (newest first); date:asc from the oldest on",
        autocompletion=complete.words("path", "date", "taken", "added"),
    ),
]


def command(
    context: typer.Context,
    path: Annotated[
        str | None, typer.Argument(metavar="PATH", help="Only files at or below PATH", autocompletion=complete.folders)
    ] = None,
    named: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Only files with these words in their names")
    ] = None,
    state: Annotated[str | None, typer.Option(help="ok, partial, rejected, transient, skipped or missing")] = None,
    where: Where = [],  # noqa: B006
    since: Since = None,
    until: Until = None,
    near: Near = None,
    modality: Kinds = None,
    k: Top = None,
    sort: Sort = "path",
    null: Annotated[bool, typer.Option("-0", help="Paths alone as they are, each ended by a NUL")] = False,
) -> None:
    """List the files that the library knows, and how each ended."""
    with body(context) as settings:
        from mmsearch.retrieval.listing import files

        asked = query.options(1, path, modality, where, since, until, near, sort=sort)
        items = files(settings.library().reader, asked, named, state, k)
        if settings.json:
            render.document(items=[_fields(item) for item in items])
        elif null:
            for item in items:
                render.raw(item.path)
        else:
            render.table(("state", "kind", "path"), ((i.state, i.modality or "-", render.shown(i.path)) for i in items))
        if not items:
            raise typer.Exit(NOTHING_FOUND)


def _fields(item: Item) -> dict[str, Any]:
    own = {"item_id": item.id, "path": item.path, "modality": item.modality, "state": item.state, "size": item.size}
    facts = {name: getattr(item.facts, name) for name in item.facts.__slots__}
    return {**own, **{name: value for name, value in facts.items() if value is not None}}
