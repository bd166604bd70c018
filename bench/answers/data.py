"""What the questions are made of: the shared photos with their captions, words and their forms, two parts."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
DATA = Path(os.environ.get("MMSEARCH_DATA", REPOSITORY.parent / "shared" / "data"))
HERE = Path(__file__).parent
PARTS = ("constants", "test")
_GRAMMAR = """
a an and are as at be by for from has have he her his i in is it its my of on or our she that the their them there
these they this those to was we were what where which who with you your
"""
GRAMMAR = frozenset(_GRAMMAR.split())
"""Words that say nothing of which file is meant."""


@dataclass(frozen=True)
class Photo:
    """A photo of the shared data: its file, five captions in English, some in Chinese, and what it is called."""

    source: Path
    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()
    label: str = ""
    words: frozenset[str] = field(default=frozenset(), compare=False)


def share(*what: object) -> float:
    """A number in [0, 1) that depends on nothing but ``what``: who is drawn stays drawn when others come or go."""
    digest = hashlib.sha256("|".join(map(str, what)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 256**7


def part_of(what: str, test: float = 0.5) -> str:
    """Whether something is asked for constants or for the test; always the same."""
    return "test" if share("part", what) < test else "constants"


def shuffled(things: Iterable[str], seed: object) -> list[str]:
    return sorted(things, key=lambda one: share(seed, one))


def tokens(text: str) -> list[str]:
    """The words of English text, in order, in lower case."""
    return re.findall(r"[a-z]+", text.lower())


def telling(text: str) -> list[str]:
    """Its words without grammar, each once."""
    return [word for word in dict.fromkeys(tokens(text)) if word not in GRAMMAR]


@cache
def forms(noun: str) -> frozenset[str]:
    """A noun and its plural."""
    found = {noun, f"{noun}s", f"{noun}es"}
    for end, plural in (("y", "ies"), ("man", "men"), ("f", "ves"), ("fe", "ves")):
        if noun.endswith(end):
            found.add(noun.removesuffix(end) + plural)
    return frozenset(found)


@cache
def flickr(name: str) -> tuple[Photo, ...]:
    """``val`` (never trained on) or ``train``, in their own order."""
    lines = (DATA / "flickr8k" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(
        Photo(
            DATA / "flickr8k" / "images" / row["image"],
            tuple(row["en"]),
            tuple(row["zh"]),
            words=frozenset(tokens(" ".join(row["en"]))),
        )
        for row in rows
    )


@cache
def imagenet() -> tuple[Photo, ...]:
    """One photo a class, in the order of the classes."""
    return tuple(
        Photo(path, label=path.stem.partition("_")[2].replace("_", " ").replace("-", " ").lower())
        for path in sorted((DATA / "imagenet").glob("*.JPEG"))
    )


@cache
def coco_captions() -> tuple[str, ...]:
    """Captions of photos that are not here."""
    lines = (DATA / "coco" / "captions_text_only.txt").read_text(encoding="utf-8").splitlines()
    return tuple(dict.fromkeys(line.strip() for line in lines if line.strip()))


def sounds() -> list[tuple[Path, str]]:
    """ESC-10: a file and its class, such as ``dog bark``."""
    return [(path, path.parent.name[4:].replace("_", " ").lower()) for path in sorted((DATA / "esc10").glob("*/*.ogg"))]


@cache
def nouns() -> dict[str, frozenset[str]]:
    """Everyday nouns, each with all words in a caption that name it: plurals, synonyms, kinds of it."""
    found = {}
    for line in (HERE / "nouns.txt").read_text().splitlines():
        noun, _, others = line.partition(":")
        found[noun] = frozenset().union(*map(forms, [noun, *others.split()]))
    return found


def noun_part(noun: str) -> str:
    """Two thirds of the nouns are for the test, which needs a hundred."""
    return part_of(f"noun {noun}", 0.64)


@cache
def absent_things() -> dict[str, frozenset[str]]:
    """Nouns and sentences on what no photo of val shows, each with the words that no caption of val has."""
    named = frozenset().union(*(photo.words for photo in flickr("val")))
    asked = dict.fromkeys((HERE / "absent_nouns.txt").read_text().split())
    found = {noun: forms(noun) for noun in asked if not forms(noun) & named}
    for sentence in (HERE.parent / "absent.txt").read_text().splitlines():
        found[sentence] = frozenset(telling(sentence)) - named
    return found


@cache
def train() -> tuple[Photo, ...]:
    """The photos of train whose captions have no word of what is absent from val: it is absent from them too."""
    forbidden = frozenset().union(*absent_things().values())
    return tuple(photo for photo in flickr("train") if not photo.words & forbidden)
