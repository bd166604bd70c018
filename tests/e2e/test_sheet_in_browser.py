"""The page of hits in a real browser: what is drawn, what fits, what the keyboard does, light and dark.

Screenshots are compared by what holds on any machine: colours of areas, not pixels of letters.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from html import unescape

import numpy as np
import pytest
from PIL import Image

from tests.e2e.test_answers import HOSTILE
from tests.e2e.test_cli import COLOURS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DARK = "--blink-settings=preferredColorScheme=0"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: install chromium")

# Another page looks into ours: its own policy lets no script of a test in.
LOOK = """<!doctype html><iframe src="out.html" width="%d" height="900" style="border: 0"></iframe><pre></pre><script>
onload = async () => {
  const frame = document.querySelector("iframe"), page = frame.contentDocument;
  const all = selector => [...page.querySelectorAll(selector)], {KeyboardEvent} = frame.contentWindow;
  const press = key => page.activeElement.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  const focused = [];
  for (const key of ["ArrowRight", "ArrowRight", "ArrowLeft", "End", "ArrowRight", "Home"]) {
    press(key); focused.push(all(".look").indexOf(page.activeElement));
  }
  await Promise.all(all("audio").map(a => a.readyState || new Promise(done => a.onloadedmetadata = a.onerror = done)));
  document.querySelector("pre").textContent = JSON.stringify({
    title: page.title, scripts: all("script").length,
    names: all(".name").map(e => e.textContent), labels: all(".look").map(e => e.getAttribute("aria-label")),
    images: all("img").map(e => [e.naturalWidth, e.naturalHeight]),
    sounds: all("audio").map(e => e.duration),
    overflow: page.documentElement.scrollWidth - page.documentElement.clientWidth,
    outside: all("body *").filter(e => e.getBoundingClientRect().right > page.documentElement.clientWidth + 1).length,
    columns: new Set(all("li").map(e => e.getBoundingClientRect().left)).size, focused,
    tabbable: all(".look").every(e => e.tabIndex === 0),
  });
};
</script>"""


def chromium(*arguments, home) -> bytes:
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}/profile", *arguments]
    return subprocess.run(command, capture_output=True, timeout=180, check=True).stdout


@cache
def looked_at(folder, width) -> dict:
    (folder / "look.html").write_text(LOOK % width)
    options = ["--allow-file-access-from-files", "--virtual-time-budget=10000", f"--window-size={width + 100},1000"]
    dom = chromium(*options, "--dump-dom", f"file://{folder}/look.html", home=folder).decode()
    return json.loads(unescape(re.search(r"<pre>(.*?)</pre>", dom, re.DOTALL)[1]))


def screenshot(folder, width, *options) -> np.ndarray:
    picture = folder / "shot.png"
    size = [f"--window-size={width},900", "--hide-scrollbars", f"--screenshot={picture}"]
    chromium(*size, *options, f"file://{folder}/out.html", home=folder)
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def drawn(pixels, colour) -> int:
    """So many pixels of a colour, up to what JPEG does to it."""
    return int((np.abs(pixels - colour).max(axis=2) < 12).sum())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The folder of a page of four pictures, one with a hostile name, one tall with a long name, and a sound."""
    soundfile = pytest.importorskip("soundfile", reason='no soundfile: pip install "mmsearch[audio]"')
    folder = tmp_path_factory.mktemp("sheet")
    media = folder / "media"
    media.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(media / f"{name}.png")
    os.rename(media / "blue.png", os.fsencode(media) + b"/" + HOSTILE)
    Image.new("RGB", (60, 400), (220, 220, 20)).save(media / f"{'tall' * 40}.png")
    soundfile.write(media / "tone.wav", np.sin(np.arange(80_000) / 5), 8000)
    for command in (["index", media, "--model", "fake"], ["query", "red", "--html", folder / "out.html"]):
        program = [sys.executable, "-m", "mmsearch", "--library", folder / "library", *command]
        subprocess.run(program, capture_output=True, timeout=120, check=True)
    return folder


@pytest.mark.parametrize(("width", "columns"), [(400, 1), (1400, 5)])
def test_everything_is_there_and_fits(page, width, columns):
    seen = looked_at(page, width)
    assert seen["overflow"] <= 0 and seen["outside"] == 0
    assert seen["columns"] == columns and seen["tabbable"]
    assert len(seen["images"]) == 4 and all(max(size) == 320 for size in seen["images"])
    assert seen["sounds"] == [pytest.approx(10, abs=0.01)]


def test_hostile_names_are_only_names(page):
    seen = looked_at(page, 1400)
    assert (seen["title"], seen["scripts"]) == ("red", 1)
    name = os.fsdecode(HOSTILE).replace("\udcff", r"\xff")
    assert name in seen["labels"] and any(name in shown for shown in seen["names"])


def test_the_arrow_keys_go_from_file_to_file(page):
    assert looked_at(page, 1400)["focused"] == [0, 1, 0, 4, 4, 0]


@pytest.mark.parametrize(("options", "background"), [([], (255, 255, 255)), ([DARK], (19, 19, 22))])
@pytest.mark.parametrize("width", [400, 1400])
def test_pictures_are_drawn_in_light_and_in_dark(page, options, background, width):
    pixels = screenshot(page, width, *options)
    assert pixels.shape == (900, width, 3)
    for corner in (pixels[:8, :8], pixels[-8:, :8], pixels[:8, -8:]):
        assert (corner == background).all()
    assert drawn(pixels, COLOURS["red"]) > 20_000
    # The heading stands out of its background: dark on light, or light on dark.
    heading = pixels[20:60, 20:100].mean(axis=2)
    contrast = heading.max() - heading.min()
    assert contrast > 180


def test_a_page_shows_files_of_the_disk_too(tmp_path):
    from mmsearch.retrieval import page

    Image.new("RGB", (40, 30), COLOURS["red"]).save(tmp_path / "red.png")
    picture = f'<img src="{page.address(os.fsencode(tmp_path / "red.png"))}" style="width: 300px">'
    (tmp_path / "out.html").write_text(page.document("failures", [picture]))
    assert drawn(screenshot(tmp_path, 400, DARK), COLOURS["red"]) > 20_000
