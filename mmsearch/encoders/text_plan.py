"""How a text tower is written without torch: what `plan_open_clip` and `plan_hf` say, and `export_text` writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Plan:
    """How a text tower is written: numpy tensors, or a torch module over ids ``(1, length)`` and their mask."""

    settings: dict[str, Any]
    module: Any
    tensors: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)
    tokenizer: Any = None
    """What the `tokenizers` package saves, None for CLIP's own."""


def as_numpy(found: dict[str, Any]) -> dict[str, Any]:
    """Torch tensors of a CLIP-type tower as numpy's: float32, the table of tokens float16."""
    tensors = {name: value.detach().float().cpu().numpy() for name, value in found.items()}
    # A third of CLIP B/32's tower is this table, of which a question reads a dozen rows; rounding costs 1e-7 of cosine.
    tensors["tokens"] = tensors["tokens"].astype(np.float16)
    return tensors
