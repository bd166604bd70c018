"""Whether what the catalog says of a file that could not be indexed still holds, so that it need not be read."""

from __future__ import annotations

import os

from mmsearch.indexer.summary import Summary
from mmsearch.media.sniff import still_unsupported
from mmsearch.media.text_captions import REASON, is_caption
from mmsearch.store.compare import Known
from mmsearch.types import EncoderSpec, State


def remembered(known: Known, root: bytes, retry: bool, spec: EncoderSpec, summary: Summary) -> bool:
    """Counts the file if so. With ``retry``, what was rejected or skipped is looked at again."""
    path = os.path.join(root, known.file.path)
    if known.state is None or not _holds(known, path, retry, spec):
        return False
    summary.add(path, known.state, known.reason)
    return True


def _holds(known: Known, path: bytes, retry: bool, spec: EncoderSpec) -> bool:
    if not known.same or not known.present:
        return False
    match known.state:
        case State.PARTIAL:
            return known.encoded
        case State.REJECTED:
            return not retry
        case State.SKIPPED if known.reason == REASON and not is_caption(path):
            return False  # what it described is gone
        case State.SKIPPED:
            return not retry and still_unsupported(known.reason or "", spec)
        case _:
            return False
