"""`mmsearch evaluate`: measure how good the answers are, on a benchmark set or on your own captions."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from mmsearch.cli import complete, render
from mmsearch.cli.common import command as body
from mmsearch.cli.common import numpy_alone
from mmsearch.cli.query import Mode, mode_of
from mmsearch.errors import UsageError

if TYPE_CHECKING:
    from mmsearch.cli.common import Settings
    from mmsearch.indexer.summary import Summary
    from mmsearch.library import Library
    from mmsearch.retrieval.datasets.base import Dataset, Request
    from mmsearch.retrieval.measured import Report

BELOW = 1
SHOWN_PROBLEMS = 20


def command(
    context: typer.Context,
    dataset: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATASET | diff A B", help="A set's file or folder; or two runs to compare"),
    ] = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="Where the set's photos or sounds are")] = None,
    captions: Annotated[
        str | None, typer.Option(metavar="en|zh|KEY", help="Which captions, if there are several")
    ] = None,
    split: Annotated[str | None, typer.Option(metavar="NAME", help="Which split, such as test or val")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Which model encodes: see `mmsearch models list`", autocompletion=complete.models),
    ] = None,
    index: Annotated[str | None, typer.Option(help="Kind of vector index [default: exact, or the library's]")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda:N")] = "auto",
    mine: Annotated[
        bool, typer.Option("--mine", help="Ask your library what the captions beside your files say")
    ] = False,
    listing: Annotated[bool, typer.Option("--list", help="Which sets and file formats there are")] = False,
    mode: Mode = None,
    depth: Annotated[int, typer.Option(min=10, max=10_000, help="Answers kept of each question")] = 100,
    seed: Annotated[int, typer.Option(help="For intervals and samples")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at anything wrong with the set")] = False,
    fail_under: Annotated[
        list[str], typer.Option(metavar="NAME=VALUE", help="Exit 1 below this, as image_retrieval_recall@10=0.6")
    ] = [],  # noqa: B006
    run_out: Annotated[str | None, typer.Option(metavar="FILE", help="Write a TREC run, text to files")] = None,
    qrels_out: Annotated[str | None, typer.Option(metavar="FILE", help="Write TREC qrels, text to files")] = None,
    qrels: Annotated[str | None, typer.Option(metavar="FILE", help="With `diff`: what is right")] = None,
    markdown: Annotated[str | None, typer.Option(metavar="FILE", help="Write the report as Markdown")] = None,
    plots: Annotated[str | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf")] = None,
    failures: Annotated[str | None, typer.Option(metavar="FILE", help="Write an HTML page of what went wrong")] = None,
) -> None:
    """Measure how good the answers are: mmsearch evaluate captions.jsonl --images ./images."""
    with body(context) as settings:
        numpy_alone()  # latencies are those of `query`
        arguments = dataset or []
        if listing:
            _list(settings)
        elif arguments[:1] == ["diff"]:
            _diff(settings, arguments[1:], qrels, seed)
        else:
            if len(arguments) != (0 if mine else 1) or (mine and (images or captions or split)):
                raise UsageError("one DATASET is needed, or --mine alone: `mmsearch evaluate --list` shows the sets")
            chosen = mode_of(mode)
            bounds = [_bound(text) for text in fail_under]
            _require_places(plots, run_out, qrels_out, markdown, failures)
            with tempfile.TemporaryDirectory(prefix="mmsearch-") as scratch:
                request = None if mine else _request(arguments[0], images, captions, split, scratch)
                asked = _read(settings, request)
                _require_whole(asked, strict)
                with render.progress(not settings.quiet) as tell:
                    library, asked, indexed = _indexed(settings, asked, scratch, mine, model, index, device, tell)
                    _require_whole(asked, strict)
                    asking = "cpu" if device == "auto" else device
                    report = library.evaluate(asked, mode=chosen, depth=depth, seed=seed, device=asking, progress=tell)
                report.facts.update(indexed)
                _write(report, run_out, qrels_out, markdown, plots, failures)
                library.close()
            _show(settings, report)
            _gate(report, bounds)


def _require_places(plots: str | None, *files: str | None) -> None:
    """Raise what writing the reports would, before minutes of measuring."""
    if plots is not None:
        from mmsearch.retrieval.plots import require

        require(plots)
    for file in (plots, *files):
        if file is not None and not os.path.isdir(os.path.dirname(os.path.abspath(file))):
            raise UsageError(f"{file}: no such folder")
        if file is not None and os.path.isdir(file):
            raise UsageError(f"{file} is a folder")


def _request(path: str, images: str | None, captions: str | None, split: str | None, scratch: str) -> Request:
    from mmsearch.retrieval.datasets.base import Request

    taken = os.path.join(scratch, "taken")
    os.mkdir(taken)
    return Request(path=path, images=images, split=split, captions=captions, scratch=taken)


def _read(settings: Settings, request: Request | None) -> Dataset:
    """The set that was asked for, or for None the captions beside the library's own files."""
    from mmsearch.retrieval import datasets, mine

    return mine.read(settings.library().reader) if request is None else datasets.read(request)


def _require_whole(asked: Dataset, strict: bool) -> None:
    if strict and asked.problems:
        count = len(asked.problems)
        raise UsageError(f"{asked.problems[0]} ({count} problems in all; without --strict they are counted)")


def _indexed(
    settings: Settings,
    asked: Dataset,
    scratch: str,
    mine: bool,
    model: str | None,
    index: str | None,
    device: str,
    tell: Callable[[str], None],
) -> tuple[Library, Dataset, dict[str, object]]:
    """A library with the set's files: your own for `--mine`, the one that was named, or one to throw away.

    Besides, the set as it is in there, and how fast files were indexed.
    """
    from mmsearch.indexer.options import Options
    from mmsearch.library import Library
    from mmsearch.retrieval.evaluate import linked

    options, folders = Options(), list[str | bytes]()
    if mine or settings.folder is not None:
        library = settings.library()
        if not mine:
            folders = sorted({os.path.dirname(one.path) for one in asked.documents if one.path is not None})
        if not (folders or model or index):
            return library, asked, {}
    else:
        folder = os.path.join(scratch, "files")
        os.mkdir(folder)
        asked, library = linked(asked, folder), Library(os.path.join(scratch, "library"))
        options, folders, index = Options(follow_links=True), [folder], index or "exact"

    def told(summary: Summary) -> None:
        tell(f"{summary.seen} files indexed")

    summary = library.index(folders, model=model, index=index, device=device, options=options, progress=told)
    _blame(asked, summary)
    return library, asked, _speed(summary)


def _speed(summary: Summary) -> dict[str, object]:
    """How fast files were encoded; nothing to say where all were known."""
    new = summary.added + summary.updated + summary.partial
    rate = round(new / max(summary.seconds, 1e-9), 1)
    return {"indexed files per second": rate, "indexed on": summary.device} if new else {}


def _blame(asked: Dataset, summary: Summary) -> None:
    """The set's files that could not be indexed are problems of the set: what asks for them will miss."""
    from mmsearch.retrieval.datasets.base import Problem

    names = {document.path: document.id for document in asked.documents}
    for failure in summary.failures:
        if failure.path in names:
            asked.problems.append(Problem(names[failure.path], 0, failure.reason))
    for reason, count in summary.skip_reasons.items():
        asked.problems.append(Problem(asked.name, 0, f"{count} files skipped: {reason}"))


def _write(
    report: Report, run: str | None, qrels: str | None, markdown: str | None, plots: str | None, failures: str | None
) -> None:
    from mmsearch.retrieval import plots as drawing
    from mmsearch.retrieval import report as writing
    from mmsearch.retrieval import sheet, trec

    first = report.directions[0]  # text to files comes first, photos before sounds
    if run is not None:
        trec.write_run(run, first, str(report.facts["model"]))
    if qrels is not None:
        trec.write_qrels(qrels, first)
    if markdown is not None:
        with open(markdown, "w", encoding="utf-8") as file:
            file.write(writing.markdown(report))
    if plots is not None:
        drawing.draw(report, plots)
    if failures is not None:
        sheet.write(report, failures)


def _show(settings: Settings, report: Report) -> None:
    from mmsearch.retrieval import report as writing

    if settings.json:
        render.document(**writing.document(report))
    else:
        render.table(("direction", "measure", "value", "95 %"), writing.rows(report))
    if settings.quiet:
        return
    problems = report.dataset.problems
    for problem in problems[:SHOWN_PROBLEMS]:
        render.note(render.shown(os.fsencode(str(problem))))
    if len(problems) > SHOWN_PROBLEMS:
        render.note(f"and {len(problems) - SHOWN_PROBLEMS} more problems: --json lists them all")
    for note in report.notes:
        render.note(note)
    if not settings.json:
        for name, value in report.facts.items():
            render.note(f"{name}: {value}")


def _bound(text: str) -> tuple[str, float]:
    name, _, value = text.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UsageError(f"--fail-under {text}: write it as image_retrieval_recall@10=0.6") from None


def _gate(report: Report, bounds: list[tuple[str, float]]) -> None:
    """Exit 1 if any figure is below its bound. Raises ``UsageError`` for a name that was not measured."""
    figures = report.figures()
    for name, _ in bounds:
        if name not in figures:
            raise UsageError(f"--fail-under {name}: not measured; there are {', '.join(sorted(figures))}")
    below = [(name, figures[name], bound) for name, bound in bounds if not figures[name] >= bound]
    for name, value, bound in below:
        render.note(f"{name} is {value:.4f}, below {bound:g}")
    if below:
        raise typer.Exit(BELOW)


def _diff(settings: Settings, runs: list[str], qrels: str | None, seed: int) -> None:
    """Two runs over the same qrels: every measure's difference, and how likely chance alone makes one as large."""
    from mmsearch.retrieval import trec
    from mmsearch.retrieval.metrics import measure
    from mmsearch.retrieval.significance import permutation_test

    if len(runs) != 2 or qrels is None:
        raise UsageError("two runs and what is right are needed: mmsearch evaluate diff A.run B.run --qrels FILE")
    loaded = trec.load(qrels, runs)
    a, b = (measure(run, loaded.qrels) for run in loaded.runs)
    groups = loaded.qrels.document[loaded.qrels.starts[:-1]]
    found = {name: permutation_test(a[name], b[name], groups, seed=seed) for name in a}
    if settings.json:
        render.document(
            a=runs[0],
            b=runs[1],
            questions=len(loaded.queries),
            measures={
                name: {"a": float(a[name].mean()), "b": float(b[name].mean()), "difference": d.mean, "p": d.p}
                for name, d in found.items()
            },
        )
        return
    render.table(
        ("measure", "A", "B", "B - A", "p"),
        (
            (name, f"{100 * a[name].mean():.1f}", f"{100 * b[name].mean():.1f}", f"{100 * d.mean:+.1f}", f"{d.p:.4f}")
            for name, d in found.items()
        ),
    )


def _list(settings: Settings) -> None:
    from mmsearch.retrieval import datasets

    formats = datasets.formats()
    if settings.json:
        render.document(
            formats=[
                {"name": one.name, "layout": one.layout, "sets": [known._asdict() for known in one.known]}
                for one in formats
            ]
        )
        return
    render.table(
        ("set", "format", "size", "licence", "from", "layout"),
        (
            (known.name, one.name, known.size, known.licence, known.where, one.layout)
            for one in formats
            for known in one.known or [datasets.YOURS]
        ),
    )
