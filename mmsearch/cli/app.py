"""The command line's front door: global options, and one file a command. Loads none of the heavy packages.

Only the command that is asked for is imported and built: all of them would cost a question 80 ms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated, Any

import typer

import mmsearch
from mmsearch.cli import defaults
from mmsearch.cli.common import Settings, first_word, hoist
from mmsearch.cli.common import command as body

COMMANDS = {
    "index": "index.command",
    "query": "query.command",
    "evaluate": "evaluate.command",
    "tune": "tune.command",
    "similar": "query.similar",
    "classify": "classify.command",
    "dedup": "dedup.command",
    "status": "status.command",
    "ls": "ls.command",
    "errors": "errors.command",
    "check": "upkeep.check",
    "repair": "upkeep.repair",
    "prune": "upkeep.prune",
    "gc": "upkeep.gc",
    "relocate": "upkeep.relocate",
    "rm": "upkeep.rm",
    "bridge": "bridge.command",
    "models": "models.app",
    "config": "config.app",
    "doctor": "doctor.command",
}
"""By name: the file in this folder and what it calls the command, or a group of commands."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mmsearch {mmsearch.__version__}")
        raise typer.Exit


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
    if not lock_timeout >= 0:  # no number, too
        raise typer.BadParameter("it is a number of seconds, at least 0", param_hint="--lock-timeout")
    context.obj = Settings(library, json, quiet, verbose, lock_timeout)
    if context.invoked_subcommand != "config":  # which must work on a file that is wrong
        with body(context):
            context.default_map = defaults.apply(context.command)


def build(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """The command line with these commands."""
    app = typer.Typer(
        name="mmsearch",
        help="Find your own photos, sounds, videos and texts by meaning, offline.",
        no_args_is_help=True,
        rich_markup_mode=None,  # rich costs 80 ms; results that need it load it themselves
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(main_options)
    for name in names:
        module, _, attribute = COMMANDS[name].partition(".")
        found: Any = getattr(import_module(f"mmsearch.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def __getattr__(name: str) -> typer.Typer:
    """``app``: all of it."""
    if name != "app":
        raise AttributeError(name)
    return build()


def _needed(arguments: list[str]) -> Iterable[str]:
    """The command that is asked for; all where others count too: for help, completion, a mistake, or settings."""
    name = first_word(arguments)
    alone = name in COMMANDS and name != "config" and not defaults.are_set() and "_MMSEARCH_COMPLETE" not in os.environ
    return [name] if alone else COMMANDS


def main() -> None:
    """Run the command line; exits with the codes that the README lists."""
    arguments = hoist(sys.argv[1:])
    build(_needed(arguments))(args=arguments, prog_name="mmsearch")
