"""Several moments of one file: its best spans for a question, none of which overlaps another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from mmsearch.retrieval.rank import Scored
from mmsearch.types import Hit, Moment


def own(hit: Hit) -> Hit:
    """The hit with its own span as its one moment; none where it is a whole file."""
    if hit.span is None:
        return hit
    return replace(hit, moments=(Moment(hit.span, hit.score, hit.cosine, hit.segment_id, hit.page, hit.text),))


def several(hit: Hit, best: Iterable[Scored], most: int) -> Hit:
    """The hit with up to ``most`` moments: its own, then of ``best``, best first, those that overlap none before."""
    moments = list(own(hit).moments)
    for moment in _moments(best) if moments else ():
        if moment.segment_id == hit.segment_id:
            moments[0] = moment  # with its score in its space, as the others have it
        elif len(moments) < most and not any(overlap(moment, other) for other in moments):
            moments.append(moment)
    return replace(hit, moments=tuple(moments))


def overlap(one: Moment, other: Moment) -> bool:
    """Whether they share time or characters."""
    if one.span.unit != other.span.unit:
        return False
    return one.span.start < other.span.end and other.span.start < one.span.end


def _moments(best: Iterable[Scored]) -> Iterator[Moment]:
    for score, found, cosine, *_ in best:
        if found.span is not None:
            yield Moment(found.span, score, cosine, found.segment_id, found.page, found.text)
