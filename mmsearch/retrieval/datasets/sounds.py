"""Sets of sounds with captions: Clotho (``file_name,caption_1,...,caption_5``) and AudioCaps (a caption a row).

    clotho_captions_evaluation.csv    Santa Motor.wav,A machine whines,...
    test.csv                          audiocap_id,youtube_id,start_time,caption

A clip of AudioCaps is looked for as ``YOUTUBE_ID_START.wav``, ``YOUTUBE_ID.wav``, ``YYOUTUBE_ID.wav`` or
``AUDIOCAP_ID.wav`` (or .flac, .ogg, .mp3, .m4a): every downloader names them in its own way.
"""

from __future__ import annotations

import os

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request
from mmsearch.retrieval.datasets.files import first_line, table

_KINDS = ("wav", "flac", "ogg", "mp3", "m4a")


def read_clotho(request: Request, draft: Draft) -> None:
    _no_split(request)
    draft.split = os.path.splitext(os.path.basename(request.path))[0].rpartition("_")[2]
    for line, row in table(request.path, draft):
        document = draft.document(row.get("file_name", ""), request.path, line)
        for key, text in row.items():
            if key.startswith("caption_"):
                draft.caption(document, text, request.path, line)


def read_audiocaps(request: Request, draft: Draft) -> None:
    _no_split(request)
    draft.split = os.path.splitext(os.path.basename(request.path))[0]
    folder = request.images or os.path.dirname(os.path.abspath(request.path))
    there = {name for name in os.listdir(folder) if name.endswith(_KINDS)} if os.path.isdir(folder) else set()
    for line, row in table(request.path, draft):
        video, start, number = (row.get(key, "") for key in ("youtube_id", "start_time", "audiocap_id"))
        names = [f"{stem}.{kind}" for stem in (f"{video}_{start}", video, f"Y{video}", number) for kind in _KINDS]
        name = next((name for name in names if name in there), names[0])
        draft.caption(draft.document(name, request.path, line, again=True), row.get("caption"), request.path, line)


def _no_split(request: Request) -> None:
    if request.split:
        raise UsageError(f"{request.path} is one split: leave --split out, and name the file of {request.split!r}")


def _columns(path: str) -> set[str]:
    return {name.strip() for name in first_line(path).split(",")} if path.endswith(".csv") else set()


CLOTHO = Format(
    name="clotho",
    layout="clotho_captions_evaluation.csv and --images with its sounds",
    recognises=lambda path: _columns(path) >= {"file_name", "caption_1"},
    read=read_clotho,
    known=(
        Known(
            "clotho v2.1",
            "zenodo.org/record/4783391",
            "captions: Tampere University licence (non-commercial), sounds: each its own (Freesound)",
            "1,045 evaluation clips x 5 captions",
        ),
    ),
)
AUDIOCAPS = Format(
    name="audiocaps",
    layout="test.csv and --images with the clips",
    recognises=lambda path: _columns(path) >= {"youtube_id", "start_time", "caption"},
    read=read_audiocaps,
    known=(
        Known(
            "audiocaps",
            "github.com/cdjkim/audiocaps; sounds: AudioSet's videos",
            "captions: academic use; sounds: their makers'",
            "test: 975 clips x 5 captions, those that are still online",
        ),
    ),
)
