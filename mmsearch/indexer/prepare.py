"""One file, in a worker thread: read, recognise, and decode if nothing like it was encoded before.

What comes of it is a `Record` for the catalog.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mmsearch.errors import MediaError, Transient, Unsupported
from mmsearch.indexer.displaced import Displaced
from mmsearch.media.files import Source, Stopped, read
from mmsearch.media.pieces import Ending, Piece, Pieces
from mmsearch.media.sniff import format_named
from mmsearch.media.text_captions import REASON, beside, is_caption
from mmsearch.store.catalog import Known, Record, Write
from mmsearch.store.reader import Reader, Space
from mmsearch.types import EncoderSpec, FileStat, FloatArray, Modality, State, signed

if TYPE_CHECKING:
    from mmsearch.indexer.flow import Flow

Decode: TypeAlias = Callable[[Source, EncoderSpec], Pieces]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file on its way: either with ``pieces`` to be encoded, which ``flow`` in, or with a ``record`` already.

    None of them: the file is gone. ``source`` has no bytes any more: a window of them would be 100s of MB.
    """

    known: Known
    source: Source | None = None
    pieces: Pieces | None = None
    flow: Flow | None = None
    record: Record | None = None
    caption: str | None = None
    reused: bool = False
    left: bool = False
    """The run was stopped before its end: what is known of it stays as it is."""


class Preparer:
    """Called from several threads at once; each has its own connection to the catalog."""

    def __init__(
        self,
        folder: str,
        root: bytes,
        space: Space,
        spec: EncoderSpec,
        decode: Decode,
        follow_links: bool,
        displaced: Displaced,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._folder, self._root, self._space, self._spec = folder, root, space, spec
        self._decode, self._follow_links, self._displaced = decode, follow_links, displaced
        self._stopped = stopped
        self._local = threading.local()
        self._readers: list[Reader] = []

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def __call__(self, known: Known) -> Prepared:
        path = self._path(known)
        if is_caption(path):
            return Prepared(known, record=failed(known, known.file, Unsupported(REASON)))
        try:
            source = read(path, self._spec, follow_links=self._follow_links, stopped=self._stopped)
            return self._recognise(known, source)
        except Stopped:
            return Prepared(known, left=True)
        except FileNotFoundError:
            return Prepared(known)
        except MediaError as error:
            return Prepared(known, record=failed(known, known.file, error))

    def _path(self, known: Known) -> bytes:
        return os.path.join(self._root, known.file.path)

    def _recognise(self, known: Known, source: Source) -> Prepared:
        file = _as_read(known, source)
        identity = Source(b"", source.sha256, source.size, source.mtime_ns, source.inode)
        same = known.sha256 == source.sha256 and known.state in (State.OK, State.PARTIAL)
        if same and known.encoded:
            touch = Record(file=file, state=State.OK, write=Write.TOUCH, item_id=known.item_id)
            return Prepared(known, identity, record=touch)
        donated = self._donated(known, file, source.sha256, same)
        if donated is not None:
            return Prepared(known, identity, record=donated, reused=True)
        return Prepared(known, identity, self._decode(source, self._spec), caption=beside(self._path(known)))

    def _donated(self, known: Known, file: FileStat, sha256: bytes, same: bool) -> Record | None:
        """A record with the vectors of a file with the same content, if there is one."""
        reader = self._reader()
        named = format_named(known.file.path)

        def fits(modality: str, path: bytes) -> bool:
            return modality != Modality.TEXT or format_named(path) == named  # a table is read in another way than prose

        with reader.snapshot():
            item_id = reader.donor(sha256, self._space.id, fits)
            donor = None if item_id is None else reader.donation(item_id, self._space)
        donor = donor or self._displaced.get(sha256, fits)
        if donor is None:
            return None
        return Record(
            file=file,
            state=donor.state,
            reason=donor.reason,
            write=Write.FILL if same else Write.REPLACE,
            item_id=known.item_id,
            sha256=sha256,
            modality=donor.modality,
            facts=donor.facts,
            spans=donor.spans,
            details=donor.details,
            caption=beside(self._path(known)) or donor.caption,
            vectors=donor.vectors,
        )

    def _reader(self) -> Reader:
        if not hasattr(self._local, "reader"):
            self._local.reader = Reader(self._folder)
            self._readers.append(self._local.reader)
        reader: Reader = self._local.reader
        return reader


def _as_read(known: Known, source: Source) -> FileStat:
    """With the time of change as it was when the file was listed: a change between the two is seen by the next run."""
    numbers = signed(source.size), signed(source.mtime_ns), signed(source.inode)
    return FileStat(known.file.path, *numbers, known.file.ctime_ns)


def failed(known: Known, file: FileStat, error: MediaError) -> Record:
    """The record of a file that has no vectors, and why."""
    match error:
        case Transient():
            state = State.TRANSIENT
        case Unsupported():
            state = State.SKIPPED
        case _:
            state = State.REJECTED
    return Record(file=file, state=state, reason=str(error), item_id=known.item_id)


def encoded(
    prepared: Prepared,
    ending: Ending,
    pieces: Sequence[Piece],
    results: Sequence[FloatArray | MediaError],
    staged: int = 0,
) -> Record:
    """The record of a decoded file whose pieces (their content is not needed) were encoded to ``results``.

    So many pieces before them are ``staged``.
    """
    known, source = prepared.known, prepared.source
    assert source is not None
    file = _as_read(known, source)
    vectors = []
    for result in results:
        if isinstance(result, MediaError):
            return failed(known, file, result)
        vectors.append(result)
    same = known.sha256 == source.sha256 and known.state in (State.OK, State.PARTIAL)
    return Record(
        file=file,
        state=State.PARTIAL if ending.partial else State.OK,
        reason=ending.partial,
        write=Write.FILL if same else Write.REPLACE,
        item_id=known.item_id,
        sha256=source.sha256,
        modality=ending.modality,
        facts=ending.facts,
        spans=tuple(piece.span for piece in pieces),
        details=tuple(piece.detail for piece in pieces),
        caption=prepared.caption or ending.caption,
        vectors=np.stack(vectors) if vectors else None,
        staged=staged,
    )
