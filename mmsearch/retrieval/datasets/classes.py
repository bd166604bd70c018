"""Sets of classes: a folder a class (ImageNet, ESC-10, your own), and ESC-50 with its table.

    ROOT/CLASS/*.jpg            or ROOT/test/CLASS/*.jpg with --split test
    ROOT/001 - Dog bark/*.ogg   ESC-10: the number is no part of the name; --split 1 is fold 1
    ROOT/n01440764_tench.JPEG   one folder, as samples of ImageNet come: the class is in the name
    ROOT/meta/esc50.csv         filename,fold,target,category,esc10,...  and ROOT/audio; --split 1 to 5, or esc10

A class is asked for as "a photo of a NAME" or "the sound of NAME". Where the folders are WordNet ids,
``LOC_synset_mapping.txt`` (a line ``n01440764 tench, Tinca tinca``) in ROOT gives their names.
"""

from __future__ import annotations

import os
import re

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request, choose_split
from mmsearch.retrieval.datasets.files import lines, table

_NUMBERED = re.compile(r"\d{3}[ _-]+(?=\D)")
_SYNSET = re.compile(r"n\d{8}_(.+)\.\w+")
_FOLD = re.compile(r"(\d)-")
_SPLITS = {"train", "val", "valid", "validation", "test"}


def read_folders(request: Request, draft: Draft) -> None:
    root, draft.labelled = request.images or request.path, True
    folders = _folders(root)
    if set(folders) <= _SPLITS:
        draft.split = choose_split(request.split, folders)
        root = os.path.join(root, draft.split)
        folders = _folders(root)
    names = _names(request.path, draft)
    numbered = all(_NUMBERED.match(folder) for folder in folders)
    wanted = request.split if numbered else None
    folds: set[str] = set()
    for folder in folders:
        label = names.get(folder) or _NUMBERED.sub("", folder, count=1)
        for file in sorted(os.listdir(os.path.join(root, folder))):
            fold = match[1] if (match := _FOLD.match(file)) else ""
            folds.add(fold)
            if file.startswith(".") or (wanted and fold != wanted):
                continue
            _found(draft, os.path.join(root, folder, file), f"{folder}/{file}", label)
    if request.split and draft.split not in {*_SPLITS, *folds}:
        raise UsageError(f"no split {request.split!r} in {root}: there are {', '.join(sorted(folds)) or 'none'}")


def read_synsets(request: Request, draft: Draft) -> None:
    if request.split:
        raise UsageError(f"{request.path} has no splits: leave --split out")
    draft.labelled = True
    for file in sorted(os.listdir(request.path)):
        if match := _SYNSET.fullmatch(file):
            _found(draft, os.path.join(request.path, file), file, match[1])


def _found(draft: Draft, path: str, name: str, label: str) -> None:
    size = os.stat(path).st_size if os.path.isfile(path) else 0
    draft.add_revision(f"{name} {size}\n".encode("utf-8", "surrogateescape"))
    draft.document(name, path, 0, path=path, label=readable(label))


def read_esc50(request: Request, draft: Draft) -> None:
    root, draft.labelled = request.path, True
    if os.path.isfile(root):
        root = os.path.dirname(os.path.dirname(os.path.abspath(root)))
    path = os.path.join(root, "meta", "esc50.csv")
    rows = list(table(path, draft, needs=("filename", "fold", "category")))
    if request.split:
        choose_split(request.split, [*(row.get("fold", "") for _, row in rows), "esc10"])
    for line, row in rows:
        if request.split not in (None, row.get("fold")) and not (
            request.split == "esc10" and row.get("esc10") == "True"
        ):
            continue
        name = row.get("filename", "")
        file = os.path.join(request.images or os.path.join(root, "audio"), name)
        draft.document(name, path, line, path=file, label=readable(row.get("category", "?")))


def readable(label: str) -> str:
    """A class as it would be said: ``Dog_bark`` -> ``dog bark``."""
    return label.replace("_", " ").strip().lower()


def _folders(root: str) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))


def _is_flat(root: str) -> bool:
    return not _folders(root) and any(_SYNSET.fullmatch(name) for name in os.listdir(root))


def _names(root: str, draft: Draft) -> dict[str, str]:
    path = os.path.join(root, "LOC_synset_mapping.txt")
    if not os.path.isfile(path):
        return {}
    rows = (line.partition(" ") for _, line in lines(path, draft))
    return {wnid: names.split(",")[0] for wnid, _, names in rows}


def _is_esc50(path: str) -> bool:
    return os.path.basename(path) == "esc50.csv" or os.path.isfile(os.path.join(path, "meta", "esc50.csv"))


ESC50 = Format(
    name="esc50",
    layout="the folder with meta/esc50.csv and audio/; --split 1 to 5, or esc10",
    recognises=_is_esc50,
    read=read_esc50,
    known=(
        Known(
            "esc-50",
            "github.com/karolpiczak/ESC-50",
            "CC BY-NC 3.0 (the ESC-10 part: CC BY 3.0)",
            "2,000 clips of 5 s, 50 classes, 0.6 GB",
        ),
    ),
)
FOLDERS = Format(
    name="folders",
    layout="ROOT/CLASS/FILE, or ROOT/SPLIT/CLASS/FILE; ROOT/n01440764_tench.JPEG",
    recognises=lambda path: os.path.isdir(path) and (bool(_folders(path)) or _is_flat(path)),
    read=lambda request, draft: (read_synsets if _is_flat(request.path) else read_folders)(request, draft),
    known=(
        Known("imagenet (val)", "image-net.org", "non-commercial research", "50,000 photos, 1,000 classes, 6.3 GB"),
        Known("esc-10 (folders)", "github.com/karolpiczak/ESC-10", "CC BY 3.0", "400 clips of 5 s, 10 classes"),
    ),
)
