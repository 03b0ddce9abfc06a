"""Of each closest pair, the smaller goes."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.importance.similarity import removal_distances


def test_by_hand() -> None:
    # Unit-L1: a (1, 0), b (.9, .1), c (0, 1), d (.5, .5); distances ab .2, ad 1, bd .8, cd 1, bc 1.8, ac 2
    filters = torch.tensor([[2.0, 0.0], [0.9, 0.1], [0.0, 3.0], [5.0, 5.0]], dtype=torch.float64)
    # ab first: b is smaller and goes at .2. Then ad and cd at 1: a is smaller than d, then c than d.
    assert removal_distances(filters).tolist() == pytest.approx([1.0, 0.2, 1.0, 2.0])


def test_twins_go_first_and_one_of_them_stays() -> None:
    filters = torch.eye(4, dtype=torch.float64)[[0, 1, 2, 0]] * torch.tensor([[1.0], [1.0], [1.0], [2.0]])
    result = removal_distances(filters)
    assert result[0] == 0 and (np.delete(result, 0) >= 2).all()


def test_a_single_filter_and_one_that_is_no_number() -> None:
    assert removal_distances(torch.ones(1, 3)).tolist() == [2.0]
    assert np.isnan(removal_distances(torch.tensor([[1.0], [float("nan")]]))).all()


@pytest.mark.parametrize("seed", range(5))
def test_against_the_slow_way(seed: int) -> None:
    filters = torch.from_numpy(np.random.default_rng(seed).normal(size=(9, 4)))
    unit, norms = filters / filters.abs().sum(1, keepdim=True), filters.abs().sum(1)
    left, expected, worst = list(range(9)), np.zeros(9), 0.0
    while len(left) > 1:
        apart, i, j = min((float((unit[a] - unit[b]).abs().sum()), a, b) for a in left for b in left if a < b)
        gone = i if norms[i] < norms[j] else j
        worst = max(worst, apart)
        expected[gone] = worst
        left.remove(gone)
    expected[left[0]] = max(worst, 2.0)
    assert removal_distances(filters).tolist() == pytest.approx(expected.tolist())


def test_the_criterion_on_a_network() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    with torch.no_grad():
        model[0].weight[2] = 0.5 * model[0].weight[1]
    graph = build_graph(model, torch.zeros(1, 3, 8, 8))
    assert int(score(graph, "similarity").argmin()) == 2
