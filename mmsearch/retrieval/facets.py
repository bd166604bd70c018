"""How what was found spreads over years, cameras, folders: counts, each with the filter that selects just these."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from mmsearch.errors import UsageError
from mmsearch.retrieval.listing import selected
from mmsearch.store import counts
from mmsearch.store.reader import Reader
from mmsearch.types import Hit, Query

FIELDS = ("year", "month", "camera", "folder", "modality")
MOST = 2000
"""So many hits of a question are counted at most."""

Counts: TypeAlias = Mapping[str | None, int]
"""How many files say this; None: do not say."""


class Facet(NamedTuple):
    """How many files have a value (None: they do not say). ``filter``: options of `query` that select them."""

    field: str
    value: str | None
    files: int
    filter: str


@dataclass(frozen=True, slots=True)
class Facets:
    """Counts of ``files`` files, which are the best ones if there are ``more``. Iterates over the counts.

    Dates come newest first, others by count. A folder's count has what lies in its subfolders too.
    """

    counted: tuple[Facet, ...]
    files: int
    more: bool = False

    def __iter__(self) -> Iterator[Facet]:
        return iter(self.counted)


def require_fields(fields: Sequence[str]) -> None:
    """Raise ``UsageError`` for a field that can't be counted by."""
    for field in fields:
        if field not in FIELDS:
            raise UsageError(f"--facets {field}: there are {', '.join(FIELDS)}")


def of_hits(reader: Reader, hits: Sequence[Hit], fields: Sequence[str]) -> Facets:
    """Counts of the first ``MOST`` hits. Call it inside a snapshot of the reader."""
    best = hits[:MOST]
    facts = counts.facts(reader, [hit.item_id for hit in best])
    found = {field: _counted(field, best, facts) for field in fields}
    return Facets(_ordered(found), len(best), len(hits) > MOST)


def _counted(field: str, hits: Sequence[Hit], facts: Sequence[tuple[str | None, str | None]]) -> Counts:
    match field:
        case "year":
            return Counter(date and date[:4] for date, _ in facts)
        case "month":
            return Counter(date and date[:7] for date, _ in facts)
        case "camera":
            return Counter(camera for _, camera in facts)
        case "folder":
            folders = Counter(hit.path.rpartition(b"/")[0] or b"/" for hit in hits)
            return {os.fsdecode(folder): count for folder, count in folders.items()}
        case _:
            return Counter(str(hit.modality) for hit in hits)


def of_listing(reader: Reader, query: Query, fields: Sequence[str]) -> Facets:
    """Counts of all files that pass the filters of a question. Call it inside a snapshot of the reader."""
    chosen = selected(reader, query)
    found = {field: counts.by(reader, chosen, field) for field in fields}
    return Facets(_ordered(found), counts.total(reader, chosen))


def _ordered(found: Mapping[str, Counts]) -> tuple[Facet, ...]:
    return tuple(facet for field, values in found.items() for facet in _facets(field, values))


def _facets(field: str, values: Counts) -> Iterator[Facet]:
    merged = _merged(field, values)
    for value in sorted(merged, key=lambda value: _place(field, value, merged[value])):
        yield Facet(field, value, merged[value], _filter(field, value))


def _place(field: str, value: str | None, count: int) -> tuple[bool, int, int, str]:
    """Where a value stands: dates by themselves, newest first, others by count; files that do not say come last."""
    day = int(value.replace("-", "")) if value and field in ("year", "month") else 0
    return value is None, -day, -count, value or ""


def _merged(field: str, values: Counts) -> Counts:
    """The values as their filters see them: cameras without regard to case, folders with what lies below."""
    if field == "folder":
        return _with_subfolders({str(value): count for value, count in values.items()})
    if field != "camera":
        return values
    spelled: dict[str | None, str | None] = {}
    merged: Counter[str | None] = Counter()
    for value, count in values.items():
        folded = None if value is None else value.encode().lower()  # ASCII alone, as the filter has it
        key = None if folded is None else folded.decode()
        merged[spelled.setdefault(key, value)] += count
    return merged


def _with_subfolders(folders: Mapping[str, int]) -> Counts:
    below: Counter[str | None] = Counter(folders)
    for folder, count in folders.items():
        above = folder
        while above != (above := os.path.dirname(above)):
            if above in folders:
                below[above] += count
    return below


def _filter(field: str, value: str | None) -> str:
    match field:
        case "folder":
            return f"--in {shlex.quote(value or '')}"
        case "modality":
            return f"--modality {value}"
        case "camera":
            name = "camera"
        case _:
            name = "date"
    if value is None:
        return f"--where '{name} is not known'"
    written = value if name == "date" else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"--where {shlex.quote(f'{name} = {written}')}"
