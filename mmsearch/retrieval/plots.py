"""Plots of a report as PNG or SVG, by matplotlib (extra ``plots``): hit@k, scores of matches, settings of an index."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from mmsearch.encoders import known
from mmsearch.errors import MissingExtra, UsageError
from mmsearch.retrieval.measured import Direction, Report
from mmsearch.retrieval.metrics import hit


def draw(report: Report, path: str) -> None:
    """One file: for every direction hit@k against k, and how the scores of right and wrong pairs are spread.

    The ending chooses the format (``.png``, ``.svg``, ``.pdf``). Raises ``MissingExtra`` without matplotlib.
    """
    drawn = figure(6 * len(report.directions), 7)
    axes = drawn.subplots(2, len(report.directions), squeeze=False)
    for column, direction in enumerate(report.directions):
        _recall(axes[0, column], direction)
        _scores(axes[1, column], direction)
    facts = report.facts
    drawn.suptitle(f"{facts['dataset']} ({facts['split']}), {facts['model']}, index {facts['index']}")
    drawn.tight_layout()
    save(drawn, path)


def draw_settings(points: list[tuple[str, float, float]], path: str) -> None:
    """Recall against latency for settings of an index: (name, milliseconds a question, recall)."""
    drawn = figure(7, 5)
    axes = drawn.subplots()
    axes.plot([ms for _, ms, _ in points], [100 * recall for _, _, recall in points], "o")
    for name, ms, recall in points:
        axes.annotate(name, (ms, 100 * recall), textcoords="offset points", xytext=(5, 5))
    axes.set(xscale="log", xlabel="milliseconds a question", ylabel="recall against exact search, %")
    axes.grid(alpha=0.3)
    save(drawn, path)


def _recall(axes: Any, direction: Direction) -> None:
    gains = direction.qrels.gains(direction.run)
    ks = np.unique(np.geomspace(1, direction.run.shape[1], 30).astype(int))
    axes.plot(ks, [100 * hit(gains, int(k)).mean() for k in ks])
    for k in (1, 5, 10):
        interval = direction.figures[f"hit@{k}"]
        axes.vlines(k, 100 * interval.low, 100 * interval.high, color="black", lw=1)
    axes.set(xscale="log", ylim=(0, 100), xlabel="k", ylabel="hit@k, % (bars: 95 %)")
    axes.set_title(f"{direction.name}, {len(direction.queries)} questions")
    axes.grid(alpha=0.3)


def _scores(axes: Any, direction: Direction) -> None:
    exact = direction.exact
    centres = (exact.edges[1:] + exact.edges[:-1]) / 2
    for name, counts in (("matches", exact.matches), ("others", exact.others)):
        axes.fill_between(centres, counts / max(counts.sum(), 1), step="mid", alpha=0.5, label=name)
    used = np.flatnonzero(exact.matches + exact.others)
    if len(used):
        axes.set_xlim(exact.edges[used[0]], exact.edges[used[-1] + 1])
    f1, cut = exact.best_f1()
    axes.axvline(cut, color="black", lw=1, ls=":", label=f"best F1 {f1:.2f} at {cut:.3f}")
    axes.set(xlabel="cosine similarity", ylabel="share of pairs")
    axes.legend()


def require(path: str) -> None:
    """Raise what drawing to this path would, before hours of measuring: ``MissingExtra``, ``UsageError``."""
    figure(1, 1)
    _require_kind(path)


def figure(width: float, height: float) -> Any:
    """An empty matplotlib figure, inches. Raises ``MissingExtra`` without matplotlib."""
    try:
        with _at_home():
            import matplotlib.font_manager  # noqa: F401
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra("drawing plots", "plots") from None
    return Figure(figsize=(width, height))


@contextmanager
def _at_home() -> Iterator[None]:
    """While it is imported matplotlib writes its list of fonts, and asks fontconfig's program, which writes caches too.

    The list goes to our cache, and the program is not found: plots use the font that matplotlib brings.
    """
    ours = {"MPLCONFIGDIR": os.path.join(known.cache_folder(), "matplotlib"), "PATH": os.devnull}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def save(drawn: Any, path: str) -> None:
    """Write a figure; the ending chooses the format. Raises ``UsageError``."""
    _require_kind(path)
    try:
        drawn.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be written').lower()}") from None


def _require_kind(path: str) -> None:
    if os.path.splitext(path)[1].lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"{path}: a plot's name ends in .png, .svg or .pdf")
