"""What every training stage shares: batches, the learning-rate schedule, and weights averaged over time."""

from __future__ import annotations

import copy
import ctypes
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn


def keep_freed_memory() -> None:
    """Tell glibc's malloc to keep what is freed instead of giving it back to the kernel.

    A step on the CPU takes and frees gigabytes; fresh pages from the kernel cost 1.6 times the step (measured).
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, -1)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Parameters of ``mallopt(3)``."""


def shuffled(n: int, batch: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Positions 0..n-1 in random order, in whole batches; the remainder is left for another epoch."""
    order = rng.permutation(n)
    for start in range(0, n - batch + 1, batch):
        yield order[start : start + batch]


class Schedule:
    """Linear warm-up over the first twentieth of ``steps``, then cosine to zero, for every parameter group."""

    def __init__(self, optimizer: torch.optim.Optimizer, steps: int) -> None:
        def factor(step: int) -> float:
            warm = max(1, steps // 20)
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, steps - warm))))

        self._schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        self._optimizer = optimizer

    def step(self, loss: torch.Tensor) -> None:
        """Back-propagate, clip, update."""
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self._optimizer.param_groups:
            nn.utils.clip_grad_norm_(group["params"], 1.0)
        self._optimizer.step()
        self._schedule.step()


class Average:
    """A copy of a module whose weights follow its own exponentially (Polyak averaging)."""

    def __init__(self, module: nn.Module, decay: float = 0.99) -> None:
        self.module = copy.deepcopy(module).eval()
        self._decay, self._steps = decay, 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        for mine, theirs in zip(self.module.parameters(), module.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)


def decayed(module: nn.Module, rate: float, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups of AdamW: matrices decay, vectors do not."""
    matrices = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    vectors = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    return [
        {"params": matrices, "lr": rate, "weight_decay": weight_decay},
        {"params": vectors, "lr": rate, "weight_decay": 0.0},
    ]
