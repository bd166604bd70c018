"""Captions follow the files that hold them: when one is new, changed or gone, what it describes is told so.

A photo that did not change is neither decoded nor encoded for it. Only where the last caption beside it is gone is it
decoded once more, as what stands in the picture itself counts again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from mmsearch.errors import MediaError
from mmsearch.media.files import Source, read
from mmsearch.media.pieces import Pieces
from mmsearch.media.text_captions import TABLES, beside, described
from mmsearch.store.catalog import Catalog
from mmsearch.store.roots import Scope
from mmsearch.types import EncoderSpec, Modality

AT_ONCE = 2000
"""Items looked at, and written, at a time."""


def refresh(
    catalog: Catalog,
    scope: Scope,
    files: Iterable[bytes],
    decode: Callable[[Source, EncoderSpec], Pieces],
    spec: EncoderSpec,
) -> None:
    """Read again what stands beside all media that ``files`` (relative paths of captions) describe, or described."""
    for path in files:
        changed: list[tuple[int, str | None]] = []
        for item_id, name, modality, caption in _described_by(catalog, scope, path):
            place = os.path.join(scope.root, name)
            now = beside(place)
            if now is None and caption is not None and modality == Modality.IMAGE:
                now = _inside(place, decode, spec)
            if now != caption:
                changed.append((item_id, now))
            if len(changed) >= AT_ONCE:
                catalog.set_captions(changed)
                changed = []
        catalog.set_captions(changed)


def retire(catalog: Catalog, scope: Scope, media: Iterable[bytes]) -> None:
    """Forget as documents the texts that are captions now: the media (relative paths) that they describe came."""
    for path in media:
        names = [base + suffix for base in (path, os.path.splitext(path)[0]) for suffix in (b".txt", b".json")]
        known = catalog.reader.query(_DOCUMENTS, (scope.root_id, *names))
        catalog.remove_items([item_id for (item_id,) in known])


_DOCUMENTS = "SELECT id FROM item WHERE root_id = ? AND modality = 'text' AND path IN (?, ?, ?, ?)"


def _described_by(catalog: Catalog, scope: Scope, path: bytes) -> Iterator[tuple[int, bytes, str, str | None]]:
    folder, name = os.path.split(path)
    if name.lower() in TABLES:
        # Of its folder and the folders in it: "0" follows "/".
        low, high = (folder + b"/", folder + b"0") if folder else (b"", b"\xff")
        depth = low.count(b"/") + 1
        yield from (row for row in _media(catalog, scope, low, high) if row[1].count(b"/") <= depth)
        return
    for base in described(path):
        # Its name, or its stem and a suffix: "/" follows ".".
        for row in _media(catalog, scope, base, base + b"/"):
            if row[1] == base or os.path.splitext(row[1])[0] == base:
                yield row


def _media(catalog: Catalog, scope: Scope, low: bytes, high: bytes) -> Iterator[tuple[int, bytes, str, str | None]]:
    """Indexed media (id, path, modality, caption) with ``low <= path < high``, a part of them in memory at a time."""
    last = low
    while True:
        rows = catalog.reader.query(_MEDIA, (scope.root_id, last, high, AT_ONCE))
        yield from rows
        if len(rows) < AT_ONCE:
            return
        last = rows[-1][1] + b"\0"


_MEDIA = (
    "SELECT id, path, modality, caption FROM item WHERE root_id = ? AND path >= ? AND path < ? "
    "AND state IN ('ok', 'partial') AND modality <> 'text' ORDER BY path LIMIT ?"
)


def _inside(path: bytes, decode: Callable[[Source, EncoderSpec], Pieces], spec: EncoderSpec) -> str | None:
    """What a picture itself says that it shows."""
    try:
        stream = decode(read(path, spec), spec)
        while True:
            next(stream)
    except StopIteration as stop:
        caption: str | None = stop.value.caption
        return caption
    except (MediaError, FileNotFoundError):
        return None
