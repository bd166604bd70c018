"""Change one line of a TOML file and leave the rest, comments included, as its owner wrote it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from contextlib import suppress
from typing import Any

from mmsearch.errors import UsageError


def put(file: str, key: str, value: Any) -> None:
    """Set ``a.b.c`` to a string, number, boolean or list of strings; None takes it away.

    Raises ``UsageError`` if the file can't be read or written, or is written in a way that one line can't change.
    """
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    try:
        wanted = _changed(tomllib.loads(text), key.split("."), value)
        new = _edited(text, key, value)
        done = tomllib.loads(new) == wanted
    except RecursionError:
        raise UsageError(f"{file}: nested too deep: correct it by hand") from None
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise UsageError(f"{file}: {error}: correct it by hand") from None
    if not done:
        raise UsageError(f"{file} is not written as a key a line: change {key} by hand")
    _replace(file, new)


def _changed(tree: dict[str, Any], names: list[str], value: Any) -> dict[str, Any]:
    """The tree as it should be afterwards; the edited text is held to it."""
    table = tree
    for name in names[:-1]:
        table = table.setdefault(name, {})
    if value is None:
        table.pop(names[-1], None)
    else:
        table[names[-1]] = value
    return tree


def _edited(text: str, key: str, value: Any) -> str:
    above, _, name = key.rpartition(".")
    lines = text.splitlines()
    start = end = 0
    if above:
        heads = [i for i, line in enumerate(lines) if re.fullmatch(rf"\s*\[\s*{re.escape(above)}\s*\]\s*(#.*)?", line)]
        if not heads:
            lines += ([""] if lines else []) + [f"[{above}]"]
            heads = [len(lines) - 1]
        start = heads[0] + 1
    end = next((i for i in range(start, len(lines)) if re.match(r"\s*\[", lines[i])), len(lines))
    at = next((i for i in range(start, end) if re.match(rf"\s*{re.escape(name)}\s*=", lines[i])), None)
    line = [] if value is None else [f"{name} = {_written(value)}"]
    if at is not None:
        lines[at : at + 1] = line
    else:
        while end > start and not lines[end - 1].strip():
            end -= 1
        lines[end:end] = line
    return "\n".join(lines) + "\n"


def _written(value: Any) -> str:
    # JSON's strings are TOML's, but for a character that JSON lets stand.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replace(file: str, text: str) -> None:
    half = f"{file}.{os.getpid()}.tmp"
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        try:
            with open(half, "x", encoding="utf-8") as opened:
                opened.write(text)
            os.replace(half, os.path.realpath(file))  # a link from a folder of dot files stays a link
        except BaseException:
            with suppress(OSError):
                os.unlink(half)
            raise
    except OSError as error:
        raise UsageError(f"{file}: {(error.strerror or 'cannot be written').lower()}") from None
