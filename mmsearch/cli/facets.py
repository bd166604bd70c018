"""`--facets`: below the hits, how they spread over years, cameras, folders, and the filter that selects each part."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import complete, render
from mmsearch.cli.hits import Form
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.common import Settings
    from mmsearch.retrieval.facets import Facets

SHOWN = 10
"""Values of a field in the table; JSON has all."""

Option = Annotated[
    str | None,
    typer.Option(
        "--facets",
        metavar="LIST",
        help="Count what is found by year,month,camera,folder,modality",
        autocompletion=complete.words("year", "month", "camera", "folder", "modality"),
    ),
]


def asked(facets: str | None, form: Form) -> list[str]:
    """The fields that were typed. Raises ``UsageError`` for others, and for a form that has no place for counts."""
    if facets is None:
        return []
    from mmsearch.retrieval.facets import require_fields

    if form not in (Form.TABLE, Form.JSON):
        raise UsageError("--facets counts below the table, or in --json")
    fields = [name.strip() for name in facets.split(",")]
    require_fields(fields)
    return fields


def document(facets: Facets) -> dict[str, Any]:
    """The counts as JSON has them."""
    return {
        "facets": [
            {"field": field, "value": value, "count": count, "filter": selects}
            for field, value, count, selects in facets
        ],
        "counted": {"files": facets.files, "more": facets.more},
    }


def show(settings: Settings, facets: Facets) -> None:
    """How many files there are, and the first values of each field with their counts and filters."""
    rows = [("files", "", f"{facets.files:,}{'+' * facets.more}", "")]
    held: dict[str, int] = {}
    for field, value, count, selects in facets:
        held[field] = held.get(field, 0) + 1
        if held[field] <= SHOWN:
            rows.append((field, "-" if value is None else _shown(value), f"{count:,}", _shown(selects)))
    render.line()
    render.table(("by", "value", "files", "filter"), rows)
    for field, count in held.items():
        if count > SHOWN and not settings.quiet:
            render.note(f"{field}: {count - SHOWN} more in --json")


def _shown(text: str) -> str:
    return render.shown(os.fsencode(text))
