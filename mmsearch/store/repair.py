"""Mend what can be mended without encoding: derived data is made again, damaged vectors are left to the next `index`.

Each step is one commit or one publication, so a kill in the middle of a repair loses nothing that was not lost
before. Nothing that is whole is touched.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator

from mmsearch.errors import Damaged
from mmsearch.store import artifacts
from mmsearch.store.catalog import Catalog
from mmsearch.store.check import bad_vectors, wrong_words
from mmsearch.store.layout import ARTIFACTS, CATALOG, require_library
from mmsearch.store.reader import Reader


def repair(folder: str, lock_timeout: float = 0.0, dry_run: bool = False) -> list[str]:
    """Mend a library; returns a line for each thing done (or, on ``dry_run``, to do).

    Raises ``Damaged`` where the catalog itself is beyond repair.
    """
    require_library(folder)
    try:
        with Catalog(folder, lock_timeout) as catalog:
            return list(_repair(catalog, dry_run))
    except (Damaged, sqlite3.DatabaseError) as error:
        raise Damaged(
            f"{os.path.join(folder, CATALOG)} is damaged beyond repair: restore it from a backup, "
            "or delete the library folder and run `mmsearch index` again"
        ) from error


def _repair(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    yield from _mend_catalog(catalog, dry_run)
    yield from _mend_words(catalog, dry_run)
    yield from _choose_space(catalog, dry_run)
    yield from _drop_bad_vectors(catalog, dry_run)
    yield from _republish(catalog, dry_run)
    if not dry_run:
        artifacts.drop_old(catalog)


def _mend_catalog(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    if _sound(catalog.reader):
        return
    yield "rebuilt the catalog's own indexes" if not dry_run else "rebuild the catalog's own indexes"
    if not dry_run:
        catalog.reindex()
        if not _sound(catalog.reader):
            raise Damaged("quick_check still fails")


def _sound(reader: Reader) -> bool:
    return reader.query("PRAGMA quick_check") == [("ok",)]


def _mend_words(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    if not any(wrong_words(catalog.reader)) and catalog.words_are_sound():
        return
    yield "rebuilt the full-text tables" if not dry_run else "rebuild the full-text tables"
    if not dry_run:
        catalog.rebuild_words()


def _choose_space(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    spaces = catalog.reader.spaces()
    if spaces and catalog.reader.active_space() is None:
        best = max(spaces, key=lambda space: (catalog.reader.count(space.id), space.id))
        yield f"let queries use {best.model}"
        if not dry_run:
            catalog.activate(best.id)


def _drop_bad_vectors(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    for space in catalog.reader.spaces():
        bad = [segment_id for segment_id, _ in bad_vectors(catalog.reader, space)]
        if bad:
            yield f"drop {len(bad)} damaged vectors of {space.model}: `mmsearch index` encodes their files again"
            if not dry_run:
                catalog.drop_vectors(space.id, bad)
                artifacts.refresh(catalog, space)


def _republish(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    for space in catalog.reader.spaces():
        kinds: list[str] = []
        for artifact in catalog.reader.artifacts(space.id):
            path = os.path.join(catalog.folder, ARTIFACTS, artifact.file)
            if wrong := artifacts.wrong_with(path, artifact, read_data=True):
                yield f"rebuild an index: {wrong}"
                kinds.append(artifact.kind)
                if not dry_run:
                    catalog.drop_artifacts([artifact.id])
        if kinds and not dry_run:
            artifacts.publish(catalog, space, kinds[0])
