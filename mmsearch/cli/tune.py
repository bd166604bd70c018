"""`mmsearch tune`: which index finds nearly all that an exact search finds, and at what cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import render
from mmsearch.cli.common import command as body
from mmsearch.cli.common import numpy_alone
from mmsearch.cli.query import Mode, mode_of

if TYPE_CHECKING:
    from mmsearch.retrieval.significance import Interval
    from mmsearch.retrieval.tune import Point, Tuning


def command(
    context: typer.Context,
    target: Annotated[
        float, typer.Option("--target-recall", min=0.0, max=1.0, help="The share of the exact answers to find")
    ] = 0.99,
    mode: Mode = None,
    k: Annotated[int, typer.Option("-k", "--k", min=1, max=1000, help="Answers of a question")] = 10,
    budget: Annotated[float, typer.Option(metavar="SECONDS", min=1, help="About how long to measure")] = 300,
    rows: Annotated[int, typer.Option(min=1000, help="Most vectors to measure; a larger library is sampled")] = 200_000,
    questions: Annotated[int, typer.Option(min=20, help="Questions in words, and as many by picture")] = 250,
    seed: Annotated[int, typer.Option(help="For samples and intervals")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only measure; the library stays as it is")] = False,
    plots: Annotated[str | None, typer.Option(metavar="FILE", help="Draw the trade-off: .png, .svg or .pdf")] = None,
) -> None:
    """Measure how your library is best indexed, asked in words and by picture; `index --index auto` uses the result."""
    with body(context) as settings:
        numpy_alone()  # latencies are those of `query`
        chosen = mode_of(mode)
        if plots is not None:
            from mmsearch.retrieval.plots import require

            require(plots)
        with render.progress(not settings.quiet) as tell:
            tuning = settings.library().tune(
                mode=chosen,
                target=target,
                k=k,
                budget=budget,
                rows=rows,
                questions=questions,
                seed=seed,
                device="cpu" if device == "auto" else device,
                dry_run=dry_run,
                progress=tell,
            )
        if plots is not None:
            from mmsearch.retrieval.tune_plot import draw

            draw(tuning, plots)
        if settings.json:
            render.document(**tuning.document(), kept=not dry_run)
            return
        _show(tuning)
        for text in tuning.skipped if not settings.quiet else []:
            render.note(text)


def _show(tuning: Tuning) -> None:
    render.table(
        ("", "setting", "build s", "bytes/vector", "p50 ms", "p95 ms", *(f"{kind} recall" for kind in tuning.asked)),
        (_row(tuning, point) for point in sorted(tuning.points, key=lambda point: point.p50_ms)),
    )
    asked = " and ".join(f"{count} questions by {kind}" for kind, count in tuning.asked.items())
    render.line(f"{tuning.rows} of {tuning.facts['vectors']} vectors, {asked} ({tuning.facts['text questions']})")
    exact = next(point for point in tuning.points if point.setting.kind == "exact")
    render.line(
        f"chosen: {tuning.chosen.name}, recall@{tuning.k} {tuning.chosen.worst:.4f}, "
        f"{tuning.chosen.p50_ms / exact.p50_ms:.2f} of an exact search's time, "
        f"{tuning.chosen.bytes_per_vector / exact.bytes_per_vector:.2f} of its bytes"
    )


def _row(tuning: Tuning, point: Point) -> tuple[str, ...]:
    mark = "chosen" if point == tuning.chosen else "best" if point.pareto else ""
    return (
        mark,
        point.name,
        f"{point.build_s:.1f}",
        f"{point.bytes_per_vector:.0f}",
        f"{point.p50_ms:.2f}",
        f"{point.p95_ms:.2f}",
        *(_shown(point.recall[kind]) for kind in tuning.asked),
    )


def _shown(interval: Interval) -> str:
    return f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"
