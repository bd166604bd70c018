"""mmsearch finds photos, sounds, videos and texts by meaning, in an index of your own files.

The names below are the public door; they are loaded when first used, so that importing mmsearch costs nothing.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmsearch.errors import MMSearchError
    from mmsearch.library import Answer, Library
    from mmsearch.types import Encoder, EncoderSpec, Hit, Modality, Query, VectorIndex

# Read by those packages as they are loaded, whoever loads them: ONNX Runtime would report to its maker, the Hub's
# client would tell what else is installed and ask who runs it.
for _variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_variable, "1")

__version__ = "0.1.0"

_HOME = {
    "Answer": "library",
    "Encoder": "types",
    "EncoderSpec": "types",
    "Hit": "types",
    "Library": "library",
    "MMSearchError": "errors",
    "Modality": "types",
    "Query": "types",
    "VectorIndex": "types",
}

__all__ = [
    "Answer",
    "Encoder",
    "EncoderSpec",
    "Hit",
    "Library",
    "MMSearchError",
    "Modality",
    "Query",
    "VectorIndex",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mmsearch' has no attribute {name!r}")
    return getattr(import_module(f"mmsearch.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
