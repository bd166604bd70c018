"""A crc32 of every row, so that `check` sees what rots where no index of SQLite's contradicts it.

`embedding` and `staged` have one of their vectors, and their numbers stand in unique indexes; all other tables have
the column ``crc32``, which the writer's triggers fill (`triggers`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import TypeAlias

Value: TypeAlias = int | float | str | bytes | None

COLUMNS: dict[str, tuple[str, ...]] = {
    "migration": ("number", "name"),
    "setting": ("key", "value"),
    "root": ("id", "path", "offline"),
    "item": (
        *("id", "root_id", "path", "size", "mtime_ns", "inode", "sha256", "modality", "state", "reason", "gone"),
        *("added", "width", "height", "taken", "camera", "lat", "lon", "duration_s", "caption", "ctime_ns"),
    ),
    "folder": ("id", "root_id", "path", "files"),
    "segment": ("id", "item_id", "start", "end", "unit", "modality", "text", "page"),
    "space": ("id", "fingerprint", "model", "dim", "created"),
    "bank": ("space_id", "data"),
    "level": ("space_id", "modality", "mean", "spread", "rows"),
    "artifact": ("id", "space_id", "kind", "bytes", "sha256", "stat", "rows", "max_seq", "params", "created"),
    "run": ("id", "started", "finished", "space_id", "device", "counts"),
}
"""What the crc32 of a row is made of, its key first; a test holds this equal to the schema."""
_KEYS = {"level": 2}


def key_of(table: str) -> tuple[str, ...]:
    """The columns that tell a table's rows apart: the first of ``COLUMNS``, one but for a few tables."""
    return COLUMNS[table][: _KEYS.get(table, 1)]


def row_crc(*values: Value) -> int:
    """Of a row's values as SQLite gives them. Made known to the connection that writes."""
    return zlib.crc32(ascii(values).encode())  # unlike `repr`, the same in every version of Unicode


def listed(table: str, before: str = "") -> str:
    """A table's columns as SQL, each with ``before`` in front."""
    return ", ".join(f'{before}"{name}"' for name in COLUMNS[table])


def fill(table: str) -> str:
    """SQL that writes the crc32 of every row."""
    return f"UPDATE {table} SET crc32 = row_crc({listed(table)})"


def mended(values: Sequence[Value], crc: int) -> tuple[Value, ...] | None:
    """The row that had this crc32 before one of its bits flipped, or a bit of the crc32; None if that was not all."""
    own = row_crc(*values)
    if any(own ^ 1 << bit == crc for bit in range(32)):
        return tuple(values)
    if sum(len(value) for value in values if isinstance(value, bytes | str)) > 4 * LONGEST:
        return None
    for place, value in enumerate(values):
        for other in _one_bit_off(value):
            row = (*values[:place], other, *values[place + 1 :])
            if row_crc(*row) == crc:
                return row
    return None


LONGEST = 1000
"""Bytes of a value whose bits are tried: each try takes the crc32 of the row, so the time grows with the square."""


def _one_bit_off(value: Value) -> Iterator[Value]:
    if isinstance(value, bytes | str) and len(value) > LONGEST:
        return
    if isinstance(value, int):
        yield from (value ^ 1 << bit for bit in range(63))
        yield value ^ -(1 << 63)
    elif isinstance(value, bytes):
        yield from _flipped(value)
    elif isinstance(value, str):
        for other in _flipped(value.encode("utf-8", "surrogateescape")):
            try:
                yield other.decode()
            except UnicodeDecodeError:
                continue


def _flipped(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        for bit in range(8):
            yield data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
