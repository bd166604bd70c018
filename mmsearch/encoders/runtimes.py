"""The one place that starts ONNX Runtime and OpenVINO: both report to their makers unless they are kept from it.

ONNX Runtime does so by default from 1.29 on, with threads of its own: ``mmsearch/__init__`` sets
``ORT_DISABLE_TELEMETRY``, because what it offers to call comes too late. OpenVINO does so through another package, and
goes without that one where it is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def session(path: str, threads: int = 0, *, spin: bool = True) -> Any:
    """An ONNX Runtime session on the CPU. ``threads`` 0: all cores. Raises ``ImportError`` where it is not installed.

    ``spin``: its threads wait without sleeping, on cores that other processes may want.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    if not spin:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def openvino() -> Any:
    """The package. Raises ``ImportError`` where it is not installed."""
    with _absent("openvino_telemetry"):
        import openvino
    return openvino


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Importing this package fails meanwhile, unless it was imported before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # what the import system takes for "is not there"
    try:
        yield
    finally:
        del sys.modules[package]
