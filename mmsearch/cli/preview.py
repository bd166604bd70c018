"""`--preview`: small pictures of the hits in the terminal, by whichever way it has of drawing them.

kitty's graphics protocol, iTerm2's inline images, sixel (DEC STD 070), or half-blocks of two colours a character, which
every terminal of today draws. What a terminal can is told by its environment: to ask the terminal itself would take
keys that the user is typing, and fails where a question is read from a pipe.
"""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from mmsearch.cli import render
from mmsearch.errors import MMSearchError, UsageError

if TYPE_CHECKING:
    from mmsearch.cli.hits import Form
    from mmsearch.types import Hit, Pixels

ROWS = 10
"""Lines of text that a picture takes."""

SIZE = 320
"""Pixels on the longer side that are decoded: 16 lines of 20 pixels, for terminals that scale."""

COLOURS = 64
"""Of a sixel picture: more are not told apart at this size, and cost bytes."""

CELL = (10, 20)
"""Pixels of a character where the terminal does not say: those of the VT340."""


def way(asked: bool | None, named: str | None, form: Form, environment: Mapping[str, str] = os.environ) -> str | None:
    """How to draw beside a table, None for not at all: never into a pipe; unasked only where it is known to work.

    Raises ``UsageError`` if ``named`` is no way of drawing.
    """
    if named is not None and named not in _WAYS:
        raise UsageError(f"--preview-as {named}: there are {', '.join(_WAYS)}")
    if asked is False or form is not form.TABLE or not sys.stdout.isatty():
        return None
    known = named or _known(environment)
    return known or "blocks" if asked or named else known


def _known(environment: Mapping[str, str]) -> str | None:
    """What the terminal says it is; inside tmux and screen that is no longer true of what they let through."""
    terminal, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or "STY" in environment or terminal.startswith(("tmux", "screen")):
        return None
    if {"KITTY_WINDOW_ID", "KONSOLE_VERSION"} & set(environment) or program == "ghostty" or "kitty" in terminal:
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    return "sixel" if terminal.startswith(("foot", "mlterm", "contour", "yaft")) or "sixel" in terminal else None


def show(hit: Hit, way: str) -> None:
    """Draw a hit; a sound and a text have nothing to draw, and a file that shows nothing says why."""
    if hit.modality not in ("image", "video"):
        return
    from mmsearch.media.glimpse import glimpse

    try:
        pixels = glimpse(hit.path, SIZE, hit.span.start if hit.span is not None else 0.0)
    except (MMSearchError, OSError) as error:
        render.line(f"   ({error.strerror if isinstance(error, OSError) else error})")
    else:
        render.drawn(_WAYS[way](pixels))


def show_all(hits: Sequence[Hit], lines: Iterator[str], way: str) -> None:
    """The lines of a table, each with its hit's picture below it."""
    for hit, line in zip(hits, lines, strict=True):
        render.line(line)
        show(hit, way)


def kitty(pixels: Pixels) -> str:
    """``ESC _G a=T,f=100,r=ROWS; PNG ESC \\``, in pieces of 4,096 characters."""
    data = base64.b64encode(_file(pixels, "PNG")).decode()
    parts = [data[start : start + 4096] for start in range(0, len(data), 4096)]
    heads = [f"a=T,f=100,q=2,r={min(ROWS, _rows(pixels))},", *[""] * (len(parts) - 1)]
    mores = [1] * (len(parts) - 1) + [0]
    return "".join(f"\x1b_G{head}m={m};{part}\x1b\\" for head, m, part in zip(heads, mores, parts, strict=True))


def iterm2(pixels: Pixels) -> str:
    """``ESC ]1337;File=inline=1;height=ROWS: JPEG BEL``."""
    data = _file(pixels, "JPEG")
    head = f"inline=1;size={len(data)};height={min(ROWS, _rows(pixels))};preserveAspectRatio=1"
    return f"\x1b]1337;File={head}:{base64.b64encode(data).decode()}\x07"


def sixel(pixels: Pixels) -> str:
    """A device control string: the colours in percent, then bands of six rows, one colour after the other."""
    import numpy as np
    from PIL import Image

    height = _cell()[1] * ROWS
    picture = Image.fromarray(pixels)
    if picture.height > height:
        picture = picture.resize((max(1, picture.width * height // picture.height), height))
    picture = picture.quantize(COLOURS)
    colours = np.asarray(picture.getpalette(), float).reshape(-1, 3) * (100 / 255)
    indices = np.asarray(picture)
    out = [f'\x1bP0;1q"1;1;{picture.width};{picture.height}']
    out += [f"#{number};2;{r:.0f};{g:.0f};{b:.0f}" for number, (r, g, b) in enumerate(colours)]
    for top in range(0, len(indices), 6):
        band = indices[top : top + 6]
        weights = 1 << np.arange(len(band))[:, None]
        for colour in np.unique(band):
            bits = 63 + ((band == colour) * weights).sum(axis=0)
            out.append(f"#{colour}{''.join(_runs(bits.tolist()))}$")
        out.append("-")
    return "".join(out) + "\x1b\\"


def _runs(codes: list[int]) -> Iterator[str]:
    for code, run in groupby(codes):
        count = sum(1 for _ in run)
        yield f"!{count}{chr(code)}" if count > 3 else chr(code) * count


def blocks(pixels: Pixels) -> str:
    """Lines of ``▀``: the upper pixel is the character's colour, the lower one its background's."""
    import numpy as np
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = min(2 * ROWS / height, _columns() / width)
    small = Image.fromarray(pixels).resize((max(1, round(width * scale)), max(1, round(height * scale / 2)) * 2))
    rows = np.asarray(small).tolist()
    lines = []
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        cells = zip(upper, lower, strict=True)
        line = "".join("\x1b[38;2;{};{};{};48;2;{};{};{}m▀".format(*over, *under) for over, under in cells)
        lines.append(line + "\x1b[0m")
    return "\n".join(lines)


_WAYS: dict[str, Callable[[Pixels], str]] = {"kitty": kitty, "iterm2": iterm2, "sixel": sixel, "blocks": blocks}


def _file(pixels: Pixels, format_: str) -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format_)
    return out.getvalue()


def _rows(pixels: Pixels) -> int:
    """So many lines as keep a picture's width on the screen: wide ones take fewer than ``ROWS``."""
    height, width = pixels.shape[:2]
    cell_width, cell_height = _cell()
    return max(1, int(_columns() * cell_width * height / width / cell_height))


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def _cell() -> tuple[int, int]:
    """Width and height of a character in pixels, as the terminal driver has them."""
    import fcntl
    import struct
    import termios

    try:
        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
    except (OSError, ValueError):
        return CELL
    rows, columns, width, height = struct.unpack("HHHH", size)
    return (width // columns, height // rows) if rows and columns and width >= columns and height >= rows else CELL
