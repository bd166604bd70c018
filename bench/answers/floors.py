"""What the answers must reach: absolute figures, or so much more than the bare vectors of the same run have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from bench.answers.ask import BASE
from bench.answers.rank import Results

CAPTIONS, SHARING = "captions as they come", "captions that share a word with a folder"
MIXED, WRONG = "name and meaning mixed", "wrong text before the first right photo"


class Floor(NamedTuple):
    """A measure of a case, in percent. ``over``: so much above the bare vectors'. ``most``: not more than this."""

    case: str
    measure: str
    least: float | None = None
    over: float | None = None
    most: float | None = None


FLOORS = (
    *(Floor(f"{CAPTIONS}, by {one}", "hit@1", over=1) for one in ("number", "content")),
    *(Floor(f"{CAPTIONS}, by {one}", "hit@10", over=2) for one in ("number", "content")),
    *(Floor(f"{SHARING}, by {one}", "hit@1", over=-2) for one in ("number", "content")),
    *(Floor(f"{SHARING}, by {one}", "hit@10", over=0) for one in ("number", "content")),
    Floor("30 % captioned, all", "hit@10", over=1),
    Floor("30 % captioned, without", "hit@10", over=-3),
    Floor("30 % captioned, with", "hit@10", over=9),
    Floor("100 % captioned, all", "hit@10", least=76),
    Floor("0 % captioned, all", "hit@10", over=0),
    Floor("exact photo or sound name, by number", "hit@1", least=100),
    Floor("text file's name, by number", "hit@1", least=100),
    Floor("quoted words, by number", "hit@1", least=100),
    Floor("three words of a sidecar, by number", "hit@1", least=98),
    Floor("four words of a chunk, by number", "hit@1", least=97),
    Floor(f"{MIXED}, by number", "hit@10", least=86),
    Floor(f"{MIXED}, by content", "hit@10", least=64),
    Floor(WRONG, "wrong text first", most=2),
    Floor(f"{WRONG}, five tiny texts", "wrong text first", most=2),
    Floor(f"{WRONG}, 5000 notes", "wrong text first", most=12),
    Floor("sounds by name, by number", "hit@1", least=90),
    Floor("Chinese captions, by number", "hit@10", over=1),
    Floor("confidence: nouns", "with a hit of 0.5", least=68),
    Floor("confidence: nouns", "precision of such hits", least=76),
    Floor("confidence: absent sentences, photos alone", "with a hit of 0.5", most=12),
    Floor("confidence: absent nouns, photos alone", "with a hit of 0.5", most=10),
    Floor("confidence: absent sentences", "with a hit of 0.5", most=12),
    Floor("confidence: absent nouns", "with a hit of 0.5", most=10),
    Floor("confidence: area under the ROC, sentences", "area", least=0.96),
    Floor("confidence: area under the ROC, nouns", "area", least=0.92),
)
NEVER_WORSE = (
    CAPTIONS, SHARING, "exact photo or sound name", "text file's name", "quoted words", "three words of a sidecar",
    "four words of a chunk", "Chinese captions", "caption and folder", "single nouns", "sounds by name", MIXED,
    "dates and folders in words", "30 % captioned, all", "100 % captioned, all", "0 % captioned, all",
    "10 % captioned, all",
)  # fmt: skip
"""Kinds whose difference to the bare vectors may be below 0 by its interval in neither hit@1 nor hit@10."""
MORE_FILES = 1.5
"""So many times as often may something absent have a hit of 0.5 beside many more files."""


def below(results: Results, mode: str = "hybrid") -> list[str]:
    """The rows that fall short, each with what was found and what was asked for."""
    found = [line for floor in FLOORS if (line := _short(floor, results, mode))]
    return found + list(_worse(results, mode)) + list(_more_files(results, mode))


def _short(floor: Floor, results: Results, mode: str) -> str:
    if (floor.case, mode) not in results:
        return ""
    value = results[floor.case, mode][floor.measure][0]
    if floor.most is not None:
        return f"{floor.case}: {floor.measure} {value}, at most {floor.most}" if value > floor.most else ""
    base = results[floor.case, BASE][floor.measure][0] if floor.over is not None else 0.0
    least = round(base + (floor.over if floor.over is not None else floor.least or 0.0), 4)
    return f"{floor.case}: {floor.measure} {value}, at least {least}" if value < least else ""


def _worse(results: Results, mode: str) -> Iterable[str]:
    for (case, one), figures in results.items():
        if one == mode and case.startswith(NEVER_WORSE):
            for measure in ("hit@1", "hit@10"):
                over = figures[f"{measure} over {BASE}"]
                if over[2] < 0:
                    yield f"{case}: {measure} is worse than the vectors by {-over[0]} {over[1:]}"


def _more_files(results: Results, mode: str) -> Iterable[str]:
    for (case, one), figures in results.items():
        plain, mark, _ = case.partition(" beside ")
        if one == mode and mark and "absent" in case:
            value, most = figures["with a hit of 0.5"][0], MORE_FILES * results[plain, mode]["with a hit of 0.5"][0]
            if value > most:
                yield f"{case}: {value} have a hit of 0.5, at most {most:.1f}"
