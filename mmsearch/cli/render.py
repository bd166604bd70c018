"""How results look: a table for eyes, a line each for pipes, JSON for programs. The only place that prints.

Results go to stdout, everything else to stderr. Names come from strangers' files, so control characters are escaped.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

SCHEMA_VERSION = 2


def shown(path: bytes) -> str:
    """A path that can't break a line or a terminal: ``b'a\\nb\\xff'`` -> ``a\\nb\\xff``, written out."""
    return "".join(_escaped(character) for character in os.fsdecode(path))


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def safe(text: str) -> str:
    """Text of any number of lines that can't steer a terminal: names of models and reasons come from strangers too."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) == "Zs" else _escaped(c) for c in text)


def line(text: str = "") -> None:
    """A line of results."""
    print(safe(text))


def note(text: str) -> None:
    """A line beside the results."""
    print(safe(text), file=sys.stderr)


def drawn(text: str) -> None:
    """A picture, as a terminal draws it: made of pixels alone."""
    print(text)


@contextmanager
def progress(show: bool = True) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is going on, and for how long, if that is a terminal; then it is gone."""
    if not show or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda text: bar.update(task, description=safe(text))


def document(**fields: Any) -> None:
    """One JSON document: indented on a terminal, compact in a pipe. Names that are not UTF-8 keep lone surrogates."""
    import json

    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps({"schema_version": SCHEMA_VERSION, **fields}, indent=indent, default=os.fsdecode))


def raw(path: bytes) -> None:
    """A path as it is, ended by a NUL."""
    sys.stdout.flush()
    sys.stdout.buffer.write(path + b"\0")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Aligned columns on a terminal (the last is never cut: it can be copied); in a pipe, fields between tabs."""
    if not sys.stdout.isatty():
        for row in rows:
            print("\t".join(map(safe, row)))
        return
    lines = [header, *([safe(field) for field in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)][:-1]
    for row in lines:
        print("  ".join([*(field.ljust(width) for field, width in zip(row, widths, strict=False)), row[-1]]))


def size(count: float) -> str:
    """Bytes for people: ``1536`` -> ``1.5 kB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
