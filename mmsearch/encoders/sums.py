"""What the files of a folder were when they were written: a list as `sha256sum` makes it, and reads it (`-c`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping

from mmsearch import own

NAME = "sha256sums"
Digest = Callable[[str], str]
"""The sha256 of a file as hex; raises ``OSError`` for one that can't be read."""


def sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_list(name: str) -> bool:
    """Whether a file is such a list by its name, or was to become one."""
    return name == NAME or (name.startswith(f"{NAME}.") and name[len(NAME) + 1 :].isdecimal())


def write(folder: str, digests: Mapping[str, str]) -> None:
    """List these files of a folder, whole or not at all; names are relative to it."""
    fresh = os.path.join(folder, f"{NAME}.{os.getpid()}")
    own.remove(fresh)
    with open(own.create(fresh), "w", encoding="utf-8") as file:
        file.writelines(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, os.path.join(folder, NAME))


def read(folder: str) -> dict[str, str] | None:
    """Digests by name; None where there is no list: an older version made none. Raises ``ValueError`` for a bad one."""
    try:
        with open(os.path.join(folder, NAME), encoding="utf-8", newline="\n") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    if not text.endswith("\n"):
        raise ValueError("it has no end")
    pairs = [line.partition("  ") for line in text.removesuffix("\n").split("\n")]
    return {name: digest for digest, _, name in pairs}


def wrong(folder: str, digest: Digest = sha256, only: Iterable[str] | None = None) -> list[str]:
    """The names of the files that are not what the list says, the list's own among them; empty without a list.

    ``only`` these names are looked at; one that is not in the list is wrong.
    """
    try:
        listed = read(folder)
    except (OSError, ValueError):
        return [NAME]
    if listed is None:
        return []
    return [name for name in sorted(listed if only is None else only) if not _is(folder, name, listed, digest)]


def _is(folder: str, name: str, listed: dict[str, str], digest: Digest) -> bool:
    try:
        return digest(os.path.join(folder, name)) == listed.get(name)
    except OSError:
        return False
