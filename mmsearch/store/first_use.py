"""A catalog that comes from elsewhere is looked at before it is used: SQLite's own check of it, and its schema.

Which catalogs this user has used on this machine is kept in the cache, by path, device and inode. One that is born here
is among them from its birth, so what it costs (0.7 s for each gigabyte in memory, or a disk's time to read it) falls to
libraries that were copied, restored or shared.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mmsearch.encoders import known
from mmsearch.errors import Damaged
from mmsearch.store.layout import CATALOG

if TYPE_CHECKING:
    from mmsearch.store.reader import Reader

KEPT = 64
"""So many catalogs are remembered, the newest: libraries that are thrown away must not fill the cache."""
_KIND, _KEY = "catalogs", ("used",)


def is_known(folder: str) -> bool:
    """Whether this catalog was used here before: one small file is read."""
    path, identity = _identity(folder)
    return _known().get(path) == identity


def note(folder: str) -> bool:
    """Remember a catalog as used; returns whether the cache could be written."""
    path, identity = _identity(folder)
    seen = {other: value for other, value in _known().items() if other != path}
    return _keep({**seen, path: identity})


def require_sound(folder: str, reader: Reader) -> None:
    """Look at a catalog that is not known, once. Raises ``Damaged``.

    Where the cache can't be written it is looked at each time, unless it is the user's own.
    """
    if is_known(folder):
        return
    own = os.stat(os.path.join(folder, CATALOG)).st_uid == os.geteuid()
    if own and not _keep(_known()):
        return
    with reader.snapshot():
        if (wrong := _wrong(reader)) is not None:
            raise Damaged(f"{os.path.join(folder, CATALOG)}: {wrong}: run `mmsearch check`, then `mmsearch repair`")
    note(folder)


def _wrong(reader: Reader) -> str | None:
    from mmsearch.store.check import wrong_schema

    for (message,) in reader.query("PRAGMA quick_check(1)"):
        if message != "ok":
            return str(message)
    for wrong in wrong_schema(reader):
        if wrong.kind != "table" or wrong.should is not None:  # a table that is not ours is never read
            return wrong.said()
    return None


def _identity(folder: str) -> tuple[str, list[int]]:
    path = os.path.realpath(os.path.join(folder, CATALOG))
    found = os.stat(path)
    return path, [found.st_dev, found.st_ino]


def _known() -> dict[str, object]:
    found = known.read_note(_KIND, _KEY)
    return found if isinstance(found, dict) else {}


def _keep(seen: dict[str, object]) -> bool:
    return known.write_note(_KIND, _KEY, dict(list(seen.items())[-KEPT:]))
