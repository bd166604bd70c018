"""numpy's OpenBLAS held to one thread while several of our own call it.

Its threads spin while they wait: with two of them a batch takes 1.6 times the processor time, and no less by the clock
than with two threads of ours, which share the rest of the work too.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import Any

_lock = threading.Lock()
_holders = 0
_before = 0


@contextmanager
def one_thread() -> Iterator[None]:
    """Of the whole process, until the last one leaves. Without effect where numpy has another BLAS."""
    global _holders, _before  # noqa: PLW0603  the setting is the process's
    blas = _openblas()
    if blas is None:
        yield
        return
    get, put = blas
    with _lock:
        if _holders == 0:
            _before = get()
            put(1)
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0:
                put(_before)


@cache
def _openblas() -> tuple[Any, Any] | None:
    """How to ask for and to set the number of threads, as numpy's own builds name it."""
    try:
        library = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
        return library.scipy_openblas_get_num_threads64_, library.scipy_openblas_set_num_threads64_
    except (ImportError, AttributeError, OSError):
        return None
