"""What the screen hides: hits that are hardly what was asked for. It says how many, and `--weak` shows them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from mmsearch.cli import render
from mmsearch.cli.hits import Form

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmsearch.cli.common import Settings
    from mmsearch.library import Answer
    from mmsearch.types import Hit, Query

WEAK = 0.1
"""The cut of a question in words: right hits of a single noun mostly have more, what is absent mostly less."""
CLOSEST = 3
"""So many are shown where none is above the cut."""

Option = Annotated[bool, typer.Option("--weak", help="Show weak hits too, which a terminal hides")]


class Screen(NamedTuple):
    """What is shown of an answer, and how many weaker hits are hidden; below ``cut`` a hit is marked as weak.

    ``closest``: none is above the cut, and these come nearest to it.
    """

    hits: tuple[Hit, ...]
    hidden: int
    cut: float
    closest: bool = False

    def mark(self, hit: Hit) -> str:
        return " weak" if is_below(hit, self.cut) else ""

    def say(self, settings: Settings) -> None:
        """Say on stderr what is hidden, or that nothing is surely what was asked for."""
        if self.closest and not settings.quiet:
            render.note(
                f"nothing is surely what you asked for: the closest {('one', 'two', 'three')[len(self.hits) - 1]}"
            )
        if self.hidden and not settings.quiet:
            render.note(f"{self.hidden} weaker hit{'s' * (self.hidden > 1)} hidden: --weak")


def cut_of(query: Query, own: float | None, form: Form) -> float | None:
    """Below which confidence hits are hidden: a cut of one's own, else ``WEAK`` for words; None off the screen."""
    if form is not Form.TABLE or not sys.stdout.isatty() or not query.parts:
        return None
    if own is not None:
        return own
    # How near a file is to another says nothing that is fitted to labels.
    return WEAK if all(part.kind == "text" for part in query.parts) else None


def screen(answer: Answer, cut: float, show: bool, everything: Callable[[], Answer]) -> Screen:
    """What a terminal shows of an answer; ``everything``: the same question asked without a cut."""
    if show:
        return Screen(answer.hits, 0, cut)
    found = everything().hits
    below = [hit for hit in found if is_below(hit, cut)]
    sure = tuple(hit for hit in answer if not is_below(hit, cut))
    if sure or not below:
        return Screen(sure, len(below), cut)
    ranks = sorted(hit.rank for hit in below)[:CLOSEST]
    return Screen(tuple(hit for hit in found if hit.rank in ranks), len(below) - len(ranks), cut, closest=True)


def is_below(hit: Hit, cut: float) -> bool:
    return hit.confidence is not None and hit.confidence < cut
