"""`check`, `repair`, `prune`, `gc`, `relocate`, `rm`: keeping a library whole and small."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from mmsearch.cli import complete, render
from mmsearch.cli.common import command as body
from mmsearch.errors import Damaged, UsageError

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done")]


def check(
    context: typer.Context,
    read_data: Annotated[bool, typer.Option("--read-data", help="Also every checksum and every vector")] = False,
    deep: Annotated[bool, typer.Option("--deep", help="Also that every vector finds itself")] = False,
) -> None:
    """Look for damage. Exits with 13 if there is any."""
    with body(context) as settings:
        problems = settings.library().check("deep" if deep else "data" if read_data else "fast")
        if settings.json:
            render.document(problems=[{"code": p.code, "message": p.message} for p in problems])
        else:
            for problem in problems:
                render.line(f"{problem.code}: {problem.message}")
            if not problems:
                render.line("the library is whole")
        if problems:
            if not settings.quiet:
                render.note(f"{len(problems)} problems: run `mmsearch repair`")
            raise typer.Exit(Damaged.exit_code)


def repair(context: typer.Context, dry_run: DryRun = False) -> None:
    """Rebuild what is derived and damaged; loses nothing, encodes nothing."""
    with body(context) as settings:
        _lines("actions", settings.library().repair(dry_run), settings.json, "nothing to repair")


def prune(context: typer.Context, dry_run: DryRun = False) -> None:
    """Forget missing files for good."""
    with body(context) as settings:
        pruned = settings.library().prune(dry_run)
        if settings.json:
            render.document(pruned=pruned)
        else:
            for path in pruned:
                render.line(render.shown(path))
            if not settings.quiet:
                render.note(f"{len(pruned)} missing files {'would be ' if dry_run else ''}forgotten")


def gc(context: typer.Context, dry_run: DryRun = False) -> None:
    """Drop the vectors of former models, and give disk space back."""
    with body(context) as settings:
        _lines("dropped", settings.library().gc(dry_run), settings.json, "nothing to drop")


def relocate(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="Where the files were", autocompletion=complete.folders)],
    new: Annotated[str, typer.Argument(metavar="NEW", help="Where they are now")],
) -> None:
    """Tell the library that a folder moved; nothing is encoded again."""
    with body(context) as settings:
        moved = settings.library().relocate(old, new)
        if settings.json:
            render.document(moved=moved)
        else:
            render.line(f"{moved} files are now below {render.shown(os.path.abspath(os.fsencode(new)))}")


def rm(
    context: typer.Context,
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Files and folders to forget", autocompletion=complete.folders),
    ],
) -> None:
    """Forget what is indexed at or below paths; the files themselves stay."""
    with body(context) as settings:
        library = settings.library()
        forgotten = sum(library.forget(path) for path in paths)
        if not forgotten:
            raise UsageError(f"nothing is indexed at {', '.join(paths)}: `mmsearch ls` lists what is")
        if settings.json:
            render.document(forgotten=forgotten)
        else:
            render.line(f"{forgotten} files forgotten")


def _lines(name: str, lines: list[str], as_json: bool, otherwise: str) -> None:
    if as_json:
        render.document(**{name: lines})
    else:
        for text in lines or [otherwise]:
            render.line(text)
