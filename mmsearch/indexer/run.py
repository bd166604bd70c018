"""One `index` run: choose the space, run the loop over the scopes, let queries change over, publish an index."""

from __future__ import annotations

import json
import os
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mmsearch.encoders.bank import bank_of
from mmsearch.errors import UsageError
from mmsearch.indexer.ingest import Ingest
from mmsearch.indexer.options import Options
from mmsearch.indexer.summary import Summary
from mmsearch.store import artifacts, indexes, levels, roots
from mmsearch.store.catalog import Catalog
from mmsearch.store.layout import holds_library
from mmsearch.store.reader import Reader, Space, is_below
from mmsearch.store.roots import Scope
from mmsearch.types import Encoder, Modality


def index_paths(
    folder: str,
    paths: Sequence[bytes],
    load: Callable[[str], Encoder],
    *,
    model: str | None = None,
    default_model: str,
    kind: str | None = None,
    device: str = "cpu",
    options: Options | None = None,
    progress: Callable[[Summary], None] = lambda summary: None,
    stop: threading.Event | None = None,
    lock_timeout: float = 0.0,
) -> Summary:
    """Bring the library in ``folder`` up to date with absolute ``paths``; see `Library.index`."""
    options = options or Options()
    # A model that can't be loaded, or an index that doesn't exist, must leave no trace.
    if kind is not None:
        indexes.choose(kind, 0, 1)
    encoder = load(model or _current_model(folder) or default_model)
    _require_known_or_there(folder, paths)
    with _catalog(folder, lock_timeout, options.dry_run) as catalog:
        space = catalog.space(encoder.spec)
        active = catalog.reader.active_space()
        if active is not None and active.model == space.model:
            catalog.activate(space.id)  # the same model, changed: nothing can ask the old vectors any more
        ingest = Ingest(catalog, space, encoder, options, progress, stop)
        run_id = catalog.start_run(space.id, device)
        summary = ingest.run([_scope(catalog, path) for path in _outermost(paths)])
        summary.device = getattr(encoder, "device", "cpu")  # a protocol of one verb: only some encoders have a choice
        if not options.dry_run:
            _finish(catalog, space, ingest, kind, device)
        catalog.finish_run(run_id, json.dumps(summary.counts()))
    return summary


def _finish(catalog: Catalog, space: Space, ingest: Ingest, kind: str | None, device: str) -> None:
    active = catalog.reader.active_space()
    if active is not None and active.id != space.id:
        pending = catalog.pending(space.id)
        if pending <= ingest.held_back:
            catalog.activate(space.id)
        else:
            ingest.summary.notes.append(
                f"{pending} files have no vectors of {space.model} yet: queries use {active.model} until they do"
            )
    if not ingest.summary.interrupted:
        if Modality.TEXT in ingest.encoder.spec.modalities:
            levels.refresh(catalog, space, levels.bank_in(catalog.reader, space) or bank_of(ingest.encoder))
        artifacts.refresh(catalog, space, kind, artifacts.index_device(device))
        if artifacts.outgrown(catalog.reader, space):
            ingest.summary.notes.append("twice as many vectors as when the index was tuned: run `mmsearch tune` again")


def _current_model(folder: str) -> str | None:
    if not holds_library(folder):
        return None
    reader = Reader(folder)
    try:
        space = reader.active_space()
    finally:
        reader.close()
    return None if space is None else space.model


@contextmanager
def _catalog(folder: str, lock_timeout: float, dry_run: bool) -> Iterator[Catalog]:
    """The library, open for writing; in a dry run all is undone, on a library that is thrown away if there is none."""
    if not dry_run:
        with Catalog(folder, lock_timeout) as catalog:
            yield catalog
        return
    with tempfile.TemporaryDirectory() as scratch:
        place = folder if holds_library(folder) else os.path.join(scratch, "library")
        with Catalog(place, lock_timeout, dry_run=True) as catalog:
            yield catalog


def _require_known_or_there(folder: str, paths: Sequence[bytes]) -> None:
    """Raise ``UsageError`` for a path that is neither there nor part of the library (an unplugged drive is)."""
    known: list[bytes] = []
    if holds_library(folder):
        reader = Reader(folder)
        known = [root for (root,) in reader.query("SELECT path FROM root") if isinstance(root, bytes)]
        reader.close()
    for path in paths:
        try:
            mode = os.stat(path).st_mode
        except OSError as error:
            if not any(is_below(path, root) for root in known):
                raise UsageError(f"{os.fsdecode(path)}: {(error.strerror or 'cannot be read').lower()}") from None
        else:
            if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
                raise UsageError(f"{os.fsdecode(path)}: neither a file nor a folder")


def _outermost(paths: Sequence[bytes]) -> list[bytes]:
    """Without paths that lie below another one: each file is seen once."""
    return [path for path in dict.fromkeys(paths) if not any(is_below(path, other) for other in paths if other != path)]


def _scope(catalog: Catalog, path: bytes) -> Scope:
    if os.path.isdir(path):
        return roots.claim(catalog, path)
    # A single file belongs to its folder; a path that is not there belongs to the root that knows it.
    if (known := roots.find(catalog, path)) is not None:
        return known
    folder = roots.claim(catalog, os.path.dirname(path))
    return Scope(folder.root_id, folder.root, os.path.join(folder.start, os.path.basename(path)))
