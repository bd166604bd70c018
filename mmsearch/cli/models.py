"""`mmsearch models`: which models there are, getting them, keeping them whole."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmsearch.cli import complete, models_bench, render
from mmsearch.cli.common import command as body
from mmsearch.errors import MissingModel, UsageError

if TYPE_CHECKING:
    from mmsearch.encoders.presets import Preset
    from mmsearch.hub.cache import Snapshot
    from mmsearch.hub.fetch import Listing, Progress

app = typer.Typer(help="The models that can encode.", no_args_is_help=True, rich_markup_mode=None)
app.command("bench")(models_bench.command)

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL", help="A preset, or a name as `index --model` takes it", autocompletion=complete.models
    ),
]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="Also weights in torch's pickled format")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask")]


@app.command("list")
def list_models(context: typer.Context) -> None:
    """List models: presets, and the families that any other model belongs to."""
    with body(context) as settings:
        from mmsearch.encoders import presets, registry

        families = registry.available()
        states = {preset.name: _state(preset.model) for preset in presets.PRESETS}
        if settings.json:
            render.document(
                presets=[{**_facts(preset), "state": states[preset.name]} for preset in presets.PRESETS],
                models=[
                    {
                        "name": m.name,
                        "present": m.present,
                        "needs": m.needs,
                        "licence": m.licence,
                        "description": m.description,
                    }
                    for m in families
                ],
            )
            return
        rows = [(m.name, "here" if m.present else f"needs: {m.needs}", m.licence, m.description) for m in families]
        rows += [(p.name, states[p.name], p.licence, f"{p.model}, {render.size(p.bytes)}") for p in presets.PRESETS]
        render.table(("name", "", "licence", "what it is"), rows)


@app.command("show")
def show(context: typer.Context, model: Model) -> None:
    """Show what is known of a model and what of it is on this machine."""
    with body(context) as settings:
        from mmsearch.encoders import presets

        preset = presets.of(model)
        facts: dict[str, Any] = _facts(preset) if preset else {"model": model}
        facts["repositories"] = [_on_disk(repo) for repo in _repos(model)]
        facts["state"] = _state(model)
        if settings.json:
            render.document(**facts)
            return
        for name, value in facts.items():
            for line in _lines(value):
                render.line(f"{name:14} {line}")


@app.command("pull")
def pull(
    context: typer.Context,
    model: Model,
    yes: Yes = False,
    allow_pickle: AllowPickle = False,
) -> None:
    """Fetch a model from the Hugging Face Hub: says what it costs, asks, and checks every file."""
    with body(context) as settings:
        from mmsearch.hub import fetch

        listings = fetch.plan(model, allow_pickle=allow_pickle)
        missing = sum(listing.missing_bytes for listing in listings)
        if not settings.quiet:
            for listing in listings:
                render.note(_offer(listing))
            render.note(f"{render.size(missing)} to fetch of {render.size(sum(x.bytes for x in listings))}")
        _agree(yes or not missing, "fetch it")
        with _progress(show=not settings.quiet) as progress:
            fetch.pull(listings, progress)
        if settings.json:
            render.document(model=model, repositories=[_on_disk(listing.repo) for listing in listings])
        else:
            render.line(f"{model} is here and whole: mmsearch index FOLDER --model {model}")


@app.command("verify")
def verify(context: typer.Context, model: Model) -> None:
    """Compare every file of a model with its checksum. Exits with 14 if one is wrong."""
    with body(context) as settings:
        from mmsearch.hub import cache

        if model == "mini":
            from mmsearch.encoders import mini

            mini.verify()
            checked = 0
        else:
            found = _snapshots(model)
            for snapshot in found:
                bad = cache.damaged(snapshot)
                if bad:
                    names = ", ".join(file.name for file in bad)
                    raise MissingModel(f"{snapshot.repo}: {names}: wrong checksum: mmsearch models pull {model}")
            checked = sum(len(snapshot.files) for snapshot in found)
        if settings.json:
            render.document(model=model, files=checked, intact=True)
        else:
            render.line(f"{model}: every file is what it should be")


@app.command("export")
def export(
    context: typer.Context,
    model: Model,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A new folder")],
    as_is: Annotated[bool, typer.Option("--as-is", help="The pulled files, for `models import` elsewhere")] = False,
) -> None:
    """Write a model as an ONNX folder with two towers (`--model onnx:DIR`), or its files as they are."""
    with body(context) as settings:
        from mmsearch.encoders import presets
        from mmsearch.hub import bundle

        if as_is:
            written = bundle.write(presets.resolve(model), _snapshots(model), folder)
            facts: dict[str, Any] = {"folder": folder, "files": len(written), "bytes": sum(f.bytes for f in written)}
        else:
            from mmsearch.encoders.export import export as write_onnx

            facts = {"folder": folder, "name": write_onnx(presets.resolve(model), folder)}
        if settings.json:
            render.document(model=model, **facts)
        else:
            use = f": mmsearch index FOLDER --model {facts['name']}" if "name" in facts else ""
            render.line(f"{model} is in {folder}{use}")


@app.command("import")
def import_model(
    context: typer.Context,
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Made by `models export --as-is`")],
    allow_pickle: AllowPickle = False,
) -> None:
    """Take in a model that another machine has pulled; every file is checked first."""
    with body(context) as settings:
        from mmsearch.hub import bundle

        model = bundle.read(folder, allow_pickle)
        if settings.json:
            render.document(model=model)
        else:
            render.line(f"{model} is here and whole: mmsearch index FOLDER --model {model}")


@app.command("rm")
def rm(context: typer.Context, model: Model, yes: Yes = False) -> None:
    """Delete a model's files from the Hugging Face cache, which other programs use too."""
    with body(context) as settings:
        from mmsearch.hub import cache

        # A tokenizer's repository may serve other models: only the model's own is deleted.
        repo = _repos(model)[0]
        found = cache.snapshot(repo)
        size = (found.bytes if found else 0) + cache.incomplete(repo)
        if not size:
            raise MissingModel(f"{model} is not here: there is nothing to delete")
        if not settings.quiet:
            render.note(f"{cache.folder(repo)}: {render.size(size)}")
        _agree(yes, "delete it")
        cache.remove(repo)
        if settings.json:
            render.document(model=model, bytes=size)
        else:
            render.line(f"deleted {render.size(size)}")


def _facts(preset: Preset) -> dict[str, Any]:
    from dataclasses import fields

    return {field.name: getattr(preset, field.name) for field in fields(preset)} | {"recall": dict(preset.recall)}


def _repos(model: str) -> list[str]:
    """The repositories of a model; asks open_clip only where the table of presets does not know."""
    from mmsearch.encoders import presets
    from mmsearch.hub import source

    preset = presets.of(model)
    return [preset.repo] if preset else [need.repo for need in source.needs(model)]


def _state(model: str) -> str:
    """``here``, ``half here: ...``, or the command that brings it."""
    from mmsearch.errors import MMSearchError
    from mmsearch.hub import cache

    try:
        repos = _repos(model)
        if all(cache.snapshot(repo) for repo in repos):
            return "here"
        half = sum(cache.incomplete(repo) for repo in repos)
    except MMSearchError as error:
        return f"needs: {error}"
    return f"half here: {render.size(half)}" if half else f"mmsearch models pull {model}"


def _on_disk(repo: str) -> dict[str, Any]:
    from mmsearch.hub import cache

    found = cache.snapshot(repo)
    return {
        "repo": repo,
        "commit": found.commit if found else None,
        "bytes": found.bytes if found else 0,
        "incomplete_bytes": cache.incomplete(repo),
        "files": [{"name": f.name, "bytes": f.bytes, "digest": f.digest} for f in found.files] if found else [],
        "folder": cache.folder(repo),
    }


def _snapshots(model: str) -> list[Snapshot]:
    """What is here of a model's repositories. Raises ``MissingModel`` if one is not."""
    from mmsearch.hub import cache

    found = [cache.snapshot(repo) for repo in _repos(model)]
    here = [snapshot for snapshot in found if snapshot is not None]
    if len(here) < len(found):
        raise MissingModel(f"{model} is not here, or only half: mmsearch models pull {model}")
    return here


def _offer(listing: Listing) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{listing.repo}: {render.size(listing.bytes)}, licence {listing.licence}"


def _agree(already: bool, what: str) -> None:
    if already:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"nobody is there to ask: add --yes to {what}")
    if not typer.confirm(f"{what}?", err=True):
        raise typer.Exit(0)


@contextmanager
def _progress(show: bool) -> Iterator[Progress]:
    """A progress bar on stderr, if that is a terminal."""
    if not show or not sys.stderr.isatty():
        yield lambda name, here, size: None
        return
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda name, here, size: bar.update(task, description=name, completed=here, total=size)


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{name}: {inner}" for name, inner in value.items()]
    if isinstance(value, list | tuple):
        return [inner if isinstance(inner, str) else ", ".join(_lines(inner)) for inner in value]
    return [render.size(value) if isinstance(value, int) else str(value)]
