"""A report as a table, as JSON, and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmsearch.retrieval.measured import Direction, Report

SHARES = ("hit", "recall", "precision", "AP", "nDCG", "RR")
"""Measures that are shares, shown in percent."""
SHOWN_PROBLEMS = 20
TITLES = {"AP": "mAP", "RR": "MRR"}


def document(report: Report) -> dict[str, Any]:
    """Everything for programs: CLIP_benchmark's keys at the top, then ours with intervals, facts, and problems."""
    flat = report.figures()
    return {
        **{name: round(value, 6) for name, value in flat.items() if "/" not in name},
        "directions": {direction.name: _figures(direction) for direction in report.directions},
        "facts": report.facts,
        "problems": [
            {"file": problem.file, "line": problem.line, "what": problem.what} for problem in report.dataset.problems
        ],
        "notes": report.notes,
    }


def _figures(direction: Direction) -> dict[str, Any]:
    measured = {
        name: {"mean": round(f.mean, 6), "low": round(f.low, 6), "high": round(f.high, 6)}
        for name, f in direction.figures.items()
    }
    return {
        "questions": len(direction.queries),
        **measured,
        **{name: round(value, 6) for name, value in direction.more().items()},
    }


def rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Direction, measure, value, interval: for eyes. Shares in percent."""
    for direction in report.directions:
        name = f"{direction.name} ({len(direction.queries)})"
        for measure, figure in direction.figures.items():
            title, _, k = measure.partition("@")
            shown = TITLES.get(title, title) + (f"@{k}" if k else "")
            yield name, shown, f"{100 * figure.mean:.1f}", f"{100 * figure.low:.1f} - {100 * figure.high:.1f}"
        for measure, value in direction.more().items():
            share = measure in ("best F1", "F1 at confidence 0.5", "index recall@10", "mean per-class recall")
            yield name, measure, f"{100 * value:.1f}" if share else f"{value:.3f}".rstrip("0").rstrip("."), ""


def markdown(report: Report) -> str:
    """A page to keep: what was measured, with what, and what was wrong with the set."""
    facts, problems = report.facts, report.dataset.problems
    lines = [f"# {facts['dataset']} with {facts['model']}", ""]
    lines += ["| direction (questions) | measure | value | 95 % |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows(report)]
    lines += [
        "",
        "Shares in percent. hit@k: any right answer among the first k; recall@k: the share of all right ones.",
    ]
    lines += ["", "| what | value |", "| --- | --- |"]
    lines += [f"| {name} | {_plain(value)} |" for name, value in facts.items()]
    if problems:
        lines += ["", f"{len(problems)} problems of the set:", ""]
        lines += [f"- `{problem}`" for problem in problems[:SHOWN_PROBLEMS]]
    lines += [f"- {note}" for note in report.notes]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items())
    return str(value)
