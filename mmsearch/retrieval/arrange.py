"""The order of hits after the relevance cut: who is shown is decided by then, only where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from mmsearch.types import Hit

NO_DAY = "no date"


def arranged(hits: Sequence[Hit], sort: str = "score", group: str | None = None) -> list[Hit]:
    """Hits in the order of ``sort`` (newest first for dates, those without one last); ranks stay those of relevance.

    With ``group`` (day, folder, modality), the members of a group stand together, under its name, the groups in the
    order of their first members.
    """
    ordered = list(hits)
    if sort == "path":
        ordered.sort(key=lambda hit: hit.path)
    elif sort in ("taken", "added"):
        ordered.sort(key=lambda hit: getattr(hit, sort) or "", reverse=True)
    if group is None:
        return ordered
    groups: dict[str, list[Hit]] = {}
    for hit in ordered:
        name = _group(hit, group)
        groups.setdefault(name, []).append(replace(hit, group=name))
    return [hit for members in groups.values() for hit in members]


def _group(hit: Hit, group: str) -> str:
    match group:
        case "day":
            return hit.taken[:10] if hit.taken else NO_DAY
        case "folder":
            return os.fsdecode(os.path.dirname(hit.path))
        case _:
            return str(hit.modality)
