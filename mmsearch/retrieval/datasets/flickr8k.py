"""Flickr8k's own files, Flickr30k's token file, and Flickr8k-CN, whose captions are marked with their language.

    Flickr8k.token.txt          1000.jpg#0<TAB>A dog .
    flickr8kzhc.caption.txt     1000.jpg#zhc#0 一只狗。
    Flickr_8k.testImages.txt    1000.jpg

``--split test`` reads the file with that split's names beside the captions: ``*test*.txt`` with one name a line.
"""

from __future__ import annotations

import os
import re

from mmsearch.errors import UsageError
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request, choose_split
from mmsearch.retrieval.datasets.files import first_line, lines

_LINE = re.compile(r"(?P<name>[^#\t]+)#(?:(?P<language>[a-z]+)#)?(?P<number>\d+)[\t ](?P<text>.*)")
_SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}
_LANGUAGES = {"enc": "en", "zhc": "zh", "zhb": "zh", "zhg": "zh", "zhm": "zh"}
"""Flickr8k-CN: written in Chinese; by hand, or by two translators, from the English captions."""


def read(request: Request, draft: Draft) -> None:
    path = _captions_in(request.path) if os.path.isdir(request.path) else request.path
    names = _names_of_split(request, draft, path)
    unseen = dict(names)
    for number, line in lines(path, draft):
        match = _LINE.fullmatch(line)
        if match is None:
            draft.problem(path, number, "not a line like `photo.jpg#0<TAB>caption`")
            continue
        name = match["name"]
        if names and name not in names:
            continue
        unseen.pop(name, None)
        draft.captions = match["language"] or "en"
        if request.captions and request.captions not in (draft.captions, _LANGUAGES.get(draft.captions, "")):
            raise UsageError(f"{path} has captions in {draft.captions}, not in {request.captions}")
        draft.caption(draft.document(name, path, number, again=True), match["text"], path, number)
    for name, (file, number) in unseen.items():
        draft.document(name, file, number)


def _names_of_split(request: Request, draft: Draft, path: str) -> dict[str, tuple[str, int]]:
    """The photos to read and where they are listed; empty: all."""
    folder, files = os.path.dirname(os.path.abspath(path)), {}
    for name in sorted(os.listdir(folder)):
        if "images" in name.lower() and name.endswith(".txt"):
            split = next((split for word, split in _SPLITS.items() if word in name.lower()), None)
            if split:
                files[split] = os.path.join(folder, name)
    if not files and request.split is None:
        return {}
    draft.split = choose_split(request.split, files)
    listing, names = files[draft.split], dict[str, tuple[str, int]]()
    for number, line in lines(listing, draft):
        name = line.strip()
        if name in names:
            draft.problem(listing, number, f"{name} was there before: duplicate id")
        names[name] = listing, number
    return names


def _captions_in(folder: str) -> str:
    found = [name for name in sorted(os.listdir(folder)) if _is_captions(os.path.join(folder, name))]
    if len(found) != 1:
        raise UsageError(f"{folder}: {'several files' if found else 'no file'} of captions: name one of {found}")
    return os.path.join(folder, found[0])


def _is_captions(path: str) -> bool:
    name = os.path.basename(path)
    return name.endswith((".token.txt", ".token", ".caption.txt")) and bool(_LINE.match(first_line(path)))


def _recognises(path: str) -> bool:
    if os.path.isdir(path):
        return any(_is_captions(os.path.join(path, name)) for name in os.listdir(path))
    return bool(_LINE.match(first_line(path)))


FORMAT = Format(
    name="flickr8k",
    layout="Flickr8k.token.txt with Flickr_8k.testImages.txt beside it (or flickr8kzhc.caption.txt), and --images",
    recognises=_recognises,
    read=read,
    known=(
        Known(
            "flickr8k",
            "hockenmaier.cs.illinois.edu (a form), mirrors elsewhere",
            "photos: non-commercial research and education",
            "8,091 photos x 5 captions, 1.1 GB; train 6,000, dev 1,000, test 1,000",
        ),
        Known(
            "flickr30k (token file)",
            "hockenmaier.cs.illinois.edu (a form), mirrors elsewhere",
            "photos: non-commercial research and education",
            "31,783 photos x 5 captions, 4.4 GB",
        ),
        Known(
            "flickr8k-cn",
            "github.com/li-xirong/flickr8kcn; photos of flickr8k",
            "academic (Li et al., ICMR 2016)",
            "8,000 photos x 5 Chinese captions",
        ),
    ),
)
