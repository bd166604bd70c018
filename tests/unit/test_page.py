"""Pages: names that try to break them, what they may load, and what they may replace."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from html import unescape

import pytest

from mmsearch.errors import UsageError
from mmsearch.retrieval import page


@pytest.mark.parametrize(
    "name", ["<b>\"x\" & 'y'</b>", "</style><script>", "a\tb\x00c", "\u202egpj.exe", "\ud800", "é猫"]
)
def test_a_name_is_shown_and_breaks_nothing(name):
    text = page.shown(name)
    assert not re.search(r"""[<>"'\x00-\x08\u202e]""", text)
    assert all(character in unescape(text) for character in name if character.isprintable())


def test_bytes_that_are_no_text_are_written_out():
    assert page.shown(b"a\xff.jpg") == r"a\xff.jpg"
    assert page.address(b"/a b/\xff'\"<.jpg") == "file:///a%20b/%FF%27%22%3C.jpg"


def test_only_the_page_s_own_script_may_run():
    html = page.document("t", ["<p>x</p>"], script="let a = 1;")
    digest = base64.b64encode(hashlib.sha256(b"let a = 1;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html and "<script>let a = 1;</script>" in html
    assert "script" not in page.document("t", [])


def test_a_page_is_put_in_place_whole_and_replaces_only_pages(tmp_path):
    path = tmp_path / "out.html"
    page.write(str(path), page.document("one", []))
    page.write(str(path), page.document("two", []))
    assert "two" in path.read_text() and os.listdir(tmp_path) == ["out.html"]
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(UsageError, match="no HTML page"):
        page.write(str(photo), page.document("three", []))
    assert photo.read_bytes() == b"\xff\xd8\xff"
    with pytest.raises(UsageError, match="no such file"):
        page.write(str(tmp_path / "none" / "out.html"), "")
