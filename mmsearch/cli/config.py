"""`mmsearch config`: what options are when they are not typed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import defaults, render
from mmsearch.cli.common import command as body
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.defaults import Setting

app = typer.Typer(help="What options are when they are not typed.", no_args_is_help=True, rich_markup_mode=None)

UNSET = 1


def _keys(context: typer.Context, incomplete: str) -> list[str]:
    return [key for key in defaults.settings(context.find_root().command) if key.startswith(incomplete)]


Key = Annotated[str, typer.Argument(metavar="KEY", help="Such as query.top or library", autocompletion=_keys)]


@app.command("path")
def path(context: typer.Context) -> None:
    """Where the file is, or would be."""
    with body(context) as settings:
        if settings.json:
            render.document(path=defaults.path(), exists=os.path.exists(defaults.path()))
        else:
            render.line(defaults.path())


@app.command("list")
def list_settings(
    context: typer.Context, all_: Annotated[bool, typer.Option("--all", help="Also what is not set")] = False
) -> None:
    """List what is set, and where: in the environment or in the file."""
    with body(context) as settings:
        rows = [row for row in _rows(context) if all_ or row["from"] != "default"]
        if settings.json:
            render.document(settings=rows)
            return
        shown = ((row["key"], _text(row["value"]), row["from"], row["variable"]) for row in rows)
        render.table(("key", "value", "from", "variable"), shown)


@app.command("get")
def get(context: typer.Context, key: Key) -> None:
    """Print what an option is when it is not typed. Exits with 1 if it is nothing."""
    with body(context) as settings:
        defaults.find(_known(context), key)
        (row,) = (row for row in _rows(context) if row["key"] == key)
        if settings.json:
            render.document(**row)
        elif row["value"] not in (None, []):
            render.line(_text(row["value"]))
        if row["value"] in (None, []):
            raise typer.Exit(UNSET)


@app.command("set")
def set_(
    context: typer.Context,
    key: Key,
    values: Annotated[list[str], typer.Argument(metavar="VALUE...", help="One, or several where it may be repeated")],
) -> None:
    """Set it in the file: mmsearch config set query.top 20."""
    with body(context) as settings:
        from mmsearch.cli import toml

        setting = defaults.find(_known(context), key)
        several = setting.option is not None and setting.option.multiple
        if len(values) > 1 and not several:
            raise UsageError(f"{key} takes one value")
        value = defaults.converted(setting, values if several else values[0])
        toml.put(defaults.path(), key, value)
        if not settings.quiet and setting.variable in os.environ:
            render.note(f"{setting.variable} is set and comes before the file")


@app.command("unset")
def unset(context: typer.Context, key: Key) -> None:
    """Take it out of the file. Exits with 1 if it is not there."""
    with body(context):
        from mmsearch.cli import toml

        if key not in defaults.read(defaults.path()):
            defaults.find(_known(context), key)
            raise typer.Exit(UNSET)
        toml.put(defaults.path(), key, None)


def _known(context: typer.Context) -> dict[str, Setting]:
    return defaults.settings(context.find_root().command)


def _rows(context: typer.Context) -> list[dict[str, Any]]:
    """Every setting with its value and where that is from; also what the file has and no option knows."""
    known = _known(context)
    file, variables = defaults.read(defaults.path()), defaults.from_environment(known)
    rows = []
    for setting in known.values():
        own = setting.option.default if setting.option is not None else None
        origin = "environment" if setting.key in variables else "file" if setting.key in file else "default"
        value = variables.get(setting.key, file.get(setting.key, own))
        if origin != "default":
            value = defaults.converted(setting, value)
        rows.append({"key": setting.key, "value": value, "from": origin, "variable": setting.variable})
    return rows


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
