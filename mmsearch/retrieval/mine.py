"""Your own files as a benchmark: the captions that stand beside them are the questions.

A caption stands in a file of the same name that ends in ``.txt`` (``1.txt`` or ``1.jpg.txt`` beside ``1.jpg``), one a
line.
"""

from __future__ import annotations

import os

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Dataset, Draft, Request
from mmsearch.retrieval.datasets.files import lines
from mmsearch.store.reader import Reader
from mmsearch.types import Modality


def read(reader: Reader) -> Dataset:
    """The captions beside all files of a library as a set. Raises ``UsageError`` if there are none."""
    draft = Draft(Request(path=os.curdir, scratch=os.curdir))
    draft.captions = "sidecar"
    for item in reader.items():
        if item.modality in (None, Modality.TEXT) or item.state not in ("ok", "partial"):
            continue
        path = os.fsdecode(item.path)
        beside = next((f for f in (f"{os.path.splitext(path)[0]}.txt", f"{path}.txt") if os.path.isfile(f)), None)
        if beside is not None:
            document = draft.document(path, beside, 0, path=path)
            for number, line in lines(beside, draft):
                draft.caption(document, line, beside, number)
    try:
        return draft.finish("mine", "sidecar")
    except UsageError:
        raise UsageError("no captions beside your files: put them into 1.txt beside 1.jpg, one a line") from None
