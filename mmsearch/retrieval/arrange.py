"""The order of hits after the relevance cut: who is shown is decided by then, only where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from mmsearch.errors import UsageError
from mmsearch.types import Hit

NO_DAY = "no date"
ORDERS = ("score", "date", "taken", "added", "path")


def order(sort: str, allowed: Sequence[str] = ORDERS) -> tuple[str, bool]:
    """What ``sort`` goes by, and whether what is largest comes first: the best, the newest, but paths from A on.

    ``date:asc`` and ``path:desc`` say it themselves. Raises ``UsageError`` for what is none of those allowed.
    """
    by, colon, direction = sort.partition(":")
    if by not in allowed or (colon and direction not in ("asc", "desc")):
        raise UsageError(f"--sort {sort}: there are {', '.join(allowed)}, and each with :asc or :desc")
    return by, direction == "desc" if colon else by != "path"


def arranged(hits: Sequence[Hit], sort: str = "score", group: str | None = None) -> list[Hit]:
    """Hits, best first, in the order of ``sort``, those without such a date last; ranks stay those of relevance.

    With ``group`` (day, folder, modality), the members of a group stand together, under its name, the groups in the
    order of their first members.
    """
    by, descending = order(sort)
    if by == "score":
        ordered = list(hits) if descending else list(reversed(hits))
    else:
        known = [hit for hit in hits if getattr(hit, by) is not None]
        known.sort(key=lambda hit: getattr(hit, by), reverse=descending)
        ordered = known + [hit for hit in hits if getattr(hit, by) is None]
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
