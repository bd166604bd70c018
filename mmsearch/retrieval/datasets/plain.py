"""The plain formats: JSONL (or a JSON list) with one object a file, and CSV with one row a caption (or a file).

    {"image": "1.jpg", "en": ["a dog", "a brown dog"], "zh": ["一只狗"], "split": "test"}

    path,caption
    1.jpg,a dog

The file stands under ``image``, ``audio``, ``video``, ``path`` or another of ``FILE_KEYS``. Every other key with a
text or a list of texts holds captions; ``--captions`` chooses among them, without it ``en`` is taken first. ``label``
instead of captions makes it a set of classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Request, choose_split
from mmsearch.retrieval.datasets.files import first_line, json_lines, objects, table, whole_json

FILE_KEYS = ("image", "audio", "video", "file", "file_name", "filename", "path", "filepath")
CAPTION_KEYS = ("en", "captions", "caption", "text", "title", "sentences")
_OURS = {*FILE_KEYS, "split", "label", "id", "licence", "license", "source"}

Row = tuple[int, Mapping[str, Any]]


def read(request: Request, draft: Draft) -> None:
    path = request.path
    rows: Iterable[Row]
    if path.lower().endswith((".jsonl", ".ndjson")):
        rows = json_lines(path, draft)
    elif path.lower().endswith(".json"):
        rows = objects(whole_json(path, draft), "", path, draft)
    else:
        rows = table(path, draft, _delimiter(path))
    named: list[Row] = [(line, {_known(key): value for key, value in row.items()}) for line, row in rows]
    once = "json" in os.path.splitext(path)[1].lower()
    _fill(request, draft, list(_of_split(request, draft, named)), once=once)


def _known(key: str) -> str:
    """A key of ours, however it is written: ``Path`` is ``path``."""
    return key.lower() if key.lower() in _OURS else key


def _fill(request: Request, draft: Draft, rows: list[Row], *, once: bool) -> None:
    """Fill the draft from rows; ``once``: a file that occurs twice is a problem, not another caption."""
    key = _caption_key(request, rows)
    draft.captions = key or ""
    draft.labelled = key is None
    for line, row in rows:
        name = next((row[k] for k in FILE_KEYS if isinstance(row.get(k), str) and row[k]), None)
        if name is None:
            draft.problem(request.path, line, f"names no file (looked for {', '.join(FILE_KEYS)})")
            continue
        if key is None:
            label = str(row.get("label") or "").strip()
            draft.document(name, request.path, line, label=label or None)
            continue
        document = draft.document(name, request.path, line, again=not once)
        texts = row.get(key, [])
        for text in texts if isinstance(texts, list) else [texts]:
            draft.caption(document, text, request.path, line)


def _of_split(request: Request, draft: Draft, rows: list[Row]) -> Iterator[Row]:
    names = {str(row["split"]) for _, row in rows if row.get("split")}
    if not names:
        if request.split:
            raise UsageError(f"{request.path} has no splits: leave --split out")
        yield from rows
        return
    draft.split = choose_split(request.split, names)
    yield from ((line, row) for line, row in rows if row.get("split") == draft.split)


def _caption_key(request: Request, rows: list[Row]) -> str | None:
    """Under which key the captions stand; None for a set of labels."""
    keys = dict.fromkeys(key for _, row in rows for key, value in row.items() if key not in _OURS and _is_texts(value))
    if request.captions is not None:
        if request.captions not in keys:
            there = ", ".join(keys) or "none"
            raise UsageError(f"{request.path}: no captions {request.captions!r}: there are {there}")
        return request.captions
    if not keys and any(row.get("label") for _, row in rows):
        return None
    return next((key for key in CAPTION_KEYS if key in keys), next(iter(keys), CAPTION_KEYS[0]))


def _is_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value))


def _delimiter(path: str) -> str:
    return max("\t;,", key=first_line(path).count)


def _recognises(path: str) -> bool:
    if not os.path.isfile(path):
        return False
    match os.path.splitext(path)[1].lower():
        case ".jsonl" | ".ndjson":
            return True
        case ".json":
            return first_line(path).startswith("[")
        case ".csv" | ".tsv":
            header = {name.strip().strip('"').lower() for name in first_line(path).split(_delimiter(path))}
            return bool(header & set(FILE_KEYS))
    return False


FORMAT = Format(
    name="plain",
    layout='FILE.jsonl: {"image": "1.jpg", "en": ["..."], "zh": ["..."]} a line; FILE.csv: path,caption or path,label',
    recognises=_recognises,
    read=read,
)
