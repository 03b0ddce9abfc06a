"""The ridge of fits on few samples: by hand, and where it is needed."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.reconstruct import reconstruct, ridge
from edgeprune.reconstruct.ridge import Products, best_change
from edgeprune.rewrite.compaction import compact


def products(read: list[float], missing: list[float]) -> Products:
    """Return the sums of one input and one output."""
    return Products.of(
        torch.tensor(read).view(1, -1, 1).double(), torch.tensor(missing).view(1, -1, 1).double()
    )


def test_sums_by_hand() -> None:
    sums = products([1, 2], [3, -1]) + products([2], [1])
    assert (sums.left.item(), sums.right.item(), sums.energy, sums.samples) == (9, 3, 11, 3)
    assert sums.change(0.5).item() == pytest.approx(3 / (9 * 1.5))
    # 3 - 1 / 3, -1 - 2 / 3 and 1 - 2 / 3 are left
    assert sums.left_over(torch.full((1, 1, 1), 1 / 3).double()) == pytest.approx(64 / 9 + 25 / 9 + 1 / 9)


def test_the_ridge_is_the_best_for_the_other_half() -> None:
    """A fit on the first half gives 1 / (1 + r), on the second 0.5 / (1 + r).

    What they leave over of the other half: 0.5625 at r = 1, 0.465 at 0.1, 0.495 at 0.01.
    """
    change = best_change((products([1], [1]), products([1], [0.5])))
    assert change is not None
    assert change.item() == pytest.approx(1.5 / (2 * 1.1))


def test_halves_that_contradict_each_other_change_nothing() -> None:
    assert best_change((products([1], [1]), products([1], [-1]))) is None


def test_with_plenty_of_samples_it_is_plain_least_squares() -> None:
    change = best_change((products([1] * 16, [1] * 16), products([1] * 16, [0.5] * 16)))
    assert change is not None
    assert change.item() == pytest.approx(0.75)


class Pooled(nn.Module):
    """A layer that reads one position of each input, which a fit on few inputs has little of."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 48, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(48, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


@pytest.mark.parametrize("ways", ["kernel", "sequential"])
def test_few_inputs_do_no_harm_behind_a_pooling(ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = Pooled().eval()
    images, fresh = (torch.randn(n, 3, 6, 6) * torch.rand(n, 3, 1, 1) for n in (40, 400))

    def error(*, fitted: bool) -> float:
        graph = build_graph(model, images[:1])
        plan = Plan.of(graph, np.arange(graph.classes) >= 16)
        weight = model.head.weight.detach().clone()
        if fitted:
            assert reconstruct(graph, plan, [images], ways) == 1
        with torch.no_grad():
            small = compact(graph, plan).model(fresh)
            model.head.weight.copy_(weight)
            return float((small - model(fresh)).square().sum())

    cut, fitted = error(fitted=False), error(fitted=True)
    monkeypatch.setattr(ridge, "PLENTY", 0)  # as if all samples were worth a fit
    plain = error(fitted=True)
    assert fitted < 0.1 * cut, (cut, fitted, plain)
    assert fitted < 0.5 * plain, (cut, fitted, plain)
