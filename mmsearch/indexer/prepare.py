"""One file, in a worker thread: read, recognise, and decode if nothing like it was encoded before."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmsearch.errors import MediaError, Rejected, Transient, Unsupported
from mmsearch.media.decode import Decoded, decode
from mmsearch.media.files import Source, read
from mmsearch.store.catalog import Known, Record, Write
from mmsearch.store.reader import Reader, Space
from mmsearch.types import EncoderSpec, FileStat, FloatArray, State


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file on its way: either ``decoded``, to be encoded, or with a ``record`` that needs no encoder.

    ``record`` None and ``decoded`` None: the file is gone.
    """

    known: Known
    source: Source | None = None
    decoded: Decoded | None = None
    record: Record | None = None
    reused: bool = False


class Preparer:
    """Called from several threads at once; each has its own connection to the catalog."""

    def __init__(self, folder: str, root: bytes, space: Space, spec: EncoderSpec, follow_links: bool) -> None:
        self._folder, self._root, self._space, self._spec = folder, root, space, spec
        self._follow_links = follow_links
        self._local = threading.local()
        self._readers: list[Reader] = []

    def close(self) -> None:
        for reader in self._readers:
            reader.close()

    def __call__(self, known: Known) -> Prepared:
        try:
            source = read(os.path.join(self._root, known.file.path), follow_links=self._follow_links)
            return self._recognise(known, source)
        except FileNotFoundError:
            return Prepared(known)
        except Transient as error:
            return Prepared(known, record=_failed(known, known.file, State.TRANSIENT, str(error)))
        except Unsupported as error:
            return Prepared(known, record=_failed(known, known.file, State.SKIPPED, str(error)))
        except Rejected as error:
            return Prepared(known, record=_failed(known, known.file, State.REJECTED, str(error)))

    def _recognise(self, known: Known, source: Source) -> Prepared:
        file = FileStat(known.file.path, source.size, source.mtime_ns, source.inode)
        # The source's bytes are dropped as soon as it is decoded: a window of them would be 100s of MB.
        identity = Source(b"", source.sha256, source.size, source.mtime_ns, source.inode)
        same = known.sha256 == source.sha256 and known.state in (State.OK, State.PARTIAL)
        if same and known.encoded:
            touch = Record(file=file, state=State.OK, write=Write.TOUCH, item_id=known.item_id)
            return Prepared(known, identity, record=touch)
        donated = self._donated(known, file, source.sha256, same)
        if donated is not None:
            return Prepared(known, identity, record=donated, reused=True)
        return Prepared(known, identity, decoded=decode(source, self._spec))

    def _donated(self, known: Known, file: FileStat, sha256: bytes, same: bool) -> Record | None:
        """A record with the vectors of a file with the same content, if there is one."""
        reader = self._reader()
        with reader.snapshot():
            item_id = reader.donor(sha256, self._space.id)
            donor = None if item_id is None else reader.donation(item_id, self._space)
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
            vectors=donor.vectors,
        )

    def _reader(self) -> Reader:
        if not hasattr(self._local, "reader"):
            self._local.reader = Reader(self._folder)
            self._readers.append(self._local.reader)
        reader: Reader = self._local.reader
        return reader


def _failed(known: Known, file: FileStat, state: State, reason: str) -> Record:
    return Record(file=file, state=state, reason=reason, item_id=known.item_id)


def encoded(prepared: Prepared, results: Sequence[FloatArray | MediaError]) -> Record:
    """The record of a decoded file whose pieces were encoded to ``results``."""
    known, decoded, source = prepared.known, prepared.decoded, prepared.source
    assert decoded is not None and source is not None
    file = FileStat(known.file.path, source.size, source.mtime_ns, source.inode)
    vectors = []
    for result in results:
        if isinstance(result, MediaError):
            state = State.TRANSIENT if isinstance(result, Transient) else State.REJECTED
            return _failed(known, file, state, str(result))
        vectors.append(result)
    same = known.sha256 == source.sha256 and known.state in (State.OK, State.PARTIAL)
    return Record(
        file=file,
        state=State.PARTIAL if decoded.partial else State.OK,
        reason=decoded.partial,
        write=Write.FILL if same else Write.REPLACE,
        item_id=known.item_id,
        sha256=source.sha256,
        modality=decoded.modality,
        facts=decoded.facts,
        spans=tuple(piece.span for piece in decoded.pieces),
        vectors=np.stack(vectors),
    )
