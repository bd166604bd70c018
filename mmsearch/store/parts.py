"""The parts of one file: which there are, where each lies, and its vector as it is stored."""

from __future__ import annotations

from mmsearch.store.reader import Reader, Space, decode_vectors
from mmsearch.types import FloatArray, Span


def segments(reader: Reader, item_id: int) -> list[int]:
    """The segments of an item, in order."""
    return [row[0] for row in reader.query("SELECT id FROM segment WHERE item_id = ? ORDER BY id", (item_id,))]


def parts(reader: Reader, item_id: int, space: Space) -> list[tuple[Span | None, FloatArray]]:
    """Spans of an item with their unit vectors float32 ``(dim,)``, in order; of a video's two kinds the first."""
    rows = reader.query(
        "SELECT s.start, s.end, s.unit, s.modality, e.vector FROM segment s JOIN embedding e ON e.segment_id = s.id "
        "WHERE s.item_id = ? AND e.space_id = ? ORDER BY s.id",
        (item_id, space.id),
    )
    track = [row for row in rows if row[3] == rows[0][3]]
    spans = [None if unit is None else Span(start, end, unit) for start, end, unit, *_ in track]
    return list(zip(spans, decode_vectors([row[4] for row in track], space.dim), strict=True))
