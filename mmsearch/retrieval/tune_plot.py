"""A plot of a tuning: recall against latency for every setting, in words and by picture side by side."""

from __future__ import annotations

from typing import Any

from mmsearch.retrieval.plots import figure, save
from mmsearch.retrieval.tune import Tuning

MISSED = 1e-4
"""What is drawn for a recall of 1: the axis is logarithmic in what was missed."""


def draw(tuning: Tuning, path: str) -> None:
    """One file, its ending chooses the format. Raises ``MissingExtra`` without matplotlib, ``UsageError``."""
    drawn = figure(6.5 * len(tuning.asked), 5.5)
    for axes, kind in zip(drawn.subplots(1, len(tuning.asked), squeeze=False)[0], tuning.asked, strict=True):
        _panel(axes, tuning, kind)
    drawn.suptitle(f"{tuning.rows} vectors, chosen: {tuning.chosen.name}")
    drawn.tight_layout()
    save(drawn, path)


def _panel(axes: Any, tuning: Tuning, kind: str) -> None:
    missed = {id(point): max(MISSED, 1 - point.recall[kind].mean) for point in tuning.points}
    for name in dict.fromkeys(point.setting.kind for point in tuning.points):
        some = [point for point in tuning.points if point.setting.kind == name]
        axes.plot([p.p50_ms for p in some], [missed[id(p)] for p in some], "o", ms=5, alpha=0.7, label=name)
    best = sorted((p for p in tuning.points if p.pareto), key=lambda p: p.p50_ms)
    axes.plot([p.p50_ms for p in best], [missed[id(p)] for p in best], "s", ms=9, mfc="none", color="black", lw=1)
    chosen = next(point for point in tuning.points if point == tuning.chosen)
    axes.plot([chosen.p50_ms], [missed[id(chosen)]], "*", ms=16, color="black")
    axes.axhline(max(MISSED, 1 - tuning.target), color="black", lw=1, ls=":")
    axes.set(xscale="log", yscale="log", xlabel="milliseconds a question (median)", ylim=(MISSED / 1.5, 1.1))
    axes.set(ylabel=f"1 - recall@{tuning.k}", title=f"{tuning.asked[kind]} questions by {kind}")
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", title="star: chosen; squares: Pareto")
