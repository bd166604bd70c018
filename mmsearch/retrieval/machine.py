"""What a measurement cost and what it ran on: latency, memory, versions."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import numpy as np

_PACKAGES = {
    "mmsearch": "mmsearch",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "faiss": "faiss-cpu",
    "torch": "torch",
    "PIL": "pillow",
}


def latency(name: str, ms: list[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, and how many a second; empty for nothing."""
    if not ms:
        return {}
    p50, p95 = np.percentile(ms, (50, 95))
    return {
        f"{name} ms p50": round(float(p50), 3),
        f"{name} ms p95": round(float(p95), 3),
        f"{name} per second": round(1000 * len(ms) / max(sum(ms), 1e-9), 1),
    }


def peak_mb() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def hardware() -> str:
    """The kind of processor, and how many there are: a latency means nothing without."""
    return f"{platform.machine()}, {os.cpu_count()} CPUs"


def versions() -> dict[str, str]:
    """Versions of what took part: mmsearch, Python, and the libraries that are loaded."""
    found = {"python": sys.version.split()[0]}
    for module, package in _PACKAGES.items():
        if module in sys.modules:
            try:
                found[module] = version(package)
            except PackageNotFoundError:
                found[module] = str(getattr(sys.modules[module], "__version__", "?"))
    return found
