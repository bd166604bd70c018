"""Small files that were made to hang whoever reads them: `python -m tests.reliability.hostile GROUP FOLDER SECONDS`.

Prints the name of each case once it is done; the kernel ends the process where one takes more processor time.
"""

from __future__ import annotations

import math
import os
import resource
import sys
import time
import zlib
from collections.abc import Callable
from itertools import product

M = 1024 * 1024


def _rules() -> dict[str, str]:
    """Ignore files of up to 1 MB: patterns that backtrack, very long ones, very many, and none that is one."""
    atoms = (
        "*a",
        "*",
        "?",
        "?*",
        "*?",
        "[ab]*",
        "[!b]",
        "[",
        "[]",
        "[a-",
        "**/",
        "**/a/",
        "**/*a/",
        "*a/",
        "a/",
        "\\*",
    )
    found = {}
    for atom, end, times in product(atoms, ("", "b", "/b", "*b"), (25, 1000, 30_000)):
        found[f"{atom} x {times} {end}"] = atom * times + end
    for atom, line in product(("*a", "**/a/", "[ab]*", "?"), ("{0}b{1}", "!{0}b{1}", "{0}{1}*")):
        for times, count in ((8, 2_000), (100, 100)):
            text = "\n".join(line.format(atom * times, number) for number in range(count))
            found[f"{line.format(atom, '')} x {times}, {count} times"] = text
    found["300,000 names"] = "\n".join(f"{number:x}" for number in range(150_000))
    found["names left out and taken in"] = "\n".join("!" * (n % 2) + f"{n:x}" for n in range(140_000))
    found["wildcards left out and taken in"] = "\n".join("!" * (n % 2) + f"{n:x}*" for n in range(140_000))
    found["a name, again and again"] = "a\n!b\n" * 200_000
    for character in " \n!\\#*/[":
        found[f"1 MB of {character!r}"] = character * M
        found[f"1 MB of {character!r} and a letter"] = character * (M - 1) + "x"
    return {name: text[:M] for name, text in found.items()}


_TAG, _LI = "<dc:title>", "<rdf:li>"
CAPTIONS = {
    "open tags.xmp": _TAG * (M // len(_TAG)),
    "tags without an end.xmp": "<dc:title " * (M // 10),
    "one tag.xmp": "<dc:title " + " " * (M - 10),
    "items.xmp": _TAG + _LI * (M // len(_LI) - 10) + "</dc:title>",
    "small ones.xmp": "<dc:title>a</dc:title>" * (M // 22),
    "entities.xmp": "<dc:title>" + "&amp" * (M // 4 - 10) + "</dc:title>",
    "a long number.xmp": "<dc:title>&#" + "9" * (M - 40) + ";</dc:title>",
    "lines.txt": "\n" * M,
    "other lines.txt": "".join(f"{number:x}\n" for number in range(M // 6)),
    "one line.txt": "a " * (M // 2),
    "strings.json": '{"tags": [' + '"a",' * (M // 4 - 10) + '"b"]}',
    "nested.json": "[" * M,
    "nested objects.json": '{"title":' * (M // 9),
    "digits.json": '{"title": ' + "9" * (M - 20) + "}",
    "rows/captions.csv": "a,b\n" * (M // 4),
    "other rows/captions.csv": "".join(f"{number:x},\n" for number in range(M // 7)),
    "paths/captions.csv": "a/b,\n" * (M // 5),
    "commas/captions.csv": "," * M,
    "quotes/captions.csv": '"' * M,
    "a header/captions.csv": "file,text," * (M // 20) + "\n" + "a,b," * (M // 8),
    "objects/captions.jsonl": '{"file":"a"}\n' * (M // 13),
    "empty lines/captions.jsonl": "\n" * M,
}


def _xmp_in_a_png(_: str) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    text = b"XML:com.adobe.xmp\0\0\0\0\0" + CAPTIONS["open tags.xmp"].encode()
    pixels = zlib.compress(b"".join(b"\0" + bytes(24) for _ in range(8)))
    header = (8).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = chunk(b"IHDR", header) + chunk(b"iTXt", text) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


DOCUMENTS: dict[str, str | Callable[[str], bytes]] = {
    "xmp.png": _xmp_in_a_png,
    "rows.csv": "a,b\n" * (M // 4),
    "cells.csv": "a," * (M // 2),
    "quotes.csv": '"' * M,
    "lines.jsonl": '"a b c d"\n' * (M // 10),
    "strings.json": '"ab cd ef",' * (M // 11),
    "open string.json": '"' + "\\" * (M - 1),
    "tags.html": "<a " * (M // 3),
    "comments.html": "<!--" * (M // 4),
    "scripts.html": "<script>" * (M // 8),
    "less.html": "<" * M,
    "blanks.txt": "a" + " " * (M - 2) + "b",
    "no blanks.txt": "a" * M,
    "stops.txt": "." * (M - 1) + "a",
    "sentences.txt": "a. " * (M // 3),
    "newlines.txt": "a\n\n" * (M // 3),
    "hashes.md": "#" * (M - 1) + "a",
}

RULES = _rules()


def _decide(name: str, folder: str) -> None:
    """Read an ignore file, and ask it about names and paths as long as the system takes them."""
    from mmsearch.indexer import ignore

    with open(os.path.join(folder, ".mmsearchignore"), "w") as file:
        file.write(RULES[name])
    try:
        rules = ignore.load(os.fsencode(folder), b"")
    except OSError:  # too much of it: then its folder is not entered
        return
    assert rules is not None
    for path in ("a" * 255, "a" * 120 + ".jpg", "/".join(["a" * 255] * 15), "a/" * 2000 + "y", "ab/" * 1300 + "y"):
        for is_folder in (False, True):
            rules.decides(path, is_folder)


def _caption(name: str, folder: str) -> None:
    from mmsearch.media.text_captions import beside

    path = os.path.join(folder, "captions of " + name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(CAPTIONS[name])
    photo = os.path.join(os.path.dirname(path), "a.jpg") if "/" in name else os.path.splitext(path)[0] + ".jpg"
    for _ in range(2):
        beside(os.fsencode(photo))


def _document(name: str, folder: str) -> None:
    from mmsearch.encoders import registry
    from mmsearch.errors import MediaError
    from mmsearch.media.decode import pieces
    from mmsearch.media.files import read

    made = DOCUMENTS[name]
    with open(os.path.join(folder, name), "wb") as file:
        file.write(made.encode() if isinstance(made, str) else made(name))
    try:
        for _ in pieces(read(os.fsencode(os.path.join(folder, name))), registry.load("fake").spec):
            pass
    except MediaError:
        pass


def main() -> None:
    group, folder, limit_s = sys.argv[1], sys.argv[2], int(sys.argv[3])
    cases, read = {
        "rules": (RULES, _decide),
        "captions": (CAPTIONS, _caption),
        "documents": (DOCUMENTS, _document),
    }[group]
    for name in cases:
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time()) + limit_s, hard))
        read(name, folder)
        print(name, flush=True)


if __name__ == "__main__":
    main()
