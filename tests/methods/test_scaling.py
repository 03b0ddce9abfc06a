"""Sparse structure selection: the proximal step by hand, and factors folded into the weights."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.graph.classes import build_graph
from edgeprune.methods.scaling import ScaleFactors
from edgeprune.models import build

IMAGE = torch.zeros(1, 3, 16, 16)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def test_two_proximal_steps_by_hand() -> None:
    factors = ScaleFactors(build_graph(net(), IMAGE), lr_integral=2.0, momentum=0.5, shrink=0.4)
    gamma, rate = 0.4 / 2.0, 0.1
    f, v = np.ones(4), np.zeros(4)
    for gradient in ([1.0, 0.0, -1.0, 30.0], [2.0, 0.0, 0.0, 30.0]):
        factors.factors.grad = torch.tensor(gradient)
        factors.before_update(rate)
        z = f - rate * np.array(gradient)
        z = np.sign(z) * np.maximum(np.abs(z) - rate * gamma, 0)
        v = z - f + 0.5 * v
        f = np.maximum(z + 0.5 * v, 0)
        assert factors.factors.tolist() == pytest.approx(f.tolist(), abs=1e-6)
    assert f[3] == 0 and factors.after_step(1) == {"zero_factors": 1}


def test_folding_changes_nothing_that_is_computed() -> None:
    torch.manual_seed(0)
    graph = build_graph(build("resnet20", num_classes=5, width=8).eval(), IMAGE)
    names = list(dict(graph.model.named_parameters()))
    factors = ScaleFactors(graph, lr_integral=1.0)
    with torch.no_grad():
        factors.factors.uniform_(0.2, 2.0)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        before = graph.model(x)
    scores = factors.fold()
    with torch.no_grad():
        after = graph.model(x)
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-6)
    assert sorted(dict(graph.model.named_parameters())) == sorted(names)
    assert scores.tolist() == factors.factors.double().tolist()


def test_the_loss_reaches_factors_and_weights() -> None:
    graph = build_graph(net(), IMAGE)
    weights = list(graph.model.parameters())
    factors = ScaleFactors(graph, lr_integral=1.0)
    graph.model(torch.randn(2, 3, 4, 4)).square().sum().backward()
    (leaf,) = factors.leaves()
    assert leaf.grad is not None and bool((leaf.grad != 0).any())
    assert all(w.grad is not None for w in weights)
    assert not any(p is leaf for p in graph.model.parameters())


def test_a_class_without_a_factor_above_zero_is_off() -> None:
    graph = build_graph(net(), IMAGE)
    factors = ScaleFactors(graph, lr_integral=1.0)
    with torch.no_grad():
        factors.factors[1] = 0.0
    factors.fold()
    read = graph.model.get_parameter("2.weight").detach()
    assert float(read[:, 1].abs().sum()) == 0 and float(read[:, 0].abs().sum()) > 0


def test_state_is_taken_back() -> None:
    first, second = (ScaleFactors(build_graph(net(), IMAGE), lr_integral=1.0) for _ in range(2))
    first.factors.grad = torch.randn(4)
    first.before_update(0.1)
    second.restore(first.state())
    assert torch.equal(first.factors, second.factors) and torch.equal(first.velocity, second.velocity)


def test_a_model_with_nothing_to_scale() -> None:
    with pytest.raises(ModelError, match="nothing to scale"):
        ScaleFactors(build_graph(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval(), IMAGE), lr_integral=1.0)


def test_the_lists_in_checkpoints_of_earlier_versions_are_taken_back() -> None:
    graph = build_graph(build("resnet8", num_classes=4), IMAGE)
    factors = ScaleFactors(graph, lr_integral=1.0)
    state = {"factors": [0.5] * graph.classes, "velocity": [0.25] * graph.classes}
    factors.restore(state)
    assert bool((factors.factors == 0.5).all()) and bool((factors.velocity == 0.25).all())
    again = ScaleFactors(build_graph(build("resnet8", num_classes=4), IMAGE), lr_integral=1.0)
    again.restore(factors.state())
    assert torch.equal(again.factors, factors.factors) and torch.equal(again.velocity, factors.velocity)
