import pytest
import torch
from torch import Tensor

from edgeprune.graph import labels as lb


def kept(*gone: int):
    return lambda labels: ~torch.isin(labels, torch.tensor(gone))


def lists(axes: list[Tensor] | None) -> list[list[int]] | None:
    return None if axes is None else [axis.tolist() for axis in axes]


def test_spread_costs_what_its_channels_cost() -> None:
    labels = lb.spread(torch.arange(1, 5), 1, (2, 4, 100, 100))
    assert labels.shape == (2, 4, 100, 100) and lb.core(labels).numel() == 4
    assert lb.core(lb.compress(labels.contiguous())).shape == (1, 4, 1, 1)


@pytest.mark.parametrize(
    ("labels", "gone", "expected"),
    [
        (torch.tensor([[1, 2, 3]]), (2,), [[0], [0, 2]]),
        (torch.tensor([[1, 2, 3]]), (), [[0], [0, 1, 2]]),
        (torch.tensor([[1, 2, 3]]), (1, 2, 3), [[0], []]),
        (torch.tensor([[1, 2], [3, 4]]), (3, 4), [[0], [0, 1]]),
        (torch.tensor([[1, 2], [3, 4]]), (1, 3), [[0, 1], [1]]),
        (torch.tensor([[1, 2], [3, 4]]), (1,), None),
        (torch.tensor([[1, 2], [3, 4]]), (1, 4), None),
        (torch.tensor([[0, 2], [0, 4]]), (2, 4), [[0, 1], [0]]),
        (lb.spread(torch.tensor([7]), 1, (2, 1, 3)), (7,), [[0, 1], [], [0, 1, 2]]),
    ],
)
def test_survivors_form_a_grid_or_none(labels: Tensor, gone: tuple[int, ...], expected: object) -> None:
    assert lists(lb.alive_indices(labels, kept(*gone))) == expected


@pytest.mark.parametrize(
    ("labels", "axis", "expected"),
    [
        (torch.tensor([[1, 2], [1, 2]]), 1, [1, 2]),
        (torch.tensor([[1, 2], [1, 2]]), 0, None),
        (torch.tensor([[1, 2], [0, 2]]), 1, [1, 2]),
        (torch.tensor([[1, 2], [3, 2]]), 1, None),
        (torch.tensor([[5, 5], [5, 5]]), 0, [5, 5]),
    ],
)
def test_vector_along_an_axis(labels: Tensor, axis: int, expected: list[int] | None) -> None:
    result = lb.vector_along(labels, axis)
    assert (None if result is None else result.tolist()) == expected


def test_cat_writes_out_no_constant_axis() -> None:
    parts = [
        lb.spread(torch.arange(1, 4), 1, (2, 3, 50, 50)),
        lb.spread(torch.arange(4, 6), 1, (2, 2, 50, 50)),
    ]
    result = lb.cat(parts, -3)
    assert result.shape == (2, 5, 50, 50) and lb.core(result).flatten().tolist() == [1, 2, 3, 4, 5]


def test_matching_looks_at_shape_order_and_nesting() -> None:
    a = lb.spread(torch.tensor([1, 2]), 1, (1, 2, 4))
    assert lb.matches(a.contiguous(), a) and lb.matches((a, a), [a, a])
    assert not lb.matches(a.flip(1), a)
    assert not lb.matches(a[..., :3], a)
    assert not lb.matches((a,), (a, a)) and not lb.matches(None, a)


def test_mapped_keeps_the_nesting() -> None:
    assert lb.mapped({"a": [1, (2, 3)]}, lambda v: v + 1) == {"a": (2, (3, 4))}
    assert lb.flat({"a": [1, (2, 3)], "b": 4}) == [1, 2, 3, 4]
