"""CLIP_benchmark's webdataset tars (``wds_*``): one folder a split, numbered tars, and files that share a stem in each.

    test/0.tar: s0.jpg s0.txt     one caption a line
    test/0.tar: s0.jpg s0.cls     the number of a class, whose name is that line of classnames.txt

The photos are taken out into a scratch folder, under names of our own: a tar may hold any path.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from itertools import count
from typing import IO

from mmsearch.media.files import MAX_BYTES
from mmsearch.retrieval.datasets.base import Draft, Format, Known, Request, choose_split
from mmsearch.retrieval.datasets.files import lines

_CHUNK, _TEXT_BYTES = 1024 * 1024, 1024 * 1024
_MEDIA = ("jpg", "jpeg", "png", "webp", "wav", "flac", "mp3", "ogg", "mp4")


def read(request: Request, draft: Draft) -> None:
    names, places = _class_names(request.path, draft), (os.path.join(request.scratch, f"{n:07d}") for n in count())
    for tar in _tars(request, draft):
        for stem, parts in _samples(tar, draft, places):
            kind = next((kind for kind in _MEDIA if kind in parts), None)
            if kind is None:
                draft.problem(tar, 0, f"{stem}: no photo or sound among {', '.join(sorted(parts))}")
                continue
            name = f"{os.path.basename(tar)}/{stem}.{kind}"
            path = os.fsdecode(parts[kind])
            if "cls" in parts:
                draft.labelled = True
                draft.document(name, tar, 0, path=path, label=_label(parts["cls"], names, tar, stem, draft))
                continue
            document = draft.document(name, tar, 0, path=path)
            for text in _text(parts.get("txt", b""), tar, stem, draft).splitlines():
                draft.caption(document, text, tar, 0)


def _tars(request: Request, draft: Draft) -> list[str]:
    if os.path.isfile(request.path):
        return [request.path]
    splits = [name for name in os.listdir(request.path) if _tars_in(os.path.join(request.path, name))]
    if not splits and request.split is None:
        return _tars_in(request.path)
    draft.split = choose_split(request.split, splits)
    return _tars_in(os.path.join(request.path, draft.split))


def _tars_in(folder: str) -> list[str]:
    if not os.path.isdir(folder):
        return []
    names = [name for name in os.listdir(folder) if name.endswith(".tar")]
    return [os.path.join(folder, name) for name in sorted(names, key=lambda name: (len(name), name))]


def _samples(path: str, draft: Draft, places: Iterator[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The files of a tar, grouped by what their names share up to the first dot; as webdataset does.

    By the ends of their names: the content of texts; of photos and sounds, the one of ``places`` that they were put.
    Compressed tars are refused, and so are members with holes: so no tar takes more room than it has.
    """
    stem, parts = "", dict[str, bytes]()
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                name, _, kind = os.path.basename(member.name).partition(".")
                kind = kind.lower()
                most = MAX_BYTES if kind in _MEDIA else _TEXT_BYTES
                file = tar.extractfile(member)
                if file is None or member.issparse() or member.size > most:
                    draft.problem(path, 0, f"{name}.{kind}: left out: larger than {most // 2**20} MiB, or with holes")
                    continue
                if name != stem and parts:
                    yield stem, parts
                    parts = {}
                stem = name
                parts[kind] = (
                    _taken_out(file, f"{next(places)}.{kind}", draft) if kind in _MEDIA else _read(file, draft)
                )
    except (tarfile.TarError, OSError) as error:
        draft.problem(path, 0, f"damaged after {stem or 'its start'}: {str(error).partition(':')[0]}")
    if parts:
        yield stem, parts


def _read(file: IO[bytes], draft: Draft) -> bytes:
    data = file.read(_TEXT_BYTES)
    draft.add_revision(data)
    return data


def _taken_out(file: IO[bytes], path: str, draft: Draft) -> bytes:
    with open(path, "xb") as out:
        while data := file.read(_CHUNK):
            draft.add_revision(data)
            out.write(data)
    return os.fsencode(path)


def _class_names(path: str, draft: Draft) -> list[str]:
    file = os.path.join(path if os.path.isdir(path) else os.path.dirname(path), "classnames.txt")
    return [line.strip() for _, line in lines(file, draft)] if os.path.isfile(file) else []


def _label(data: bytes, names: list[str], tar: str, stem: str, draft: Draft) -> str:
    text = data.decode("ascii", "replace").strip()
    if text.isdecimal() and len(text) < 10 and int(text) < len(names):
        return names[int(text)]
    draft.problem(tar, 0, f"{stem}: class {text[:100]} has no name in classnames.txt")
    return text


def _text(data: bytes, tar: str, stem: str, draft: Draft) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        draft.problem(tar, 0, f"{stem}.txt: not UTF-8: the wrong letters are read as U+FFFD")
        return data.decode(errors="replace")


def _recognises(path: str) -> bool:
    if os.path.isfile(path):
        return path.endswith(".tar")
    return os.path.isdir(path) and any(_tars_in(os.path.join(path, name)) for name in [".", *os.listdir(path)])


FORMAT = Format(
    name="webdataset",
    layout="a folder test/0.tar, test/1.tar, ... with NAME.jpg + NAME.txt, or + NAME.cls and classnames.txt above",
    recognises=_recognises,
    read=read,
    known=(
        Known(
            "clip_benchmark wds_*",
            "huggingface.co/clip-benchmark",
            "each set's own",
            "flickr8k, flickr30k, mscoco_captions and about 40 sets of classes",
        ),
    ),
)
