"""Random views of photos for training."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def crops(pixels: np.ndarray, size: int, rng: np.random.Generator) -> Tensor:
    """Random crops (half to all of the area), mirrored half of the time, other brightness and contrast.

    uint8 ``(n, h, w, 3)`` to float ``(n, 3, size, size)``. Flickr8k comes squashed to squares: crops of other aspect
    ratios show both squashed and natural shapes.
    """
    out = torch.empty(len(pixels), 3, size, size)
    for i, photo in enumerate(pixels):
        patch = _window(photo, rng).permute(2, 0, 1)[None].float()
        patch = F.interpolate(patch, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]
        if rng.random() < 0.5:
            patch = patch.flip(2)
        mean = patch.mean()
        out[i] = ((patch - mean) * rng.uniform(0.7, 1.3) + mean + rng.uniform(-25, 25)).clamp(0, 255)
    return out


def _window(photo: np.ndarray, rng: np.random.Generator) -> Tensor:
    side = len(photo)
    area, ratio = rng.uniform(0.5, 1) * side * side, np.exp(rng.uniform(-0.35, 0.35))
    width, height = (min(side, int(np.sqrt(area * r))) for r in (ratio, 1 / ratio))
    left, top = rng.integers(side - width + 1), rng.integers(side - height + 1)
    return torch.from_numpy(photo[top : top + height, left : left + width].copy())
