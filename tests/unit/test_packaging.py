"""What a wheel must hold, and what importing must not cost."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

import mmsearch
from tests.conftest import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def test_no_core_dependency_brings_faiss_or_torch():
    assert not [name for name in PROJECT["dependencies"] if re.match("faiss|torch|onnx", name)]


def test_the_promised_extras_exist():
    promised = {"cpu", "gpu", "clip", "heic", "dev", "audio", "video", "pdf", "server", "eval", "milvus", "ray"}
    assert promised <= set(PROJECT["optional-dependencies"])


def test_the_changelog_knows_the_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text()
    assert "## [Unreleased]" in changelog or f"## [{mmsearch.__version__}]" in changelog


def test_the_package_says_that_it_is_typed():
    assert (REPOSITORY / "mmsearch" / "py.typed").exists()


def test_the_embedded_model_stays_below_25_mb():
    files = [
        path for path in (REPOSITORY / "mmsearch" / "encoders" / "mini").rglob("*") if "__pycache__" not in path.parts
    ]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 25e6


def test_importing_mmsearch_imports_nothing_heavy():
    program = (
        "import sys, mmsearch; print({'numpy', 'torch', 'faiss', 'PIL', 'sqlalchemy', 'typer'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"set()\n"


def test_the_public_names_are_there():
    assert mmsearch.__all__ == sorted(mmsearch.__all__)
    for name in mmsearch.__all__:
        assert getattr(mmsearch, name).__name__ == name
    with pytest.raises(AttributeError, match="nonsense"):
        _ = mmsearch.nonsense
