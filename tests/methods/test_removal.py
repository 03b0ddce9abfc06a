"""One removal after another: targets of the original, momentum cut like the weights."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.budget import Budget, Target
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.methods.removal import keep_all, remove, sliced
from edgeprune.models import build

IMAGE = torch.zeros(1, 3, 16, 16)


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return build("resnet20", num_classes=5, width=8).eval()


def flops(fraction: float, original: float) -> Budget:
    return Budget((Target("flops", fraction),), {"flops": original})


def randomised(graph: Graph) -> Graph:
    torch.manual_seed(1)
    for module in graph.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return graph


def test_removals_in_a_row_meet_targets_of_the_original() -> None:
    graph = randomised(build_graph(resnet(), IMAGE))
    original = graph.flops()
    for fraction in (0.8, 0.6, 0.4):
        done = remove(graph, score(graph, "l1"), flops(fraction, original))
        graph = build_graph(done.model, IMAGE)
        assert graph.flops() / original == pytest.approx(fraction, rel=0.02)
        assert graph.flops() <= fraction * original
    assert torch.isfinite(graph.model(torch.randn(2, 3, 16, 16))).all()


def test_two_removals_agree_with_masking_both_times() -> None:
    """The second removal cuts a model that has been cut before: padded shortcuts are slices by then."""
    from edgeprune.rewrite.masking import mask

    graph = randomised(build_graph(resnet(), IMAGE))
    original, x = graph.flops(), torch.randn(4, 3, 16, 16)
    for seed, fraction in enumerate((0.7, 0.5)):
        scores = np.random.default_rng(seed).random(graph.classes)
        done = remove(graph, scores, flops(fraction, original))
        with torch.no_grad():
            expected, got = mask(graph, done.plan)(x), done.model(x)
        assert float((expected - got).abs().max() / expected.abs().max()) < 1e-5
        graph = build_graph(done.model, IMAGE)


def test_a_target_that_is_met_removes_nothing() -> None:
    graph = build_graph(resnet(), IMAGE)
    done = remove(graph, score(graph, "l1"), flops(0.9, graph.flops() * 1.2))
    assert done.plan.keep.all()
    assert sum(p.numel() for p in done.model.parameters()) == graph.params()
    assert keep_all(graph) == Plan.everything(graph).to_dict(graph)


def test_momentum_is_cut_and_ordered_as_the_weights_are() -> None:
    """Momentum that equals the weights must equal the smaller model's weights afterwards."""
    graph = randomised(build_graph(resnet(), IMAGE))
    momentum = {n: 3 * p.detach().clone() for n, p in graph.model.named_parameters()}
    before = {n: p.detach().clone() for n, p in graph.model.named_parameters()}
    done = remove(graph, score(graph, "l1"), flops(0.5, graph.flops()), momentum=momentum)
    small = dict(done.model.named_parameters())
    assert done.momentum.keys() == small.keys()
    for name, value in done.momentum.items():
        assert torch.equal(value, 3 * small[name].detach()), name
    assert any(value.shape != before[name].shape for name, value in done.momentum.items())
    for name, parameter in graph.model.named_parameters():
        assert torch.equal(parameter, before[name])


def test_a_parameter_without_momentum_gets_none() -> None:
    graph = build_graph(resnet(), IMAGE)
    only = {"conv1.weight": torch.ones(8, 3, 3, 3)}
    plan = remove(graph, score(graph, "l1"), flops(0.5, graph.flops())).plan
    assert sliced(graph, plan, only).keys() == only.keys()
    assert sliced(graph, plan, {}) == {}


def test_every_parameter_moves_after_a_removal() -> None:
    """A new optimizer on the smaller model: nothing of it holds on to tensors that are gone."""
    graph = randomised(build_graph(resnet(), IMAGE))
    momentum = {n: torch.ones_like(p) for n, p in graph.model.named_parameters()}
    model = remove(graph, score(graph, "l1"), flops(0.5, graph.flops()), momentum=momentum).model
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x: Tensor = torch.randn(4, 3, 16, 16)
    nn.functional.cross_entropy(model.train()(x), torch.tensor([0, 1, 2, 3])).backward()
    optimizer.step()
    still = [n for n, p in model.named_parameters() if torch.equal(p, before[n])]
    assert still == []
