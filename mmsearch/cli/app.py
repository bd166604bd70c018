"""The command line's front door: global options, and one file a command. Loads none of the heavy packages."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import mmsearch
from mmsearch.cli import (
    bridge,
    classify,
    config,
    dedup,
    defaults,
    doctor,
    errors,
    evaluate,
    index,
    ls,
    models,
    query,
    status,
    tune,
    upkeep,
)
from mmsearch.cli.common import Settings, hoist
from mmsearch.cli.common import command as body

app = typer.Typer(
    name="mmsearch",
    help="Find your own photos, sounds, videos and texts by meaning, offline.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich costs 80 ms; results that need it load it themselves
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mmsearch {mmsearch.__version__}")
        raise typer.Exit


@app.callback()
def main_options(
    context: typer.Context,
    library: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="The library folder [default: $MMSEARCH_LIBRARY, or your data folder]"),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Nothing on stderr but errors")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More on stderr")] = False,
    lock_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="Wait so long while another process writes the library")
    ] = 0.0,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit")
    ] = False,
) -> None:
    context.obj = Settings(library, json, quiet, verbose, lock_timeout)
    if context.invoked_subcommand != "config":  # which must work on a file that is wrong
        with body(context):
            context.default_map = defaults.apply(context.command)


app.command("index")(index.command)
app.command("query")(query.command)
app.command("evaluate")(evaluate.command)
app.command("tune")(tune.command)
app.command("similar")(query.similar)
app.command("classify")(classify.command)
app.command("dedup")(dedup.command)
app.command("status")(status.command)
app.command("ls")(ls.command)
app.command("errors")(errors.command)
app.command("check")(upkeep.check)
app.command("repair")(upkeep.repair)
app.command("prune")(upkeep.prune)
app.command("gc")(upkeep.gc)
app.command("relocate")(upkeep.relocate)
app.command("rm")(upkeep.rm)
app.command("bridge")(bridge.command)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.command("doctor")(doctor.command)


def main() -> None:
    """Run the command line; exits with the codes that the README lists."""
    app(args=hoist(sys.argv[1:]), prog_name="mmsearch")
