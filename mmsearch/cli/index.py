"""`mmsearch index`: bring the library up to date with files and folders."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import complete, render
from mmsearch.cli.common import INTERRUPTED, numpy_alone
from mmsearch.cli.common import command as body

if TYPE_CHECKING:
    from mmsearch.indexer.summary import Summary

NOTHING, SOME_FAILED = 1, 3
SHOWN_FAILURES = 20


def command(
    context: typer.Context,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="Files and folders")],
    model: Annotated[
        str | None,
        typer.Option(help="Which model encodes: see `mmsearch models list`", autocompletion=complete.models),
    ] = None,
    index: Annotated[str | None, typer.Option(help="auto, exact, flat, ivfpq, hnsw, sq8, sq16 or hash")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "auto",
    include: Annotated[list[str], typer.Option(metavar="GLOB", help="Only these files")] = [],  # noqa: B006
    exclude: Annotated[list[str], typer.Option(metavar="GLOB", help="Not these files and folders")] = [],  # noqa: B006
    follow_links: Annotated[bool, typer.Option("--follow-links", help="Follow symbolic links")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="Look again at files rejected or skipped before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done")] = False,
) -> None:
    """Index files and folders; run it again to bring the library up to date."""
    with body(context) as settings:
        numpy_alone()
        from mmsearch.indexer.options import Options

        options = Options(include=include, exclude=exclude, follow_links=follow_links, retry=retry, dry_run=dry_run)
        with _stop_on_interrupt() as stop, render.progress(not settings.quiet) as tell:
            summary = settings.library().index(
                paths,
                model=model,
                index=index,
                device=device,
                options=options,
                progress=lambda summary: tell(f"{summary.seen} files, {summary.added} added"),
                stop=stop,
            )
        if settings.json:
            _document(summary)
        else:
            _report(summary, dry_run)
        for text in _notes(summary) if not settings.quiet else []:
            render.note(text)
        raise typer.Exit(_exit_code(summary))


@contextmanager
def _stop_on_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C lets the running batch be committed; the second one ends at once."""
    stop = threading.Event()

    def interrupt(signum: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _document(summary: Summary) -> None:
    render.document(
        seen=summary.seen,
        **summary.counts(),
        failures=[{"path": f.path, "state": f.state, "reason": f.reason} for f in summary.failures],
        seconds=round(summary.seconds, 3),
        files_per_second=round(summary.seen / max(summary.seconds, 1e-9), 1),
        model=summary.model,
        space=summary.space,
        device=summary.device,
        offline=summary.offline,
        skip_reasons=summary.skip_reasons,
        interrupted=summary.interrupted,
    )


def _report(summary: Summary, dry_run: bool) -> None:
    counts = ", ".join(f"{count} {name}" for name, count in summary.counts().items())
    render.line(f"{summary.seen} seen{' (dry run)' if dry_run else ''}: {counts}")
    rate = summary.seen / max(summary.seconds, 1e-9)
    render.line(f"{summary.seconds:.1f} s, {rate:.0f} files/s, model {summary.model} on {summary.device}")
    for failure in summary.failures[:SHOWN_FAILURES]:
        render.line(f"{failure.state}: {render.shown(failure.path)}: {failure.reason}")
    if len(summary.failures) > SHOWN_FAILURES:
        render.line(f"and {len(summary.failures) - SHOWN_FAILURES} more: mmsearch errors")


def _notes(summary: Summary) -> Iterator[str]:
    for root in summary.offline:
        gone = f"{render.shown(root)} is not there, empty, or on another drive"
        yield f"{gone}: nothing was removed; `mmsearch rm` forgets it"
    for reason, count in summary.skip_reasons.items():
        yield f"{count} skipped: {reason}"
    yield from summary.notes
    if summary.interrupted:
        yield "interrupted: what was encoded is kept, run the command again for the rest"
    elif not summary.searchable and not summary.offline:
        yield "nothing to index here: no photos, sounds or videos were found"


def _exit_code(summary: Summary) -> int:
    if summary.interrupted:
        return INTERRUPTED
    if summary.failures:
        return SOME_FAILED
    return 0 if summary.searchable else NOTHING
