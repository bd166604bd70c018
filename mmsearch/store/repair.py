"""Mend what can be mended without encoding: derived data is made again, damaged vectors are left to the next `index`.

Each step is one commit or one publication, so a kill in the middle of a repair loses nothing that was not lost
before. Nothing that is whole is touched.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from typing import Any

from mmsearch.encoders import bridge, kept
from mmsearch.errors import Damaged, StorageFull
from mmsearch.store import artifacts, rowsums
from mmsearch.store.catalog import Catalog
from mmsearch.store.check import bad_rows, bad_vectors, wrong_schema, wrong_sequences, wrong_words
from mmsearch.store.layout import ARTIFACTS, CATALOG, require_library
from mmsearch.store.reader import Reader


def repair(folder: str, lock_timeout: float = 0.0, dry_run: bool = False) -> list[str]:
    """Mend a library; returns a line for each thing done (or, on ``dry_run``, to do).

    Raises ``Damaged`` where the catalog itself is beyond repair.
    """
    require_library(folder)
    try:
        with Catalog(folder, lock_timeout, dry_run=dry_run, mending=True) as catalog:
            dropped = [f"drop a {kind} that is not ours: {name}" for kind, name in catalog.foreign]
            return [*dropped, *_repair(catalog, dry_run)]
    except (Damaged, sqlite3.DatabaseError) as error:
        raise Damaged(
            f"{os.path.join(folder, CATALOG)} is damaged beyond repair: restore it from a backup, "
            "or delete the library folder and run `mmsearch index` again"
        ) from error


def _repair(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    yield from _mend_catalog(catalog, dry_run)
    yield from _mend_schema(catalog, dry_run)
    yield from _mend_rows(catalog, dry_run)
    yield from _mend_words(catalog, dry_run)
    yield from _choose_space(catalog, dry_run)
    yield from _drop_bad_vectors(catalog, dry_run)
    yield from _republish(catalog, dry_run)
    yield from _drop_bad_towers(catalog, dry_run)
    yield from _mend_bridges(catalog, dry_run)
    if not dry_run:
        artifacts.drop_old(catalog)


def _mend_catalog(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    if _sound(catalog.reader):
        return
    yield "rebuilt the catalog's own indexes" if not dry_run else "rebuild the catalog's own indexes"
    if not dry_run:
        catalog.reindex()
        if not _sound(catalog.reader):
            _write_again(catalog)
        if not _sound(catalog.reader):
            raise Damaged("integrity_check still fails")


def _write_again(catalog: Catalog) -> None:
    """Copy every row: what was wrong between them is gone."""
    need = 2 * os.path.getsize(os.path.join(catalog.folder, CATALOG))
    if shutil.disk_usage(catalog.folder).free < need:
        raise StorageFull(f"{catalog.folder}: free {need / 1e6:.0f} MB, then run `mmsearch repair` again")
    try:
        catalog.compact()
    except StorageFull as error:  # as SQLite says of pages that can't be
        raise Damaged(str(error)) from error


def _sound(reader: Reader) -> bool:
    return reader.query("PRAGMA integrity_check") == [("ok",)] and not any(wrong_sequences(reader))


def _mend_schema(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    """Indexes are made again; a table that is not as it was made can't be, and one of a stranger's is left."""
    for wrong in wrong_schema(catalog.reader):
        if wrong.kind == "index":
            done = "make the index again" if wrong.should else "drop an index that is not ours"
            yield f"{done}: {wrong.name}"
            if not dry_run:
                catalog.remake_index(wrong.name, wrong.should)
        elif wrong.should is None and wrong.kind == "table":
            yield f"left alone: a table that is not ours, {wrong.name!r}: `check` names it until it is dropped by hand"


def _mend_rows(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    """A row with one wrong bit is set right, as its crc32 tells which. Of others their files are encoded again."""
    lost: dict[str, list[Any]] = {}
    for table, row, crc32 in list(bad_rows(catalog.reader)):
        key = len(rowsums.key_of(table))
        if (right := rowsums.mended(row, crc32)) is not None and right[:key] == row[:key]:
            yield f"set row {row[0]!r} of {table} right"
            if not dry_run:
                catalog.write_row(table, right)
        else:
            lost.setdefault(table, []).append(row[0])
    for table, keys in lost.items():
        yield f"{len(keys)} rows of {table} can't be mended: {_AFTER[table]}"
        if not dry_run:
            catalog.give_up_rows(table, keys)


_AGAIN = "`mmsearch index` encodes their files again"
_LATER = "the next `mmsearch index` that changes anything makes them again"
_AFTER = {
    "migration": "written anew",
    "setting": "dropped; `mmsearch tune` and `index --index` set them again",
    "root": "kept as they are: see `mmsearch status` whether the folders are right, and `mmsearch relocate`",
    "item": f"dropped; {_AGAIN}",
    "folder": "counted again",
    "bank": f"dropped; {_LATER}",
    "level": f"dropped; {_LATER}",
    "segment": f"dropped with their files; {_AGAIN}",
    "space": f"dropped with their vectors; {_AGAIN}",
    "artifact": "dropped; indexes are built again",
    "run": "dropped",
}


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


def _drop_bad_towers(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    for space, names in list(kept.damaged(catalog.folder)):
        yield f"drop a text tower ({', '.join(names)} of {space}): `mmsearch index` keeps it again when it encodes"
        if not dry_run:
            kept.drop_damaged(catalog.folder, space)


def _mend_bridges(catalog: Catalog, dry_run: bool) -> Iterator[str]:
    """A map's space is named after its content, so it can be told whether the map is wrong or the list."""
    if not bridge.damaged(catalog.folder):
        return
    yield f"list the files of {bridge.FOLDER}/ again"
    spaces = {space.fingerprint for space in catalog.reader.spaces()}
    for name in bridge.list_again(catalog.folder, spaces, dry_run):
        yield f"{bridge.FOLDER}/{name} can't be mended: run `mmsearch bridge` again"
