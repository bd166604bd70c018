"""Pictures in the terminal: what each way of drawing sends is decoded again and compared with the picture."""

from __future__ import annotations

import base64
import io
import os
import pty
import re
import select
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mmsearch.cli import preview
from mmsearch.cli.hits import Form
from mmsearch.errors import UsageError
from tests.e2e.test_cli import indexed, mmsearch, photos  # noqa: F401


@pytest.fixture
def picture():
    """Four quarters: red, green, blue, white; 60 wide, 40 high."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:20, :30], pixels[:20, 30:], pixels[20:, :30], pixels[20:, 30:] = (
        (220, 20, 20), (20, 220, 20), (20, 20, 220), (250, 250, 250),
    )  # fmt: skip
    return pixels


def test_kitty_sends_a_png_in_pieces():
    pixels = np.random.default_rng(0).integers(0, 256, (80, 120, 3), np.uint8)
    messages = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", sent := preview.kitty(pixels))
    assert "".join(f"\x1b_G{head};{part}\x1b\\" for head, part in messages) == sent
    assert messages[0][0].startswith("a=T,f=100,q=2,r=10,m=1") and len(messages) > 1
    assert [head for head, _ in messages[1:]] == ["m=1"] * (len(messages) - 2) + ["m=0"]
    assert all(len(part) <= 4096 for _, part in messages)
    png = base64.b64decode("".join(part for _, part in messages))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)


def test_iterm2_sends_a_jpeg_of_the_size_it_says(picture):
    head, data = re.fullmatch(r"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", preview.iterm2(picture)).groups()
    jpeg = base64.b64decode(data)
    fields = dict(field.split("=") for field in head.split(";"))
    assert fields["inline"] == "1" and int(fields["size"]) == len(jpeg)
    assert np.abs(np.asarray(Image.open(io.BytesIO(jpeg))).astype(int) - picture)[4:12, 4:20].mean() < 3


def decoded_sixel(text: str) -> np.ndarray:
    """What a terminal makes of it, by DEC's manual: colours in percent, bands of six rows."""
    width, height, body = re.fullmatch(r'\x1bP0;1q"1;1;(\d+);(\d+)(.*)\x1b\\', text).groups()
    out = np.full((int(height), int(width), 3), -1.0)
    colours, colour, x, y = {}, None, 0, 0
    for token in re.finditer(r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|(\$)|(-)", body):
        define, r, g, b, choose, count, repeated, single, start, down = token.groups()
        if define:
            colours[define] = np.array([float(r), float(g), float(b)]) * 2.55
        elif choose:
            colour = colours[choose]
        elif start:
            x = 0
        elif down:
            x, y = 0, y + 6
        else:
            bits, end = ord(repeated or single) - 63, x + int(count or 1)
            for row in (row for row in range(6) if bits >> row & 1):
                out[y + row, x:end] = colour
            x = end
    return out


def test_sixel_says_the_same_picture(picture):
    shown = decoded_sixel(preview.sixel(picture))
    assert shown.shape == picture.shape and np.abs(shown - picture).max() < 4


def test_half_blocks_are_two_pixels_each(picture, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    lines = preview.blocks(picture).split("\n")
    cells = [re.findall(r"\x1b\[38;2;(\d+);(\d+);(\d+);48;2;(\d+);(\d+);(\d+)m▀", line) for line in lines]
    assert all(line.endswith("\x1b[0m") for line in lines)
    assert (len(lines), {len(row) for row in cells}) == (7, {20})
    corners = [
        tuple(map(int, cell)) for cell in (cells[0][0][:3], cells[0][-1][:3], cells[-1][0][3:], cells[-1][-1][3:])
    ]
    assert np.abs(np.array(corners) - picture[[0, 0, -1, -1], [0, -1, 0, -1]].astype(int)).max() < 12


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "dumb"}, None),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x", "KITTY_WINDOW_ID": "1"}, None),
    ],
)
def test_unasked_it_draws_only_where_it_is_known_to_work(environment, expected, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert preview.way(None, None, Form.TABLE, environment) == expected
    assert preview.way(True, None, Form.TABLE, environment) == (expected or "blocks")
    assert preview.way(False, "sixel", Form.TABLE, environment) is None
    assert preview.way(True, None, Form.JSON, environment) is None
    with pytest.raises(UsageError, match="there are kitty, iterm2, sixel, blocks"):
        preview.way(None, "crayon", Form.TABLE, environment)


def test_nothing_is_drawn_into_a_pipe(indexed, monkeypatch):  # noqa: F811
    monkeypatch.setenv("TERM", "xterm-kitty")
    plain = indexed("query", "red")
    asked = indexed("query", "red", "--preview", "--preview-as", "kitty")
    assert asked.stdout == plain.stdout and b"\x1b" not in asked.stdout and b"terminal only" in asked.stderr


def on_a_terminal(tmp_path, *arguments, **environment) -> str:
    variables = {**os.environ, "MMSEARCH_LIBRARY": str(tmp_path / "library"), "TERM": "xterm", **environment}
    for name in ("TMUX", "STY", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "KONSOLE_VERSION"):
        variables.pop(name, None)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mmsearch", *map(str, arguments)]
    with subprocess.Popen(command, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while process.poll() is None or select.select([ours], [], [], 0)[0]:
            try:
                if select.select([ours], [], [], 0.1)[0]:
                    shown += os.read(ours, 65536)
            except OSError:  # the last writer is gone
                break
        assert process.wait() == 0
    os.close(ours)
    return shown.decode()


def test_a_terminal_that_can_gets_pictures_and_others_the_table(indexed, photos, tmp_path):  # noqa: F811
    drawn = on_a_terminal(tmp_path, "query", "red", "-k", "2", "--weak", TERM="xterm-kitty")
    assert drawn.count("\x1b_Ga=T") == 2 and drawn.index("red.png") < drawn.index("\x1b_G")
    assert "\x1b_G" not in on_a_terminal(tmp_path, "query", "red", "--no-preview", TERM="xterm-kitty")
    assert "▀" not in on_a_terminal(tmp_path, "query", "red")
    blocks = on_a_terminal(tmp_path, "query", "red", "-k", "1", "--preview")
    red = [tuple(map(int, cell)) for cell in re.findall(r"38;2;(\d+);(\d+);(\d+)", blocks)]
    assert red and np.abs(np.array(red) - (220, 20, 20)).max() < 6
    (photos / "red.png").unlink()
    assert "(No such file or directory)" in on_a_terminal(tmp_path, "query", "red", "-k", "1", "--preview")
