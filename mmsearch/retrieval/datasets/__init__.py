"""Benchmark sets in their own file formats: which there are, which one a path is, and reading it.

Built-in formats are a table here; others come from the entry-point group ``mmsearch.datasets``, each a `base.Format`.
Nothing is ever downloaded.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import cast

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Dataset, Draft, Format, Known, Request
from mmsearch.retrieval.datasets.files import first_line

GROUP = "mmsearch.datasets"
BUILTIN = {
    "karpathy": "mmsearch.retrieval.datasets.karpathy:FORMAT",
    "coco": "mmsearch.retrieval.datasets.coco:FORMAT",
    "xm3600": "mmsearch.retrieval.datasets.xm3600:FORMAT",
    "flickr8k": "mmsearch.retrieval.datasets.flickr8k:FORMAT",
    "clotho": "mmsearch.retrieval.datasets.sounds:CLOTHO",
    "audiocaps": "mmsearch.retrieval.datasets.sounds:AUDIOCAPS",
    "esc50": "mmsearch.retrieval.datasets.classes:ESC50",
    "beir": "mmsearch.retrieval.datasets.trec:BEIR",
    "qrels": "mmsearch.retrieval.datasets.trec:QRELS",
    "webdataset": "mmsearch.retrieval.datasets.webdataset:FORMAT",
    "plain": "mmsearch.retrieval.datasets.plain:FORMAT",
    "folders": "mmsearch.retrieval.datasets.classes:FOLDERS",
}
"""In the order in which a path is offered to them: the particular before the plain."""

YOURS = Known("your own", "you", "yours", "any")


def formats() -> list[Format]:
    """Every format, the plug-ins' after the built-in ones."""
    from importlib.metadata import entry_points

    builtin = [_load(target) for target in BUILTIN.values()]
    plugins = [point.load() for point in entry_points(group=GROUP) if point.name not in BUILTIN]
    return builtin + [cast(Format, plugin) for plugin in plugins]


def read(request: Request) -> Dataset:
    """The set at ``request.path``; ``FORMAT:PATH`` names the format where the path does not tell it.

    Raises ``UsageError`` for a path that is no set, an empty set, a split or captions that are not there.
    """
    known = formats()
    named, colon, rest = request.path.partition(":")
    chosen = next((one for one in known if colon and one.name == named), None)
    path = rest if chosen else request.path
    if not os.path.exists(path):
        raise UsageError(
            f"{path}: no such file or folder: nothing is downloaded, `mmsearch evaluate --list` says what is"
        )
    if not os.path.isfile(path) and not os.path.isdir(path):
        raise UsageError(f"{path} is neither a file nor a folder")
    if request.images is not None and not os.path.isdir(request.images):
        raise UsageError(f"--images {request.images}: no such folder")
    chosen = chosen or next((one for one in known if one.recognises(path)), None)
    if chosen is None:
        raise UsageError(f"{path}: {_unknown(path)}: `mmsearch evaluate --list` shows the layouts")
    request = Request(
        path=path, images=request.images, split=request.split, captions=request.captions, scratch=request.scratch
    )
    draft = Draft(request)
    chosen.read(request, draft)
    if request.captions and not draft.captions:
        raise UsageError(f"{path}: there is no choice of captions in {chosen.name}: leave --captions out")
    return draft.finish(os.path.basename(os.path.abspath(path)), chosen.name)


def _unknown(path: str) -> str:
    """Why a path is no set, as far as can be told."""
    if os.path.isdir(path):
        return "no known set in this folder (captions beside your own files: --mine)"
    try:
        with open(path, "rb") as file:
            if not file.read(1):
                return "empty"
    except OSError as error:
        return (error.strerror or "cannot be read").lower()
    if path.lower().endswith((".csv", ".tsv")):
        return f"no known set, as line 1 names no column like `path` or `image`: {first_line(path)[:80]!r}"
    return "no known set"


def _load(target: str) -> Format:
    module, name = target.split(":")
    return cast(Format, getattr(import_module(module), name))
