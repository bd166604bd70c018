"""The grammar of a question, rclip's as it is: ``"2:golden retriever" + ./pool.jpg - fruit``.

    question = part (("+" | "-") part)*
    part     = [weight ":"] (words | file ["@" time ["-" time]] | address)

A part's arguments are joined by blanks. It is a file if it looks like a path (``./``, ``../``, ``/``, ``~/``), or if it
is one argument that names a file in the current folder whose content is a picture, a sound or a video. A leading
sign belongs to the first part, and a ``-`` with nothing after it stands for the parts on standard input.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from mmsearch.errors import UsageError
from mmsearch.retrieval import moments
from mmsearch.types import Asked, Modality

HEAVIEST = 1e6
"""A part of more weight leaves nothing of the others."""
_WEIGHT = re.compile(r"(\d+(?:\.\d*)?|\.\d+):(?=.)", re.DOTALL)
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_PATH = ("./", "../", "/", "~/")


def parse(arguments: Sequence[str], stdin: Iterable[str] = ()) -> tuple[Asked, ...]:
    """The parts that the arguments mean, in order. ``stdin``: lines that stand for a last ``-``; each is a part.

    Raises ``UsageError`` for a sign without a part, a weight of 0, or a path that leads to no file.
    """
    parts: list[Asked] = []
    sign, words = 1.0, list[str]()
    for i, argument in enumerate(arguments):
        if argument == "-" and i == len(arguments) - 1:
            _finish(parts, words, sign)
            return tuple(parts) + _lines(stdin)
        if argument in ("+", "-"):
            if i and not words:
                raise UsageError(f"nothing stands between {arguments[i - 1]!r} and {argument!r}")
            _finish(parts, words, sign)
            sign, words = 1.0 if argument == "+" else -1.0, []
        else:
            words.append(argument)
    if arguments and arguments[-1] == "+":
        raise UsageError("nothing stands after the last '+'")
    _finish(parts, words, sign)
    return tuple(parts)


def _lines(lines: Iterable[str]) -> tuple[Asked, ...]:
    """A line is a part; it may begin with its sign: ``- fruit``."""
    parts: list[Asked] = []
    for line in lines:
        text = line.strip()
        sign = -1.0 if text.startswith("- ") else 1.0
        _finish(parts, [text.removeprefix("+ ").removeprefix("- ")], sign)
    return tuple(parts)


def _finish(parts: list[Asked], words: Sequence[str], sign: float) -> None:
    text = " ".join(words).strip()
    if not text:
        return
    weight = 1.0
    if found := _WEIGHT.match(text):
        weight, text = float(found[1]), text[found.end() :].strip()
        if weight > HEAVIEST:
            raise UsageError(f"a weight above {HEAVIEST:,.0f} in {text[:60]!r}")
        if not weight:
            raise UsageError(f"a weight of 0 in {' '.join(words)!r}: leave that part out")
    parts.append(Asked(_kind(text, len(words) == 1), text, sign * weight))


def _kind(text: str, alone: bool) -> Literal["text", "file", "url"]:
    if _ADDRESS.match(text):
        return "url"
    if text.startswith(_PATH):
        if not os.path.isfile(moments.split(os.path.expanduser(text))[0]):
            raise UsageError(f"{text}: no such file (for words that look like a path: --text {text!r})")
        return "file"
    return "file" if alone and _is_media(text) else "text"


def _is_media(text: str) -> bool:
    """Whether a file's content is a picture, a sound or a video: ``cat`` may be a word, and a note in this folder."""
    path, _ = moments.split(text)
    if not os.path.isfile(path):
        return False
    from mmsearch.media.sniff import HEAD, sniff

    try:
        with open(path, "rb") as file:
            kind = sniff(file.read(HEAD))
    except OSError:
        return False
    return kind is not None and kind.modality is not Modality.TEXT
