"""Read a safetensors file by mapping it: nothing is copied until it is used.

Format: eight bytes of little-endian header length, a JSON header of names with dtype, shape and byte range, then the
bytes (https://github.com/huggingface/safetensors#format). Importing the ``safetensors`` package would cost a cold
query more than these lines.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

_DTYPES = {"U8": np.uint8, "I8": np.int8, "U32": np.uint32, "F16": np.float16, "F32": np.float32}


def read(path: str) -> dict[str, npt.NDArray[Any]]:
    """Read-only views of every tensor, by name."""
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    return {
        name: data[start + entry["data_offsets"][0] : start + entry["data_offsets"][1]]
        .view(_DTYPES[entry["dtype"]])
        .reshape(entry["shape"])
        for name, entry in header.items()
    }
