"""Crossmodal-3600: ``captions.jsonl``, captions in 36 languages.

{"image/key": "000411001ff7dd4f", "image/locale": "bn", "en": {"caption": ["..."], "caption/tokenized": [...]}, ...}
"""

from __future__ import annotations

import os

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request
from mmsearch.retrieval.datasets.files import first_line, json_lines


def read(request: Request, draft: Draft) -> None:
    path = os.path.join(request.path, "captions.jsonl") if os.path.isdir(request.path) else request.path
    if request.split:
        raise UsageError(f"{path} has no splits: leave --split out")
    draft.captions = request.captions or "en"
    languages: set[str] = set()
    for line, row in json_lines(path, draft):
        languages |= {key for key, value in row.items() if isinstance(value, dict)}
        document = draft.document(f"{row.get('image/key')}.jpg", path, line)
        captions = row.get(draft.captions)
        for text in captions.get("caption", []) if isinstance(captions, dict) else []:
            draft.caption(document, text, path, line)
    if languages and draft.captions not in languages:
        raise UsageError(f"{path}: no captions in {draft.captions!r}: there are {', '.join(sorted(languages))}")


def _recognises(path: str) -> bool:
    file = os.path.join(path, "captions.jsonl") if os.path.isdir(path) else path
    return '"image/key"' in first_line(file)


FORMAT = Format(
    name="xm3600",
    layout="captions.jsonl and --images with KEY.jpg; --captions LANGUAGE",
    recognises=_recognises,
    read=read,
    known=(
        Known(
            "crossmodal-3600",
            "google.github.io/crossmodal-3600",
            "captions CC BY 4.0, photos: each its own (Open Images)",
            "3,600 photos, 261,375 captions in 36 languages",
        ),
    ),
)
