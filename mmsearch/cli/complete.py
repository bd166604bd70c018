"""What a shell offers when Tab is pressed: models, indexed folders, and the words that an option takes.

`mmsearch --install-completion` tells the shell. Nothing here may fail or print: without a library there is just less.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import typer

from mmsearch.errors import MMSearchError

if TYPE_CHECKING:
    from mmsearch.library import Library

_NONE_FOUND: list[str] = []


def words(*allowed: str) -> Callable[[str], list[str]]:
    """One of these words, or, where the option takes a list, one more after the last comma."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{word}" for word in allowed if word.startswith(last)]

    return complete


def models(ctx: typer.Context, incomplete: str) -> list[str]:
    """Presets, families, and the models whose vectors the library holds."""
    from mmsearch.encoders import presets, registry

    names = {*presets.names(), "mini"}
    names |= {f"{family.name.partition(':')[0]}:" for family in registry.available() if ":" in family.name}
    names.discard("fake:")
    with suppress(MMSearchError):
        names |= {space.model for space in _library(ctx).reader.spaces()}
    return sorted(name for name in names if name.startswith(incomplete))


def folders(ctx: typer.Context, incomplete: str) -> list[str]:
    """Folders that were indexed, and folders and files below them; for any other beginning the shell's own files."""
    with suppress(MMSearchError):
        roots = [os.fsdecode(bytes(path)) for (path,) in _library(ctx).reader.query("SELECT path FROM root ORDER BY 1")]
        return [*(root for root in roots if root.startswith(incomplete)), *_below(roots, incomplete)]
    return _NONE_FOUND


def _below(roots: list[str], incomplete: str) -> Iterator[str]:
    above = os.path.dirname(incomplete)
    if not any(above == root or above.startswith(root.rstrip("/") + "/") for root in roots):
        return
    with suppress(OSError):
        for entry in sorted(os.scandir(above), key=lambda entry: entry.name):
            hidden = entry.name.startswith(".") and not os.path.basename(incomplete)
            if entry.path.startswith(incomplete) and not hidden:
                yield entry.path + ("/" if entry.is_dir() else "")


def _library(ctx: typer.Context) -> Library:
    """The library of the command that is being typed."""
    from mmsearch.cli import defaults
    from mmsearch.library import Library

    root = ctx.find_root()
    with suppress(MMSearchError):
        defaults.apply(root.command)  # for the library of the file
    return Library(root.params.get("library"))
