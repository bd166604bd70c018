"""Bugs that fault injection found, each by its name; every one of these failed before its fix."""

from __future__ import annotations

from pathlib import Path

from mmsearch.encoders import registry
from mmsearch.store.catalog import Catalog
from mmsearch.store.check import check


def test_killed_before_the_first_batch_the_library_is_whole(tmp_path: Path) -> None:
    """The first space was chosen for queries in a transaction after its own: `check` told of damage in between."""
    library = str(tmp_path / "library")
    with Catalog(library) as catalog:
        catalog.space(registry.load("fake").spec)  # and killed here
    assert check(library) == []
