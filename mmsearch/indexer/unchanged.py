"""Whether a run would find anything to do, seen by reading alone: most runs over one's photos find nothing.

It costs neither SQLAlchemy nor a decoder, which take longer to import than thousands of files to compare. Only where
every answer is plain does it answer; in all other cases the run itself does.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice

from mmsearch.errors import MMSearchError
from mmsearch.indexer.options import Options
from mmsearch.indexer.scan import LISTED, listed
from mmsearch.indexer.summary import Summary
from mmsearch.store import artifacts, layout, presence
from mmsearch.store.compare import Known, Look
from mmsearch.store.lock import WriterLock
from mmsearch.store.reader import Reader, Space, is_below
from mmsearch.types import Encoder, EncoderSpec, FileStat


def look(
    folder: str, paths: Sequence[bytes], load: Callable[[str], Encoder], model: str | None, options: Options
) -> Summary | None:
    """The summary of a run over absolute folders that would change nothing, None if it might change something.

    ``load`` gives the encoder of a name; see `Library.index`. The writer's lock is held meanwhile.
    """
    started = time.perf_counter()
    if options.dry_run or not paths or not layout.holds_library(folder):
        return None
    try:
        with WriterLock(folder), closing(Reader(folder)) as reader:
            space = reader.active_space()
            if space is None or not _is_whole(reader, space):
                return None
            encoder = load(model or space.model)
            summary = _compared(folder, reader, space, paths, encoder.spec, options)
    except (MMSearchError, OSError, sqlite3.Error):
        return None  # the run itself says what is wrong
    if summary is not None:
        summary.device = getattr(encoder, "device", "cpu")
        summary.seconds = time.perf_counter() - started
    return summary


def _is_whole(reader: Reader, space: Space) -> bool:
    """Whether the last run ended and left nothing to encode, no index to build and no table to change."""
    ((segments, finished, version),) = reader.query(
        "SELECT (SELECT count(*) FROM segment), (SELECT finished FROM run ORDER BY id DESC LIMIT 1), user_version "
        "FROM pragma_user_version"
    )
    whole = finished is not None and segments == reader.count(space.id) and version == layout.FORMAT
    return whole and not artifacts.is_worth(reader, space) and not artifacts.outgrown(reader, space)


def _compared(
    folder: str, reader: Reader, space: Space, paths: Sequence[bytes], spec: EncoderSpec, options: Options
) -> Summary | None:
    if (spec.space, spec.name) != (space.fingerprint, space.model):
        return None
    summary = Summary(model=spec.name, space=spec.space)
    roots = [(int(row[0]), bytes(row[1])) for row in reader.query("SELECT id, path FROM root WHERE offline = 0")]
    for path in paths:
        root_id, root = next((known for known in roots if is_below(path, known[1])), (0, b""))
        if not root or not os.path.isdir(path) or any(is_below(path, other) for other in paths if other != path):
            return None
        start, failed = path[len(root) :].lstrip(b"/"), list[bytes]()
        if not start and reader.setting(f"{presence.DEVICE}{root_id}") != presence.device(root):
            return None
        files = listed(folder, root, start, options, partial(_note, failed))
        with closing(Look(folder, root_id, start)) as catalog:
            others = _others(catalog, files, space, summary)
            if not _remember(others, root, options, spec, summary) or failed or catalog.has_unlisted():
                return None
            summary.missing += catalog.gone()
    return summary


def _note(failed: list[bytes], path: bytes, error: OSError) -> None:
    failed.append(path)


def _others(catalog: Look, files: Iterator[FileStat], space: Space, summary: Summary) -> Iterator[Known]:
    """The listed files that are not simply unchanged; those that are, are counted."""
    while chunk := list(islice(files, LISTED)):
        others = catalog.compare(chunk, space.id)
        summary.unchanged += len(chunk) - len(others)
        yield from others


def _remember(others: Iterator[Known], root: bytes, options: Options, spec: EncoderSpec, summary: Summary) -> bool:
    """Whether what is known of all of these still holds; they are counted."""
    for known in others:
        from mmsearch.indexer.remembered import remembered  # with it come the formats, which few runs need

        if not remembered(known, root, options.retry, spec, summary):
            return False
    return True
