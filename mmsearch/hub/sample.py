"""What models are measured on: photos with captions from a file, or photos that a library knows."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from mmsearch.errors import UsageError
from mmsearch.hub.measure import Sample
from mmsearch.store.reader import Reader

CAPTION_KEYS = ("caption", "captions", "en", "text")


def from_captions(path: str, folder: str | None, count: int) -> Sample:
    """Photos and captions of a JSON-lines file: an object a photo with ``image`` and a caption or a list of them.

    ``folder`` is where the images lie, the file's own if None; the first ``count`` photos are taken. Raises
    ``UsageError`` naming the line that can't be used.
    """
    folder = folder or os.path.dirname(os.path.abspath(path))
    photos: list[str] = []
    questions: list[tuple[str, int]] = []
    try:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if len(photos) < count and line.strip():
                    image, captions = _entry(line, f"{path}, line {number}")
                    questions += [(text, len(photos)) for text in captions]
                    photos.append(os.path.join(folder, image))
                    if not os.path.isfile(photos[-1]):
                        raise UsageError(f"{path}, line {number}: there is no {photos[-1]}: --images DIR")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: {error}") from None
    if not photos:
        raise UsageError(f"{path} holds no captions")
    return Sample(tuple(photos), tuple(questions))


def _entry(line: str, where: str) -> tuple[str, list[str]]:
    try:
        entry: dict[str, Any] = json.loads(line)
        found = next(entry[key] for key in CAPTION_KEYS if key in entry)
        captions = [found] if isinstance(found, str) else list(found)
        return str(entry["image"]), [str(text) for text in captions]
    except (ValueError, TypeError, KeyError, StopIteration):
        raise UsageError(f"{where}: needs `image` and one of {', '.join(CAPTION_KEYS)}") from None


def from_library(reader: Reader, count: int) -> Sample:
    """``count`` photos of a library, the same ones for every model, with their captions if they have any.

    Raises ``UsageError`` for a library without photos that are there.
    """
    rows = reader.query(
        "SELECT r.path, i.path, i.caption FROM item i JOIN root r ON r.id = i.root_id "
        "WHERE i.modality = 'image' AND i.state = 'ok' AND i.gone IS NULL ORDER BY i.id"
    )
    there = [(os.path.join(os.fsdecode(root), os.fsdecode(path)), text) for root, path, text in rows]
    if not there:
        raise UsageError("this library has no photos to measure with: mmsearch index FOLDER")
    chosen = np.random.default_rng(0).permutation(len(there))[:count]
    photos = [there[i] for i in sorted(chosen.tolist())]
    questions = [(str(text), number) for number, (_, text) in enumerate(photos) if text]
    return Sample(tuple(path for path, _ in photos), tuple(questions))
