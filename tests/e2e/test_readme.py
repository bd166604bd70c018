"""The README is true: its commands run on the sample folder and print what it says, up to figures and the folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    pytest.importorskip("skimage", reason="the samples are copied from scikit-image's wheel")
    pytest.importorskip("soundfile", reason="the samples hold sounds")
    folder = tmp_path_factory.mktemp("home")
    subprocess.run([sys.executable, REPOSITORY / "data" / "make_samples.py", folder / "media"], check=True)
    return folder


def run(command: str, home) -> str:
    environment = {**os.environ, "MMSEARCH_LIBRARY": str(home / "library")}
    program = f"{sys.executable} -m mmsearch"
    command = re.sub(r"\bmmsearch\b", program, command, count=1)
    return subprocess.run(
        command, shell=True, cwd=home, env=environment, capture_output=True, text=True, check=True
    ).stdout


def masked(text: str, home) -> str:
    return re.sub(r"\d+(\.\d+)?(?! seen| added)", "#", text.replace(str(home), "/home/me"))


def test_the_first_commands_print_what_the_readme_shows(home):
    (console,) = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    blocks = re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", console, re.MULTILINE)
    assert len(blocks) == 4
    for command, shown in blocks:
        printed = run(command, home)
        first_hit = slice(0, 1) if "query" in command else slice(None)
        assert masked(printed, home).splitlines()[first_hit] == masked(shown, home).splitlines()[first_hit]


def test_the_python_example_runs(home):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    result = subprocess.run([sys.executable, "-c", example], cwd=home, capture_output=True, text=True, check=True)
    assert "cat.jpg" in result.stdout.splitlines()[0]


def test_every_command_and_exit_code_is_in_the_readme():
    from mmsearch.cli.app import app
    from mmsearch.errors import MMSearchError

    for registered in app.registered_commands:
        assert re.search(rf"`{registered.name}\b|, `{registered.name}\b", README), registered.name

    def codes(kind):
        yield kind.exit_code
        for child in kind.__subclasses__():
            yield from codes(child)

    for code in set(codes(MMSearchError)):
        assert f"\n| {code} |" in README
