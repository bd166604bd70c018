"""What a power cut asks for and a kill can't show: in which order bytes, names and rows are made durable."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from mmsearch.store import artifacts, layout
from mmsearch.store.catalog import Catalog

from .harness.world import World


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what is synced, renamed and committed, in order."""
    done: list[str] = []

    def noted(name: str, function: Callable, what: Callable[..., str]) -> Callable:
        def wrapper(*args, **options):
            result = function(*args, **options)
            done.append(f"{name} {what(*args)}")
            return result

        return wrapper

    def opened(descriptor: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync, opened))
    monkeypatch.setattr(os, "replace", noted("name", os.replace, lambda old, new: os.path.basename(new)))
    monkeypatch.setattr(os, "rename", noted("name", os.rename, lambda old, new: os.path.basename(new)))
    monkeypatch.setattr(Catalog, "add_artifact", noted("row", Catalog.add_artifact, lambda _, artifact: artifact.file))
    return done


def test_an_index_is_synced_named_synced_and_only_then_known(library, world: World, calls: list[str]) -> None:
    library.index([world.root], model="fake", index="exact", device="cpu")
    publication = calls[calls.index("sync 1.exact.tmp") :]
    assert publication == ["sync 1.exact.tmp", "name 1.exact", "sync artifacts", "row 1.exact"]


def test_a_library_is_filled_named_and_synced(library, world: World, calls: list[str]) -> None:
    library.index([world.root], model="fake", device="cpu")
    assert calls[:2] == ["name library", f"sync {os.path.basename(os.path.dirname(library.folder))}"]


@pytest.mark.parametrize("missing", ["sync 1.exact.tmp", "sync artifacts"])
def test_the_order_shows_a_missing_sync(library, world: World, calls: list[str], monkeypatch, missing: str) -> None:
    """The null control of this file: without either sync the list above is another."""
    if missing == "sync artifacts":
        monkeypatch.setattr(artifacts, "sync_folder", lambda folder: None)
        monkeypatch.setattr(layout, "sync_folder", lambda folder: None)
    else:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    library.index([world.root], model="fake", index="exact", device="cpu")
    assert missing not in calls


def test_the_catalog_syncs_every_commit(folder) -> None:
    with Catalog(folder) as catalog, catalog.transaction() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
