"""The indexing loop: walk, compare, decode on threads, encode in batches, commit, sweep.

Memory is bounded by constants, neither by the corpus nor by the length of a film: files are listed in chunks, at most
``WINDOW`` of them are in flight, the next few pieces of each are all that is held, and what is encoded of a long one
waits in the catalog (`staging`). Decoding runs on threads while a batch is encoded.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TypeVar

import numpy as np

from mmsearch.errors import MediaError
from mmsearch.indexer import captions as captions_of
from mmsearch.indexer.displaced import Displaced
from mmsearch.indexer.encode import encode_each
from mmsearch.indexer.flow import flow
from mmsearch.indexer.options import Options
from mmsearch.indexer.prepare import Prepared, Preparer, encoded, failed
from mmsearch.indexer.remembered import remembered
from mmsearch.indexer.scan import LISTED, listed
from mmsearch.indexer.summary import Summary
from mmsearch.media.files import Source
from mmsearch.media.pieces import Piece, Pieces
from mmsearch.media.sandbox import shared
from mmsearch.media.text_captions import REASON, may_be_caption
from mmsearch.media.text_fit import fitted
from mmsearch.store import presence, roots, staging
from mmsearch.store.catalog import Catalog, Known, Record, Write
from mmsearch.store.reader import Space
from mmsearch.store.roots import Scope
from mmsearch.types import Encoder, EncoderSpec, FileStat, FloatArray, Modality, State

BATCH = 32
"""Pieces encoded at a time."""

TEXTS = 256
"""Chunks of text encoded at a time: they are small, and those of one length go through an encoder together."""

WINDOW = 2 * BATCH
"""Files being read and decoded ahead of the encoder: 64 pictures of 224 x 224 are 10 MB, 64 sounds of 20 s 80 MB."""

T = TypeVar("T")

COMMIT_ROWS, COMMIT_S = 1024, 1.0
"""A commit costs two disk syncs; a kill costs what was not committed."""


class Ingest:
    """One run over some scopes into one space. ``stop``, once set, ends it with everything encoded committed."""

    def __init__(
        self,
        catalog: Catalog,
        space: Space,
        encoder: Encoder,
        options: Options,
        progress: Callable[[Summary], None] = lambda summary: None,
        stop: threading.Event | None = None,
    ) -> None:
        self.catalog, self.space, self.encoder, self.options = catalog, space, encoder, options
        self.summary = Summary(model=encoder.spec.name, space=encoder.spec.space)
        self.held_back = 0
        """Files that keep the vectors of older spaces although this one's model failed on them."""
        self._progress, self._stop = progress, stop or threading.Event()
        self._displaced = Displaced()
        self._unread: list[tuple[bytes, str]] = []
        """Folders, mostly, of this scope that could not be read, and why."""

    def run(self, scopes: Sequence[Scope]) -> Summary:
        started = time.perf_counter()
        complete = self.catalog.complete(self.space.id)
        for scope in scopes:
            self._run_scope(scope, complete)
        self.summary.interrupted = self._stop.is_set()
        if not self.summary.interrupted and not self.options.dry_run:
            self.catalog.drop_staged()
        self.summary.seconds = time.perf_counter() - started
        return self.summary

    def _run_scope(self, scope: Scope, complete: bool) -> None:
        offline = presence.is_offline(self.catalog.reader, scope.root_id, scope.root)
        roots.set_offline(self.catalog, scope.root_id, offline)
        if offline:
            self.summary.offline.append(scope.root)
            return
        self._unread.clear()
        self.catalog.start_listing()
        work = self._changed(scope, complete)
        if self.options.dry_run:
            for known in work:
                self._count(known, "added" if known.item_id is None else "updated")
        else:
            self._process(scope, work)
        if not self._stop.is_set():
            self._sweep(scope)
            if not scope.start:
                roots.note_device(self.catalog, scope)
        if not self.options.dry_run:
            self._record_unread(scope)

    # -- what to do -----------------------------------------------------------------------------------------------

    def _changed(self, scope: Scope, complete: bool) -> Iterator[Known]:
        """The listed files that need work; all others are counted here."""
        files = self._listed(scope)
        learn = not scope.start and self.catalog.reader.setting(f"{presence.DEVICE}{scope.root_id}") is None
        while chunk := list(islice(files, LISTED)):
            known = self.catalog.compare(scope.root_id, chunk, self.space.id, complete, learn)
            self.summary.unchanged += len(chunk) - len(known)
            spec, retry = self.encoder.spec, self.options.retry
            yield from (file for file in known if not remembered(file, scope.root, retry, spec, self.summary))
            if self._stop.is_set():
                return

    def _listed(self, scope: Scope) -> Iterator[FileStat]:
        def failed(path: bytes, error: OSError) -> None:
            if not isinstance(error, FileNotFoundError):
                reason = (error.strerror or "cannot be read").lower()
                self.summary.add(os.path.join(scope.root, path), State.TRANSIENT, reason)
                self._unread.append((path, reason))

        return listed(self.catalog.folder, scope.root, scope.start, self.options, failed)

    # -- doing it -------------------------------------------------------------------------------------------------

    def _process(self, scope: Scope, work: Iterable[Known]) -> None:
        spec, options = self.encoder.spec, self.options
        closed = threading.Event()
        preparer = Preparer(
            self.catalog.folder,
            scope.root,
            self.space,
            spec,
            self._decode,
            options.follow_links,
            self._displaced,
            lambda: closed.is_set() or self._stop.is_set(),
        )
        ready: list[tuple[Prepared, Record]] = []
        committed = time.monotonic()
        try:
            with closing(flow(preparer, self._until_stopped(work), options.workers, WINDOW, closed)) as prepared:
                for some in self._encoded(scope, prepared):
                    ready += self._records(scope, some)
                    if len(ready) >= COMMIT_ROWS or time.monotonic() - committed > COMMIT_S:
                        self._commit(scope, ready)
                        ready, committed = [], time.monotonic()
            self._commit(scope, ready)
        finally:
            preparer.close()

    def _decode(self, source: Source, spec: EncoderSpec) -> Pieces:
        decode = self.options.decode or shared()
        return fitted(decode(source, spec), self.encoder)

    def _until_stopped(self, work: Iterable[T]) -> Iterator[T]:
        for one in work:
            if self._stop.is_set():
                return
            yield one

    def _encoded(self, scope: Scope, prepared: Iterator[Prepared]) -> Iterator[list[_File]]:
        """Encode pieces ``BATCH`` at a time, whatever file they come from; gives files when they are done."""
        begun = staging.begun(self.catalog.reader, scope.root_id, self.space.id)
        files: list[_File] = []
        batch: list[tuple[_File, Piece]] = []
        for one in self._until_stopped(prepared):
            files.append(self._file(scope, one, begun))
            for piece in self._until_stopped(files[-1]):
                batch.append((files[-1], piece))
                if len(batch) >= (TEXTS if piece.modality is Modality.TEXT else BATCH):
                    self._encode(batch)
                    batch = []
                    self._stage(files[-1])
                    yield files[:-1]
                    del files[:-1]
            if not batch or len(files) >= COMMIT_ROWS:
                self._encode(batch)
                yield files
                files, batch = [], []
        self._encode(batch)
        yield files

    def _file(self, scope: Scope, prepared: Prepared, begun: Mapping[bytes, bytes]) -> _File:
        """A file on its way, with what an earlier run did of it if its content is the same."""
        source, path = prepared.source, prepared.known.file.path
        if source is None:
            return _File(prepared)
        place = staging.Place(scope.root_id, path, self.space.id, source.sha256)
        done = staging.keys(self.catalog.reader, place) if begun.get(path) == source.sha256 else iter(())
        return _File(prepared, place, done)

    def _stage(self, file: _File) -> None:
        """Commit what is encoded of a long file, so that it need not be held."""
        if len(file.results) < staging.AT_ONCE or file.place is None:
            return
        failures = [result for result in file.results if isinstance(result, MediaError)]
        if not failures:
            vectors = [result for result in file.results if not isinstance(result, MediaError)]
            keys = [staging.key(piece.span, piece.detail) for piece in file.pieces]
            staging.stage(self.catalog, file.place, file.staged, keys, np.stack(vectors))
            file.staged += len(keys)
        file.pieces.clear()
        file.results[:] = failures[:1]

    def _encode(self, batch: Sequence[tuple[_File, Piece]]) -> None:
        """Give every file the results of its pieces, in order."""
        results: dict[int, FloatArray | MediaError] = {}
        for modality in {piece.modality for _, piece in batch}:
            places = [place for place, (_, piece) in enumerate(batch) if piece.modality is modality]
            vectors = encode_each(self.encoder, [batch[place][1].content for place in places], modality)
            results.update(zip(places, vectors, strict=True))
        for place, (file, _) in enumerate(batch):
            file.results.append(results[place])

    def _records(self, scope: Scope, files: Sequence[_File]) -> list[tuple[Prepared, Record]]:
        """How files ended; one that has gone since it was listed is counted, and one that was broken off is left."""
        records = []
        for file in files:
            prepared, known = file.prepared, file.prepared.known
            record = file.record()
            if record is not None:
                records.append((prepared, record))
            elif prepared.left or prepared.flow is not None:
                continue
            elif known.item_id is not None:
                self.catalog.mark_gone([known.item_id])  # the sweep counts it
            else:
                self.summary.add(os.path.join(scope.root, known.file.path), State.MISSING, None)
        return records

    def _commit(self, scope: Scope, ready: Sequence[tuple[Prepared, Record]]) -> None:
        """Write a batch of records; nothing is counted before it is committed."""
        kept = [(prepared, record) for prepared, record in ready if not self._holds_back(prepared, record)]
        self._keep_displaced(kept)
        self.catalog.write_batch(scope.root_id, self.space.id, [record for _, record in kept])
        captions = [record.file.path for _, record in kept if record.reason == REASON]
        captions_of.refresh(self.catalog, scope, captions, self._decode, self.encoder.spec)
        captions_of.retire(self.catalog, scope, [record.file.path for _, record in kept if record.caption is not None])
        for prepared, record in ready:
            path = os.path.join(scope.root, record.file.path)
            if record.write is Write.TOUCH:
                self.summary.unchanged += 1
            elif record.state is not State.OK:
                self.summary.add(path, record.state, record.reason)
            else:
                self._count(prepared.known, "reused" if prepared.reused else "")
        self.held_back += len(ready) - len(kept)
        self._progress(self.summary)

    def _keep_displaced(self, ready: Sequence[tuple[Prepared, Record]]) -> None:
        """What is about to be overwritten may be the content of a file that is still to come."""
        for known, record in ((prepared.known, record) for prepared, record in ready):
            if known.item_id is None or known.sha256 is None or not known.encoded or record.write is not Write.REPLACE:
                continue
            if (donation := self.catalog.reader.donation(known.item_id, self.space)) is not None:
                self._displaced.keep(known.sha256, known.file.path, donation)

    def _holds_back(self, prepared: Prepared, record: Record) -> bool:
        """Whether a failure must not touch what is known: the file is as it was, or could not be read just now."""
        known = prepared.known
        indexed = known.state in (State.OK, State.PARTIAL)
        failed = record.state not in (State.OK, State.PARTIAL)
        return indexed and failed and (known.same or record.state is State.TRANSIENT)

    def _count(self, known: Known, name: str) -> None:
        name = name or ("added" if known.item_id is None else "updated")
        setattr(self.summary, name, getattr(self.summary, name) + 1)

    def _sweep(self, scope: Scope) -> None:
        """Mark as missing what was not listed and is not there. Being there unlisted (a new ignore rule) is fine."""
        unlisted = self.catalog.unlisted(scope.root_id, scope.start)
        follow = self.options.follow_links
        gone = [(item_id, path) for item_id, path in unlisted if presence.is_gone(scope.root, path, follow)]
        if not self.options.dry_run:
            self.catalog.mark_gone([item_id for item_id, _ in gone])
            captions = (path for _, path in gone if may_be_caption(path))
            captions_of.refresh(self.catalog, scope, captions, self._decode, self.encoder.spec)
            self.summary.missing += self.catalog.count_gone(scope.root_id, scope.start)
        else:
            self.summary.missing += len(gone) + self.catalog.count_gone(scope.root_id, scope.start)

    def _record_unread(self, scope: Scope) -> None:
        """Let `errors` name what could not be read; the sweep has dropped what earlier runs noted, if it can be now."""
        known = "SELECT 1 FROM item WHERE root_id = ? AND path = ?"
        fresh = dict(one for one in self._unread if not self.catalog.reader.query(known, (scope.root_id, one[0])))
        records = [
            Record(file=FileStat(path, 0, 0, 0), state=State.TRANSIENT, reason=reason) for path, reason in fresh.items()
        ]
        self.catalog.write_batch(scope.root_id, self.space.id, records)


@dataclass(slots=True, eq=False)
class _File:
    """A file and what became of its pieces so far."""

    prepared: Prepared
    place: staging.Place | None = None
    done: Iterator[staging.Key] = field(default_factory=lambda: iter(()))
    """What an earlier run did of it."""
    staged: int = 0
    pieces: list[Piece] = field(default_factory=list)
    results: list[FloatArray | MediaError] = field(default_factory=list)
    failure: MediaError | None = None

    def __iter__(self) -> Iterator[Piece]:
        """Its pieces; kept are only their places."""
        try:
            for piece in self.prepared.flow or ():
                if next(self.done, None) == staging.key(piece.span, piece.detail):
                    self.staged += 1
                    continue
                self.done = iter(())  # that was all, or it is decoded in another way now
                self.pieces.append(replace(piece, content=""))
                yield piece
        except MediaError as error:
            self.failure = error

    def record(self) -> Record | None:
        """None: it is gone, or the run was stopped before its end."""
        prepared, flow = self.prepared, self.prepared.flow
        if self.failure is not None:
            return failed(prepared.known, prepared.known.file, self.failure)
        if flow is not None and flow.ending is not None:
            return encoded(prepared, flow.ending, self.pieces, self.results, self.staged)
        return prepared.record
