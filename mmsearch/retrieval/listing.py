"""A question without words: the files that pass its filters, by date or path, from the catalog alone."""

from __future__ import annotations

from mmsearch.retrieval.arrange import order
from mmsearch.retrieval.filtering import condition_of
from mmsearch.retrieval.hit import hit_of
from mmsearch.store import listing, selection
from mmsearch.store.reader import Item, Reader
from mmsearch.store.selection import Selection
from mmsearch.types import Hit, Query

LISTING = "listing"
"""Stands for the kind of index of an answer for which none was asked."""
FILE_ORDERS = ("path", "date", "taken", "added")


def is_filtered(query: Query) -> bool:
    """Whether a question says which files, apart from what they should show."""
    filters = (query.within, query.modalities, query.where, query.since, query.until, query.near)
    return any(value is not None for value in filters)


def selected(reader: Reader, query: Query) -> Selection:
    """The segments that pass the filters of a question."""
    modalities = None if query.modalities is None else sorted(query.modalities)
    return selection.select(reader, query.within, modalities, condition_of(query))


def listed(reader: Reader, query: Query) -> list[Hit]:
    """The first ``query.k`` files that pass, newest first unless ``query.sort`` says otherwise: whole files, no score.

    Call it inside a snapshot of the reader.
    """
    by, descending = order(query.sort)
    by = "date" if by == "score" else by
    segments = listing.first_segments(reader, selected(reader, query), by, descending, query.k)
    found = reader.live(segments)
    whole = {"score": 0.0, "span": None, "page": None, "space": ""}
    return [hit_of(found[segment_id], rank=rank, **whole) for rank, segment_id in enumerate(segments, 1)]


def files(reader: Reader, query: Query, named: str | None, state: str | None, count: int | None) -> list[Item]:
    """Files in any state that pass the filters, in the order of ``query.sort`` (path, date, taken, added)."""
    by, descending = order(query.sort, FILE_ORDERS)
    chosen = selected(reader, query) if is_filtered(query) else None
    return listing.known_files(reader, chosen, named, state, by, descending, count)
