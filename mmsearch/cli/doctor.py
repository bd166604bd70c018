"""`mmsearch doctor`: what is installed, and what that means."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import typer

import mmsearch
from mmsearch.cli import render
from mmsearch.cli.common import command as body

PACKAGES = {
    "numpy": "",
    "pillow": "",
    "sqlalchemy": "",
    "typer": "",
    "onnxruntime": "cpu",
    "faiss-cpu": "cpu",
    "faiss-gpu": "gpu",
    "torch": "clip",
    "open_clip_torch": "clip",
    "pi-heif": "heic",
}
"""Distributions, and the extra that brings each (empty: always there)."""

_YES = ("1", "true", "yes", "on")

WAL_RESET_FIXED = (3, 51, 3)
"""Older SQLite can corrupt a database that two connections write at once; mmsearch never does that."""


def command(context: typer.Context) -> None:
    """Show what is installed, which devices there are, and what to mind."""
    with body(context) as settings:
        facts = _facts(settings.folder)
        if settings.json:
            render.document(**facts)
            return
        render.line(f"mmsearch {facts['mmsearch']}, Python {facts['python']}, {facts['platform']}")
        render.line(f"SQLite {facts['sqlite']}, full-text search (FTS5): {'yes' if facts['fts5'] else 'no'}")
        render.line(f"library {facts['library']}")
        for name, found in facts["packages"].items():
            extra = f' (pip install "mmsearch[{PACKAGES[name]}]")' if found is None and PACKAGES[name] else ""
            render.line(f"{name:16} {found or 'not installed'}{extra}")
        render.line(f"devices  {', '.join(facts['devices'])}")
        silent = " ".join(name for name, off in facts["silenced"].items() if off)
        render.line("network  opened by `models pull` and `query --allow-url` alone")
        render.line(f"silenced {silent or '-'}: no reports to their makers")
        render.line(f"decoders give up: {', '.join(facts['decoders'])}")
        for text in facts["notes"]:
            render.line(f"note: {text}")


def _facts(folder: str | None) -> dict[str, Any]:
    import platform
    import sqlite3

    from mmsearch.store.layout import default_folder

    packages = {name: _version(name) for name in PACKAGES}
    fts5 = _has_fts5()
    silenced, decoders = _silenced(), _confined()
    return {
        "mmsearch": mmsearch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
        "fts5": fts5,
        "library": folder or default_folder(),
        "packages": packages,
        "devices": ["cpu", *_cuda_devices()],
        "silenced": silenced,
        "decoders": decoders,
        "notes": [*_advice(packages, fts5, sqlite3.sqlite_version_info), *_loud(silenced), *_open(decoders)],
    }


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _has_fts5() -> bool:
    import sqlite3

    with sqlite3.connect(":memory:") as connection:
        return bool(connection.execute("SELECT sqlite_compileoption_used('ENABLE_FTS5')").fetchone()[0])


def _cuda_devices() -> list[str]:
    try:
        import torch
    except ImportError:
        return []
    return [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]


def _silenced() -> dict[str, bool]:
    """Of the packages that report to their makers, whether each is kept from it in this process."""
    import os

    by_variable = {"onnxruntime": "ORT_DISABLE_TELEMETRY", "huggingface_hub": "HF_HUB_DISABLE_TELEMETRY"}
    off = {name: os.environ.get(variable, "").lower() in _YES for name, variable in by_variable.items()}
    return off | {"openvino": "openvino_telemetry" not in sys.modules}


def _confined() -> list[str]:
    """What the processes that decode give up here; see `mmsearch.media.confine`."""
    from mmsearch.media.sandbox import shared

    return shared().confined()


def _open(decoders: list[str]) -> Iterator[str]:
    if missing := [name for name in ("no new privileges", "namespaces", "Landlock", "seccomp") if name not in decoders]:
        yield f"this system lets the processes that decode keep rights: no {', no '.join(missing)}"


def _loud(silenced: dict[str, bool]) -> Iterator[str]:
    for name, off in silenced.items():
        if not off:
            yield f"{name} may report to its maker: unset what switches that on in your environment"


def _advice(packages: dict[str, str | None], fts5: bool, sqlite: tuple[int, ...]) -> Iterator[str]:
    if packages["faiss-cpu"] and packages["faiss-gpu"]:
        yield "faiss-cpu and faiss-gpu both install the module `faiss`: uninstall both, then install one"
    if not packages["faiss-cpu"] and not packages["faiss-gpu"]:
        yield 'no FAISS: indexes are exact; pip install "mmsearch[cpu]" for flat and ivfpq'
    if not fts5:
        yield "this Python's SQLite has no FTS5, which a library needs: use another build of Python"
    if sqlite < WAL_RESET_FIXED:
        fixed = ".".join(map(str, WAL_RESET_FIXED))
        yield f"SQLite before {fixed} must have one writer only: mmsearch's lock sees to that"
