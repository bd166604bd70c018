"""Where the shared data is, and tests that cannot run here: they are skipped aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
DATA = Path(os.environ.get("MMSEARCH_DATA", REPOSITORY.parent / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("data") and not DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no data folder at {DATA}: set MMSEARCH_DATA"))
        if item.get_closest_marker("gpu") and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="no CUDA device, or no GPU build of torch or FAISS"))


def _has_gpu() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known about models is kept in a folder of this test run; the user's own cache and settings are left."""
    monkeypatch.setenv("MMSEARCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("MMSEARCH_CONFIG", str(tmp_path_factory.getbasetemp() / "config.toml"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real photos, sounds and malformed files; tests that use it are marked ``data``."""
    return DATA
