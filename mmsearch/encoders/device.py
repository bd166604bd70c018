"""From a device as people write it to the one that torch runs on."""

from __future__ import annotations

from mmsearch.errors import UsageError


def resolve(device: str) -> str:
    """``cpu`` or ``cuda:N`` for ``auto``, ``cpu`` or ``cuda:N``; ``auto`` is the first CUDA device, else the CPU.

    Imports torch for all but ``cpu``: only encoders that run on torch call it. Raises ``UsageError`` for a device
    that is not here, saying which are.
    """
    if device == "cpu":
        return device
    count = _cuda_devices()
    if device == "auto":
        return "cuda:0" if count else "cpu"
    here = ["cpu", *(f"cuda:{number}" for number in range(count))]
    if device not in here:
        raise UsageError(f"no device {device!r} for torch here: use --device {' or '.join(['auto', *here])}")
    return device


def _cuda_devices() -> int:
    try:
        import torch
    except ImportError:
        return 0
    return int(torch.cuda.device_count()) if torch.cuda.is_available() else 0


def may_have_cuda() -> bool:
    """False: there is no CUDA driver here, so no device. Costs no torch."""
    import ctypes
    import sys

    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
