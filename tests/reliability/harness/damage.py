"""What happens to files: flipped bits, lost tails, runs of zeros, swaps, deletion."""

from __future__ import annotations

import os
from random import Random

KINDS = ("flip", "cut", "zeros", "delete", "swap", "grow", "empty")


def damage(folder: str, rng: Random, kind: str | None = None) -> dict[str, bytes | None]:
    """Damage one of the files in a folder (``swap``: two of them).

    Returns the names of those that changed with what they hold now (None: deleted).
    """
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    if not names:
        return {}
    name, other = rng.choice(names), rng.choice(names)
    path = os.path.join(folder, name)
    kind = kind or rng.choice(KINDS)
    if kind == "delete":
        os.unlink(path)
        return {name: None}
    before = _read(path)
    if kind == "swap":
        theirs = _read(os.path.join(folder, other))
        _write(path, theirs)
        _write(os.path.join(folder, other), before)
        return {name: theirs, other: before} if theirs != before else {}
    after = damaged(before, kind, rng)
    _write(path, after)
    return {name: after} if after != before else {}


def damaged(data: bytes, kind: str, rng: Random) -> bytes:
    """``data`` with one fault of a kind; may be equal to it where there is nothing to hurt."""
    if not data:
        return data
    at = rng.randrange(len(data))
    match kind:
        case "flip":
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case "cut":
            return data[:at]
        case "zeros":
            while not data[at] and any(data):
                at = rng.randrange(len(data))
            stop = min(len(data), at + rng.randrange(1, 64))
            return data[:at] + bytes(stop - at) + data[stop:]
        case "grow":
            return data + bytes([rng.randrange(256)])
        case "empty":
            return b""
    raise AssertionError(kind)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
