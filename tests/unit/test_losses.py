"""The losses against values worked out by hand, and the properties that their papers claim."""

import math

import pytest

torch = pytest.importorskip("torch", reason="the training package needs torch")

from mmsearch.training import losses  # noqa: E402


def unit_rows(n: int, d: int, seed: int = 0) -> "torch.Tensor":
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(rows, dim=1)


def test_info_nce_of_orthogonal_pairs_by_hand():
    a = torch.eye(2, dtype=torch.float64)
    # Each row scores 3 against its match and 0 against the other: log(1 + e^-3).
    assert losses.info_nce(a, a, 3.0).item() == pytest.approx(math.log1p(math.exp(-3)))


def test_info_nce_with_the_identity_as_soft_target_is_the_hard_one():
    a, b = unit_rows(6, 4), unit_rows(6, 4, 1)
    soft = torch.eye(6, dtype=torch.float64)
    assert losses.info_nce(a, b, 7.0, soft).item() == pytest.approx(losses.info_nce(a, b, 7.0).item())


def test_sigmoid_by_hand():
    a = torch.eye(2, dtype=torch.float64)
    # Matches score 10 - 5, mismatches 0 - 5: all four terms are log(1 + e^-5), summed over pairs, divided by 2.
    assert losses.sigmoid(a, a, 10.0, -5.0).item() == pytest.approx(2 * math.log1p(math.exp(-5)))


def test_hardest_triplet_by_hand():
    a = torch.eye(2, dtype=torch.float64)
    b = torch.tensor([[0.6, 0.8], [0.0, 1.0]], dtype=torch.float64)
    # Row 0: 0.2 + 0.0 - 0.6 < 0. Row 1: 0.2 + 0.8 - 1.0 = 0. Column 0: 0.2 + 0.8 - 0.6 = 0.4. Column 1: 0.2 - 1.0 < 0.
    assert losses.hardest_triplet(a, b).item() == pytest.approx(0.4 / 2)


def test_hardest_triplet_never_takes_the_match_as_its_own_negative():
    a = torch.eye(3, dtype=torch.float64)
    assert losses.hardest_triplet(a, a, margin=0.5).item() == 0.0


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, b: losses.info_nce(a, b, 10.0),
        lambda a, b: losses.sigmoid(a, b, 10.0, -10.0),
        losses.hardest_triplet,
        losses.feature_distillation,
    ],
)
def test_right_pairs_cost_less_than_swapped_ones_and_order_does_not_matter(loss):
    a = unit_rows(8, 16)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(3))
    assert loss(a, a) < loss(a, a.roll(1, 0))
    assert loss(a[order], a[order].flip(1)).item() == pytest.approx(loss(a, a.flip(1)).item())


@pytest.mark.parametrize(
    "loss", [lambda a, b: losses.info_nce(a, b, 10.0), lambda a, b: losses.sigmoid(a, b, 10.0, -5.0)]
)
def test_gradients_agree_with_finite_differences(loss):
    a, b = unit_rows(4, 3).requires_grad_(), unit_rows(4, 3, 1).requires_grad_()
    assert torch.autograd.gradcheck(loss, (a, b))


def test_relational_distillation_ignores_rotation_and_width_but_not_structure():
    teacher = unit_rows(10, 6)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64))[0]
    wider = torch.cat([teacher @ rotation, torch.zeros(10, 3, dtype=torch.float64)], dim=1)
    assert losses.relational_distillation(wider, teacher).item() == pytest.approx(0.0, abs=1e-9)
    assert losses.relational_distillation(unit_rows(10, 6, 9), teacher).item() > 0.01


def test_label_distillation_is_zero_at_the_teacher_and_by_hand_elsewhere():
    teacher = torch.tensor([[2.0, 0.0]], dtype=torch.float64)
    assert losses.label_distillation(teacher, teacher).item() == pytest.approx(0.0)
    p = 1 / (1 + math.exp(-2))
    by_hand = p * math.log(p / 0.5) + (1 - p) * math.log((1 - p) / 0.5)
    assert losses.label_distillation(torch.zeros(1, 2, dtype=torch.float64), teacher).item() == pytest.approx(by_hand)
