"""HTML to passages: what a reader of the page would see, with where it stands in the file.

The standard library's `html.parser` takes quadratic time on broken pages (300 kB of ``<a `` keep it busy for more than
ten minutes), and words need no tree: here every token runs to its end, or to that of the page, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

from mmsearch.media.text_chunks import Passage

_TEXT_LEVEL = """
a abbr b bdi bdo big cite code data del dfn em font i img input ins kbd label mark q s samp small span strike strong sub
sup time tt u var wbr
"""
_INLINE = frozenset(_TEXT_LEVEL.split())
"""Tags inside of a sentence; all others end one."""

_TOKEN = re.compile(
    r"(?P<unseen><!--.*?(?:-->|\Z)|<(script|style|template|noscript|svg|math|iframe|select)\b.*?(?:</\2\s*+>|\Z))"
    r"|</?(?P<tag>[a-z][a-z0-9]*+)[^>]*+(?:>|\Z)|<[!?][^>]*+(?:>|\Z)"
    r"|(?P<entity>&(?:[a-z][a-z0-9]{1,31}|\#[0-9]{1,7}|\#x[0-9a-f]{1,6});)|(?P<words>[^<&]++|[<&])",
    re.DOTALL | re.IGNORECASE,
)


def passages(text: str) -> Iterator[Passage]:
    """The words of a page as one passage; scripts, styles and comments are left out.

    Blocks are set apart by a blank line, which is never longer than the tag that it stands for.
    """
    words: list[str] = []
    places: list[tuple[int, int]] = []
    length = 0
    for token in _TOKEN.finditer(text):
        found = _shown(token)
        if found and not (found == "\n\n" and words[-1:] in ([], [found])):
            words.append(found)
            places.append((length, token.start()))
            length += len(found)
    if words:
        yield Passage("".join(words), tuple(places), len(text))


def _shown(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "words":
            return token[0]
        case "entity":
            return unescape(token[0])
        case "tag":
            tag = token["tag"].lower()
            return "\n" if tag == "br" else "" if tag in _INLINE else "\n\n"
        case _:
            return ""
