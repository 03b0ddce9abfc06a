"""The continuous mask on numbers worked by hand."""

import pytest
import torch

from edgeprune.learned.mask import FLOOR_VALUE, continuous_mask, evidence, shared_mask, with_floor


def test_evidence_by_hand() -> None:
    # Two images, two channels: channel means 2 and 4, mean of all 3, variance (9 + 1 + 1 + 9) / 4 = 5.
    y = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    assert evidence(y).tolist() == pytest.approx([-1 / (2 * 5**0.5), 1 / (2 * 5**0.5)])


def test_evidence_of_a_bank_is_that_of_each_copy() -> None:
    y = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(evidence(y), torch.stack([evidence(item) for item in y]))


def test_evidence_is_within_a_half_on_average_and_centred() -> None:
    result = evidence(torch.randn(6, 64, generator=torch.Generator().manual_seed(1)) * 37 + 5)
    assert float(result.mean()) == pytest.approx(0, abs=1e-6)
    assert float(result.abs().mean()) < 0.5


def test_evidence_of_a_constant_is_zero_and_has_a_finite_gradient() -> None:
    y = torch.full((4, 3), 2.0, requires_grad=True)
    result = evidence(y)
    result.sum().backward()
    assert result.tolist() == [0, 0, 0]
    assert y.grad is not None and bool(torch.isfinite(y.grad).all())


def test_continuous_mask_by_hand() -> None:
    # 1 / 2 + 0.3 + 1.15 - (100 + 150) / 1000 = 1.7; the second channel is far off.
    before = continuous_mask(torch.tensor([1.0, 0.0]), torch.tensor([0.3, -2.0]), progress=0.25)
    assert before.tolist() == pytest.approx([1.7, -1.1])
    assert continuous_mask(torch.tensor([0.0]), torch.tensor([0.0]), progress=0.5, offset=2.0).tolist() == [
        1.5
    ]


def test_gradient_goes_through_the_new_term_and_not_through_the_previous_mask() -> None:
    previous = torch.tensor([1.0], requires_grad=True)
    result = torch.tensor([0.1], requires_grad=True)
    continuous_mask(previous, result, progress=0.0).sum().backward()
    assert previous.grad is None
    assert result.grad is not None and result.grad.tolist() == [1.0]


def test_shared_mask_by_hand() -> None:
    # Averages 1, 2, 0; the mean of all six is 1, so 0.7 goes off each.
    masks = torch.tensor([[0.0, 4.0, 0.0], [2.0, 0.0, 0.0]])
    assert shared_mask(masks).tolist() == pytest.approx([0.3, 1.3, -0.7])


@pytest.mark.parametrize(
    ("before", "floor", "after"),
    [
        ([1.0, -1.0, 0.5], 2, [1.0, 0.0, 0.5]),  # enough are on: a plain ReLU
        ([1.0, -1.0, -0.5], 2, [1.0, 0.0, FLOOR_VALUE]),  # the best of the others is held up
        ([-3.0, -1.0, -2.0], 1, [0.0, FLOOR_VALUE, 0.0]),
        ([-3.0, -1.0], 5, [FLOOR_VALUE, FLOOR_VALUE]),  # no more than there are
        ([0.01, 0.02], 1, [0.01, FLOOR_VALUE]),
    ],
)
def test_with_floor(before: list[float], floor: int, after: list[float]) -> None:
    assert with_floor(torch.tensor(before), floor).tolist() == pytest.approx(after)


def test_with_floor_passes_the_gradient_of_what_is_on() -> None:
    before = torch.tensor([1.0, -1.0, 0.5, 0.3], requires_grad=True)
    with_floor(before, 2).sum().backward()
    assert before.grad is not None and before.grad.tolist() == [1.0, 0.0, 1.0, 1.0]
