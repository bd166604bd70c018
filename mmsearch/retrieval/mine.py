"""Your own files as a benchmark: what is written beside them and in them is what is asked.

Every line of ``1.txt`` or ``1.jpg.txt`` beside ``1.jpg`` is a question, and so is every row of a folder's
``captions.csv`` or ``captions.jsonl``. What else the last `index` found, a title and keywords in JSON, XMP or the photo
itself, is one question together.
"""

from __future__ import annotations

import os

from mmsearch.errors import UsageError
from mmsearch.media import text_captions
from mmsearch.retrieval.datasets.base import Dataset, Draft, Request
from mmsearch.store.reader import Reader

CAPTIONED = (
    "SELECT id, caption FROM item WHERE caption IS NOT NULL AND modality <> 'text' AND gone IS NULL "
    "AND state IN ('ok', 'partial')"
)


def read(reader: Reader) -> Dataset:
    """The captions of all files of a library as a set. Raises ``UsageError`` if there are none."""
    draft = Draft(Request(path=os.curdir, scratch=os.curdir))
    draft.captions = "mine"
    captions = {item_id: str(caption).splitlines() for item_id, caption in reader.query(CAPTIONED)}
    if not captions:
        raise UsageError(
            "no captions of your files are known: put them into 1.txt beside 1.jpg, one a line, and index them again"
        )
    for item in reader.items():
        if item.id not in captions:
            continue
        path, said = os.fsdecode(item.path), captions[item.id]
        document = draft.document(path, path, 0, path=path)
        draft.add_revision("\n".join([path, *said]).encode("utf-8", "surrogateescape"))
        own = [line for line in text_captions.sentences(item.path) if line in said]
        rest = " ".join(line for line in said if line not in own)
        for text in [*own, *([rest] if rest else [])]:
            draft.caption(document, text, path, 0)
    return draft.finish("mine", "captions")
