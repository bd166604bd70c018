"""The worked example of a plug-in does what its README says."""

import shutil
import subprocess
import sys
import tomllib

import pytest

from mmsearch import Library
from mmsearch.encoders import registry
from tests.conftest import REPOSITORY

PLUGIN = REPOSITORY / "docs" / "plugin"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """What pip leaves of the package: its module, and the entry points that its pyproject declares."""
    project = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    facts = site / "mmsearch_colours-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(PLUGIN / "mmsearch_colours.py", site)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in names.items())
        for group, names in project["entry-points"].items()
    )
    (facts / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("mmsearch_colours", None)


def test_it_is_listed_and_indexes_and_answers(installed, tmp_path):
    from PIL import Image

    assert "colours" in [model.name for model in registry.available()]
    (tmp_path / "photos").mkdir()
    for name, colour in {"sky": (60, 90, 210), "leaf": (50, 150, 60)}.items():
        Image.new("RGB", (50, 40), colour).save(tmp_path / "photos" / f"{name}.png")
    library = Library(str(tmp_path / "library"))
    assert library.index([str(tmp_path / "photos")], model="colours").added == 2
    for question, name in (("blue", b"sky.png"), ("something green", b"leaf.png")):
        assert next(iter(library.search(question))).path.endswith(name)


def test_its_own_tests_pass(installed):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "test_colours.py")]
    environment = {"PYTHONPATH": str(installed), "PATH": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=PLUGIN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
