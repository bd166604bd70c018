"""Losses of cross-modal learning, each as a pure function of unit rows.

``a`` and ``b`` are float ``(n, d)`` unit rows; row ``i`` of one belongs to row ``i`` of the other, and every other
row is taken as a mismatch. Each returns a scalar. ``scale`` is the inverse temperature.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(a: Tensor, b: Tensor, scale: Tensor | float, soft: Tensor | None = None) -> Tensor:
    """Symmetric cross entropy over the batch (CLIP: Radford et al., ICML 2021, figure 3).

    ``soft`` ``(n, n)`` with rows summing to 1 replaces the identity as the target, for batches in which several
    captions fit a photo; it is taken as symmetric.
    """
    logits = scale * a @ b.T
    target = torch.arange(len(a), device=a.device) if soft is None else soft
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def sigmoid(a: Tensor, b: Tensor, scale: Tensor | float, bias: Tensor | float) -> Tensor:
    """Every pair judged alone, match or not (SigLIP: Zhai et al., ICCV 2023, algorithm 1)."""
    logits = scale * a @ b.T + bias
    signs = 2 * torch.eye(len(a), device=a.device) - 1
    return -F.logsigmoid(signs * logits).sum() / len(a)


def hardest_triplet(a: Tensor, b: Tensor, margin: float = 0.2) -> Tensor:
    """A match beats the batch's hardest mismatch by ``margin``, both ways (VSE++: Faghri et al., BMVC 2018)."""
    similarity = a @ b.T
    match = similarity.diagonal()
    mismatch = similarity.masked_fill(torch.eye(len(a), dtype=torch.bool, device=a.device), -torch.inf)
    by_row = F.relu(margin + mismatch.amax(1) - match)
    by_column = F.relu(margin + mismatch.amax(0) - match)
    return (by_row + by_column).mean()


def feature_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """One minus the cosine to the teacher's vector of the same input (after Reimers and Gurevych, EMNLP 2020)."""
    return (1 - F.cosine_similarity(student, teacher, dim=-1)).mean()


def relational_distillation(student: Tensor, teacher: Tensor, scale: float = 20.0) -> Tensor:
    """KL between the batch's similarity distributions (Tung and Mori, ICCV 2019; Fang et al., SEED, ICLR 2021).

    Both are unit rows; their widths may differ. The similarity of a row to itself says nothing and is left out.
    """
    own = torch.eye(len(student), dtype=torch.bool, device=student.device)
    wanted = (scale * teacher @ teacher.T).masked_fill(own, -1e4).softmax(1)
    found = (scale * student @ student.T).masked_fill(own, -1e4).log_softmax(1)
    return F.kl_div(found, wanted, reduction="batchmean")


def label_distillation(logits: Tensor, teacher_logits: Tensor) -> Tensor:
    """KL from the teacher classifier's softmax (Hinton et al., 2015), both ``(n, classes)``."""
    return F.kl_div(logits.log_softmax(1), teacher_logits.softmax(1), reduction="batchmean")
