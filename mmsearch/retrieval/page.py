"""What every HTML page of mmsearch shares: its frame, its look, links to files, and names that can't break it.

A page is one file that fetches nothing: the policy in its head lets through what lies in the page itself and files
of the disk, and no script but those of the page, each named by its sha256. Light or dark is the reader's system's.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from html import escape
from urllib.parse import quote

from mmsearch.errors import UsageError

DOCTYPE = "<!doctype html>"

STYLE = """
:root { color-scheme: light dark; --back: #fff; --ink: #1c1c1e; --faint: #63636b; --line: #d4d4da; --box: #f1f1f4 }
@media (prefers-color-scheme: dark) {
  :root { --back: #131316; --ink: #ececf0; --faint: #a0a0aa; --line: #3a3a42; --box: #212126 }
}
* { box-sizing: border-box }
body { font: 15px/1.4 system-ui, sans-serif; margin: 1.5em; background: var(--back); color: var(--ink) }
h1 { font-size: 1.3em; overflow-wrap: anywhere } h2 { font-size: 1.1em; margin-top: 2em; overflow-wrap: anywhere }
a { color: inherit } :focus-visible { outline: 3px solid #3584e4; outline-offset: 2px }
audio, img { max-width: 100% }
"""


def shown(text: str | bytes) -> str:
    """A name or a text as HTML, attributes included; what can't be printed is written out: ``\\u202e``, ``\\xff``."""
    return escape("".join(map(_printable, os.fsdecode(text))))


def _printable(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def address(path: bytes) -> str:
    """A ``file://`` address of any name; safe in an attribute."""
    return escape("file://" + quote(os.path.realpath(path)))


def data_address(content: bytes, kind: str) -> str:
    """The content itself as an address; ``kind`` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def document(title: str, body: Iterable[str], style: str = "", script: str = "") -> str:
    """A whole page. ``body`` is HTML, ``title`` plain text; ``script`` may add comfort, never content."""
    policy = "default-src 'none'; img-src data: file:; media-src data: file:; style-src 'unsafe-inline'"
    if script:
        policy += f"; script-src 'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
    head = [
        f'{DOCTYPE}\n<html><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{shown(title)}</title><style>{STYLE}{style}</style></head><body><h1>{shown(title)}</h1>",
    ]
    tail = [f"<script>{script}</script>"] if script else []
    return "\n".join([*head, *body, *tail, "</body></html>"]) + "\n"


def write(path: str, page: str) -> None:
    """Put a page in place whole. Raises ``UsageError`` where that can't be, or a file stands that is no page."""
    folder, name = os.path.split(os.path.abspath(path))
    half = os.path.join(folder, f".{name[:40]}.{os.getpid()}.tmp")
    try:
        _refuse_to_replace(path)
        try:
            with open(half, "x", encoding="utf-8") as file:
                file.write(page)
            os.replace(half, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(half)
            raise
    except OSError as error:
        raise UsageError(f"{path}: {(error.strerror or 'cannot be written').lower()}") from None


def _refuse_to_replace(path: str) -> None:
    """A photo in the page's place is a slip of the hand."""
    try:
        with open(path, "rb") as file:
            head = file.read(256).lstrip().lower()
    except FileNotFoundError:
        return
    if head and not head.startswith((b"<!doctype html", b"<html")):
        raise UsageError(f"{path} is there and is no HTML page: choose another name")
