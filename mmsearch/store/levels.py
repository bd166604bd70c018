"""Where the kinds of media of a library lie in a space: measured on a sample, kept beside the vectors.

The sample is drawn by the hash of what files hold, so libraries with the same files measure the same, in whatever order
these came. It is of the whole library, never of what a filter lets through: a filter must not change the order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.encoders.bank import Bank, Level
from mmsearch.store.reader import Reader, Space, decode_vectors
from mmsearch.types import FloatArray, Modality

if TYPE_CHECKING:
    from mmsearch.store.catalog import Catalog

SAMPLE = 512
PRIOR = 30
"""So many vectors of the library weigh as much as what the encoder itself says of a kind."""
OF_ONE = 16
"""At most so many segments of one file: a book is not what texts are like."""
FEW = 20_000
"""Up to so many segments of a kind are sorted; of more, files are walked in the order of their hashes."""

KINDS = {
    Modality.IMAGE: (Modality.IMAGE, Modality.VIDEO),
    Modality.AUDIO: (Modality.AUDIO,),
    Modality.TEXT: (Modality.TEXT,),
}
"""What is measured together: a frame of a film is a picture."""


def kind_of(modality: Modality) -> Modality:
    """The kind that a segment is measured with."""
    return Modality.IMAGE if modality is Modality.VIDEO else modality


def bank_in(reader: Reader, space: Space) -> Bank | None:
    """The bank that was kept with a space."""
    rows = reader.query("SELECT data FROM bank WHERE space_id = ?", (space.id,))
    return Bank.from_bytes(bytes(rows[0][0])) if rows else None


def levels(reader: Reader, space: Space, bank: Bank) -> dict[Modality, Level]:
    """The level of every kind: as it was kept, else measured now."""
    rows = reader.query("SELECT modality, mean, spread, rows FROM level WHERE space_id = ?", (space.id,))
    kept = {
        Modality(name): Level(np.frombuffer(mean, "<f4"), spread, _trust(count, bank.own.get(Modality(name))))
        for name, mean, spread, count in rows
    }
    # Not kept is what came with a run that did not end.
    return kept | {kind: level for kind, (level, _) in measure(reader, space, bank, set(KINDS) - set(kept)).items()}


def measure(
    reader: Reader, space: Space, bank: Bank, kinds: Collection[Modality] = tuple(KINDS)
) -> dict[Modality, tuple[Level, int]]:
    """The level of every kind that has one, and how many vectors of the library it comes from."""
    found: dict[Modality, tuple[Level, int]] = {}
    for kind in kinds:
        vectors = sample(reader, space, kind)
        level = _level(vectors, bank, bank.own.get(kind))
        if level is not None:
            found[kind] = level, len(vectors)
    return found


def _level(vectors: FloatArray, bank: Bank, own: Level | None) -> Level | None:
    count = len(vectors)
    if own is None and not count:
        return None
    prior = 0 if own is None else PRIOR
    mean, spread = np.zeros(bank.words.shape[1], np.float32), 0.0
    if count:
        mean, spread = mean + count * vectors.mean(axis=0), count * bank.spread(vectors)
    if own is not None:
        mean, spread = mean + prior * own.mean, spread + prior * own.spread
    mean = (mean / np.float32(count + prior)).astype(np.float32)
    return Level(mean, max(spread / (count + prior), 1e-6), _trust(count, own))


def _trust(count: int, own: Level | None) -> float:
    return count / (count + PRIOR) if own is None else 1.0


def refresh(catalog: Catalog, space: Space, bank: Bank) -> None:
    """Measure anew and keep it, with the bank if that is not kept yet."""
    reader = catalog.reader
    with reader.snapshot():
        measured = measure(reader, space, bank)
        has_bank = bank_in(reader, space) is not None
    rows = [
        (space.id, str(kind), level.mean.astype("<f4").tobytes(), level.spread, count)
        for kind, (level, count) in measured.items()
    ]
    with catalog.transaction() as connection:
        if not has_bank:
            connection.exec_driver_sql(
                "INSERT OR REPLACE INTO bank (space_id, data) VALUES (?, ?)", (space.id, bank.to_bytes())
            )
        connection.exec_driver_sql("DELETE FROM level WHERE space_id = ?", (space.id,))
        if rows:
            connection.exec_driver_sql(_INSERT_LEVELS, rows)


def sample(reader: Reader, space: Space, kind: Modality) -> FloatArray:
    """Up to ``SAMPLE`` vectors of a kind, float32 ``(n, dim)``: of files in the order of their hashes, copies once."""
    vectors: list[bytes] = []
    for taken, vector in _hashed(reader, space, kind):
        if taken < OF_ONE:
            vectors.append(vector)
            if len(vectors) == SAMPLE:
                break
    return decode_vectors(vectors, space.dim)


def _hashed(reader: Reader, space: Space, kind: Modality) -> Iterator[tuple[int, bytes]]:
    """Vectors of a kind, each with how many of the same content came before it."""
    names = (str(KINDS[kind][0]), str(KINDS[kind][-1]))
    ((few,),) = reader.query(f"SELECT count(*) FROM (SELECT 1 FROM segment WHERE {_OF_KIND} LIMIT ?)", (*names, FEW))
    statement = _SORTED if few < FEW else _WALKED
    last, first_item, taken = b"", 0, 0
    for sha256, item_id, vector in reader.stream(statement, (*names, space.id)):
        if sha256 != last:
            last, first_item, taken = sha256, item_id, 0
        elif item_id != first_item:
            continue  # a copy
        yield taken, vector
        taken += 1


_INSERT_LEVELS = "INSERT INTO level (space_id, modality, mean, spread, rows) VALUES (?, ?, ?, ?, ?)"
_OF_KIND = "modality IN (?, ?)"
_PRESENT = f"s.{_OF_KIND} AND i.gone IS NULL AND e.space_id = ?"
_CONTENT = "coalesce(i.sha256, i.path)"
_SORTED = f"""
SELECT {_CONTENT}, i.id, e.vector
FROM segment s CROSS JOIN item i ON i.id = s.item_id JOIN embedding e ON e.segment_id = s.id
WHERE {_PRESENT} ORDER BY substr({_CONTENT}, 1, 8), {_CONTENT}, i.id, s.id
"""
# The order is that of the index `item_content`, and the walk ends where the sample is full.
_WALKED = f"""
SELECT i.sha256, i.id, e.vector
FROM item i CROSS JOIN segment s ON s.item_id = i.id JOIN embedding e ON e.segment_id = s.id
WHERE {_PRESENT} AND i.sha256 IS NOT NULL ORDER BY substr(i.sha256, 1, 8), i.sha256, i.id, s.id
"""
