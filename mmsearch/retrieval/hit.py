"""A segment that was found, as the hit that users see."""

from __future__ import annotations

from typing import Any

from mmsearch.store.reader import Found
from mmsearch.types import Hit


def hit_of(found: Found, **more: Any) -> Hit:
    """What the catalog knows of a segment; ``more``: the fields of `Hit` that the search tells."""
    known = {
        "path": found.path,
        "modality": found.modality,
        "span": found.span,
        "item_id": found.item_id,
        "segment_id": found.segment_id,
        "text": found.text,
        "page": found.page,
        "taken": found.taken,
        "added": found.added,
        "date": found.date,
    }
    return Hit(**{**known, **more})
