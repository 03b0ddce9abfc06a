"""Filters that take from removed ones while they are trained: by hand, and through a whole run."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.methods.compensation import compensated, removed_filters, renamed
from edgeprune.rewrite.compaction import compact


def pruned(dropped: tuple[int, ...] = (1, 3)) -> tuple[nn.Module, nn.Module, dict[str, torch.Tensor]]:
    """Return a network, what is left of it, and the filters that were removed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3)).eval()
    graph = build_graph(model, torch.zeros(1, 2, 8, 8))
    keep = np.ones(graph.classes, dtype=bool)
    keep[list(dropped)] = False
    plan = Plan.of(graph, keep)
    return model, compact(graph, plan).model, removed_filters([(graph, plan)], dict(model.named_parameters()))


def test_removed_filters_are_the_rows_that_went() -> None:
    model, _, removed = pruned()
    assert list(removed) == ["0.weight"]
    assert torch.equal(removed["0.weight"], model.get_parameter("0.weight")[[1, 3]])


def test_after_two_removals_rows_and_columns_are_those_of_both() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)).eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    chain, now = [], model
    for place in ("0.weight", "1.weight"):
        graph = build_graph(now, torch.zeros(1, 2, 4, 4))
        keep = np.ones(graph.classes, dtype=bool)
        keep[graph.param_axes[place, 0][1]] = False  # the second filter of each goes
        chain.append((graph, Plan.of(graph, keep)))
        now = compact(*chain[-1]).model
    removed = removed_filters(chain, weights)
    assert torch.equal(removed["0.weight"], weights["0.weight"][[1]])
    assert torch.equal(removed["1.weight"], weights["1.weight"][[1]][:, [0, 2, 3]])


def test_nothing_changes_until_it_is_trained_and_then_it_is_folded() -> None:
    _, small, removed = pruned()
    x, before = torch.randn(2, 2, 8, 8), small.get_parameter("0.weight").detach().clone()
    expected = small(x)
    with compensated(small, removed):
        torch.testing.assert_close(small(x), expected)
        own = small.get_submodule("0").parametrizations["weight"][0]
        with torch.no_grad():
            own.shares[0, 1] = 2.0
        inside = small(x)
    after = small.get_parameter("0.weight").detach()
    torch.testing.assert_close(after[0], before[0] + 2 * removed["0.weight"][1])
    assert torch.equal(after[1], before[1])
    torch.testing.assert_close(small(x), inside)
    assert list(small.state_dict()) == list(pruned()[1].state_dict())


def test_shares_and_removed_filters_are_trained() -> None:
    _, small, removed = pruned()
    with compensated(small, removed):
        small(torch.randn(2, 2, 8, 8)).square().sum().backward()
        own = small.get_submodule("0").parametrizations["weight"][0]
        assert float(own.shares.grad.abs().sum()) > 0
        with torch.no_grad():
            own.shares.fill_(0.1)
        small(torch.randn(2, 2, 8, 8)).square().sum().backward()
        assert float(own.removed.grad.abs().sum()) > 0


def test_filters_of_groups_and_shared_weights_are_left_alone() -> None:
    layer = nn.Conv2d(4, 4, 1, groups=2)
    model = nn.Sequential(layer, nn.Conv2d(4, 4, 1))
    with compensated(model, {"0.weight": torch.zeros(1, 2, 1, 1)}):
        assert not hasattr(layer, "parametrizations")
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1))
    model[1].weight = model[0].weight
    with compensated(model, {"0.weight": torch.zeros(1, 4, 1, 1)}):
        assert not hasattr(model[0], "parametrizations")


def test_momentum_keeps_to_its_parameter() -> None:
    _, small, removed = pruned()
    momentum = {name: torch.full_like(p, 3.0) for name, p in small.named_parameters()}
    with compensated(small, removed):
        now = renamed(small, momentum)
        own = dict(small.named_parameters())
        assert set(now) < set(own)
        assert all(now[name].shape == own[name].shape for name in now)
    assert renamed(small, momentum) == momentum


@pytest.mark.parametrize("failing", [True, False])
def test_the_network_is_plain_afterwards_whatever_happens(failing: bool) -> None:
    _, small, removed = pruned()
    try:
        with compensated(small, removed):
            if failing:
                raise KeyError
    except KeyError:
        pass
    assert not any("parametrizations" in name for name in small.state_dict())
