"""Penalties: what they add to the gradient, by hand."""

import pytest
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.methods.penalties import GroupLasso, Slimming, lr_integral


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 1)
    ).eval()


def test_the_integral_counts_momentum() -> None:
    assert lr_integral(lambda step: [0.1, 0.3][step], 2, 0.9) == pytest.approx(4.0)


def test_slimming_adds_its_sign() -> None:
    graph = build_graph(net(), torch.zeros(1, 1, 4, 4))
    norm = graph.model.get_submodule("1")
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, -0.5, 0.0]))
    slimming = Slimming(graph, lr_integral=2.0, shrink=0.5)
    norm.weight.grad = torch.tensor([0.1, 0.1, 0.1])
    slimming.before_update(0.1)
    s = 0.5 * 0.5 / 2.0  # shrink, mean scale, integral of the learning rate
    assert norm.weight.grad.tolist() == pytest.approx([0.1 + s, 0.1 - s, 0.1])


def test_an_undefended_scale_loses_its_share() -> None:
    graph = build_graph(net(), torch.zeros(1, 1, 4, 4))
    norm, steps = graph.model.get_submodule("1"), 400
    optimizer = torch.optim.SGD([norm.weight], lr=0.05, momentum=0.9)
    slimming = Slimming(graph, lr_integral(lambda _: 0.05, steps, 0.9), shrink=0.66)
    for _ in range(steps):
        norm.weight.grad = torch.zeros(3)
        slimming.before_update(0.05)
        optimizer.step()
    assert norm.weight.tolist() == pytest.approx([0.34] * 3, abs=0.02)


def test_the_group_lasso_by_hand() -> None:
    graph = build_graph(net(), torch.zeros(1, 1, 4, 4))
    weight = graph.model.get_parameter("0.weight")
    with torch.no_grad():
        weight.copy_(torch.tensor([3.0, -4.0, 0.0]).view(3, 1, 1, 1))
    lasso = GroupLasso(graph, lr_integral=10.0, shrink=0.6)
    weight.grad = torch.zeros_like(weight)
    lasso.before_update(0.1)
    strength = 0.6 * (7 / 3) / 10
    assert weight.grad.flatten().tolist() == pytest.approx([strength, -strength, 0.0])
    assert {axis for _, axis, _ in lasso.groups} == {
        0,
        1,
    }  # filters of the first, input channels of the second


def test_a_step_takes_no_more_than_a_groups_norm() -> None:
    graph = build_graph(net(), torch.zeros(1, 1, 4, 4))
    weight = graph.model.get_parameter("0.weight")
    lasso = GroupLasso(graph, lr_integral=1e-6)
    weight.grad = torch.zeros_like(weight)
    before = weight.detach().clone()
    lasso.before_update(0.5)
    assert torch.allclose(before - 0.5 * weight.grad, torch.zeros_like(before), atol=1e-6)


def test_a_weight_pulled_along_both_axes_loses_its_share_once() -> None:
    """No loss defends it: after the phase it has lost ``shrink`` of its size, not twice that."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 1), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 1)
    ).eval()
    graph = build_graph(model, torch.zeros(1, 1, 4, 4))
    weight, steps, rate = graph.model.get_parameter("2.weight"), 200, 0.01
    lasso = GroupLasso(graph, lr_integral(lambda _: rate, steps, 0.0), shrink=0.6)
    assert sum(parameter is weight for parameter, _, _ in lasso.groups) == 2
    before = float(weight.detach().norm())
    for _ in range(steps):
        weight.grad = torch.zeros_like(weight)
        lasso.before_update(rate)
        weight.data.sub_(rate * weight.grad)
    assert float(weight.detach().norm()) == pytest.approx(0.4 * before, rel=0.1)
