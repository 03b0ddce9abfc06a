"""Least squares on the next layer, by hand and by what it is for."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.models import build
from edgeprune.reconstruct import Grams, Sequential, reconstruct, ridge, sequential
from edgeprune.rewrite.compaction import compact


def linear_pair() -> Graph:
    """Hidden channels 0 and 1 are the same; 2 is their sum."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 2, 3, padding=1)).eval()
    with torch.no_grad():
        model[0].weight[1] = model[0].weight[0]
        model[0].weight[2] = 2 * model[0].weight[0]
    return build_graph(model, torch.zeros(1, 2, 5, 5))


def plan_without(graph: Graph, *dropped: int) -> Plan:
    keep = np.ones(graph.classes, dtype=bool)
    keep[list(dropped)] = False
    return Plan.of(graph, keep)


IMAGES = [torch.randn(8, 2, 5, 5, generator=torch.Generator().manual_seed(0)) for _ in range(2)]


@pytest.mark.parametrize("dropped", [(0,), (1, 2), (0, 2)])
def test_what_others_repeat_is_made_up_for_wholly(dropped: tuple[int, ...]) -> None:
    graph = linear_pair()
    x = torch.randn(2, 2, 5, 5)
    expected = graph.model(x)
    plan = plan_without(graph, *dropped)
    assert reconstruct(graph, plan, IMAGES, "kernel", positions=25) == 1
    assert torch.allclose(compact(graph, plan).model(x), expected, atol=1e-3)
    read = graph.model.get_parameter("1.weight")
    assert all(float(read[:, c].abs().sum()) == 0 for c in dropped)


def test_kernels_by_the_normal_equations() -> None:
    """A linear layer: W' = Y X_S^+ by numpy's least squares."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    graph, x = build_graph(model, torch.zeros(1, 3)), torch.randn(500, 3)
    hidden = torch.relu(model[0](x)).detach().double().numpy()
    target = hidden @ model[2].weight.detach().double().numpy().T
    kept = [0, 1, 3]
    expected = np.linalg.lstsq(hidden[:, kept], target, rcond=None)[0].T
    reconstruct(graph, plan_without(graph, 2), [x], "kernel")
    result = graph.model.get_parameter("2.weight").detach().numpy()
    assert np.allclose(result[:, kept], expected, atol=1e-4)
    assert (result[:, 2] == 0).all()


def test_factors_by_hand() -> None:
    """One output, Z_c = w_c x_c: the factors are those of a regression of the sum on the kept ones."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)).eval()
    graph, x = build_graph(model, torch.zeros(1, 3)), torch.randn(60, 3)
    before = model[2].weight.detach().double().numpy().copy()
    parts = torch.relu(model[0](x)).detach().double().numpy() * before
    expected = np.linalg.lstsq(parts[:, [0, 2]], parts.sum(1), rcond=None)[0]
    assert reconstruct(graph, plan_without(graph, 1), [x], "scale") == 1
    result = graph.model.get_parameter("2.weight").detach().numpy() / before
    assert result[0].tolist() == pytest.approx([expected[0], 0.0, expected[1]], rel=1e-3)


@pytest.mark.parametrize("ways", ["scale", "kernel", "sequential"])
def test_it_brings_a_network_nearer_to_what_it_was(ways: str) -> None:
    torch.manual_seed(0)
    graph = build_graph(build("resnet20", num_classes=5, width=8).eval(), torch.zeros(1, 3, 16, 16))
    keep = np.random.default_rng(0).random(graph.classes) < 0.7
    inner = np.zeros(graph.classes, dtype=bool)
    for group in graph.groups:
        if group.name.endswith("conv1") and "layer" in group.name:
            inner[group.classes] = True
    keep |= ~inner
    plan = Plan.of(graph, keep)
    images = [torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(s)) for s in range(3)]
    x = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        expected, plain = graph.model(x), compact(graph, plan).model(x)
    fitted = reconstruct(graph, plan, images, ways)
    assert fitted == sum(1 for g in graph.groups if inner[g.classes[0]] and not keep[g.classes].all())
    with torch.no_grad():
        better = compact(graph, plan).model(x)
    share = {"scale": 1.0, "kernel": 0.9, "sequential": 0.9}[ways]  # one factor a channel cannot do much
    assert float((better - expected).norm()) < share * float((plain - expected).norm())


def test_mistakes() -> None:
    graph = linear_pair()
    with pytest.raises(PlanError, match="needs data"):
        reconstruct(graph, plan_without(graph, 0), None, "kernel")
    with pytest.raises(PlanError, match="did you mean 'kernel'|known: "):
        reconstruct(graph, plan_without(graph, 0), IMAGES, "kernels")
    with pytest.raises(PlanError, match="another model"):
        reconstruct(graph, Plan(np.ones(3, dtype=bool), "other"), IMAGES, "kernel")


def test_a_later_layer_is_fitted_on_what_the_earlier_now_gives() -> None:
    """Three linear layers: the third is fitted by numpy on the second's output as it is after its own fit."""
    torch.manual_seed(3)
    layers = [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)]
    model = nn.Sequential(*layers).eval()
    graph, x = build_graph(model, torch.zeros(1, 4)), torch.randn(800, 4)
    first, second = (w.detach().double().numpy() for w in (layers[2].weight, layers[4].weight))
    hidden = torch.relu(layers[0](x)).detach().double().numpy()
    deep = torch.relu(layers[2](layers[0](x).relu())).detach().double().numpy()
    kept, later = [0, 1, 3, 4], [0, 2, 3, 4, 5]
    fitted = np.linalg.lstsq(hidden[:, kept], hidden @ first.T, rcond=None)[0]
    now = np.maximum(hidden[:, kept] @ fitted + layers[2].bias.detach().double().numpy(), 0)
    expected = np.linalg.lstsq(now[:, later], deep @ second.T, rcond=None)[0].T
    assert reconstruct(graph, plan_without(graph, 2, 5 + 1), [x], "sequential") == 2
    result = graph.model.get_parameter("4.weight").detach().numpy()
    assert np.allclose(result[:, later], expected, atol=1e-4)
    assert (result[:, 1] == 0).all()


def test_in_sequence_layers_are_fitted_on_what_the_compacted_model_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Even through a shortcut that pads: what the last layer misses is orthogonal to what it really reads."""
    monkeypatch.setattr(ridge, "PLENTY", 0)  # what a ridge leaves over is not orthogonal
    torch.manual_seed(0)
    graph = build_graph(build("resnet8", num_classes=3).eval(), torch.zeros(1, 3, 16, 16))
    keep = np.ones(graph.classes, dtype=bool)
    for name in ("conv1", "layer2.0.conv2", "layer3.0.conv2"):
        stream = next(group for group in graph.groups if group.name == name)
        keep[stream.classes[::2]] = False
    plan = Plan.of(graph, keep)
    images = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = graph.model(images)
        reconstruct(graph, plan, [images], "sequential")
        small, read = compact(graph, plan).model, []
        small.get_submodule("linear").register_forward_pre_hook(
            lambda layer, argument: read.append(argument[0])
        )
        missing = expected - small(images)
    assert 0.001 < float(missing.norm() / expected.norm()) < 0.3
    assert float((read[0].T @ missing).norm()) < 1e-3 * float(read[0].norm() * missing.norm())


class Blocks(nn.Module):
    """Two residual blocks of 1 x 1 convolutions; the second ends with a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.back = nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, 1)
        self.two, self.again, self.norm = (
            nn.Conv2d(4, 6, 1),
            nn.Conv2d(6, 4, 1, bias=False),
            nn.BatchNorm2d(4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x + self.back(self.one(x).relu())).relu()
        return x + self.norm(self.again(self.two(x).relu()))


def test_in_sequence_a_block_makes_up_for_what_its_shortcut_has_lost() -> None:
    """The first block loses channels; the second's last layer is fitted by numpy to the sum as it was."""
    torch.manual_seed(4)
    model = Blocks().eval()
    nn.init.uniform_(model.norm.running_var, 0.5, 2.0)
    nn.init.uniform_(model.norm.weight, 0.5, 2.0)
    with torch.no_grad():
        model.norm.weight[3] = 0.0  # behind this nothing can be made up for
    graph, x = build_graph(model, torch.zeros(1, 4, 1, 1)), torch.randn(900, 4, 1, 1)
    first = next(group for group in graph.groups if group.name == "one")
    plan = plan_without(graph, *first.classes[:3])
    with torch.no_grad():
        middle = (x + model.back(model.one(x).relu())).relu()
        deep = model.again(model.two(middle).relu())
        reconstruct(graph, plan, [x], "sequential")
        small = compact(graph, plan).model
        now = (x + small.get_submodule("back")(small.get_submodule("one")(x).relu())).relu()
        read = small.get_submodule("two")(now).relu().flatten(1).double().numpy()
    scale = (model.norm.weight / (model.norm.running_var + model.norm.eps).sqrt()).detach()[:3]
    lost = (middle - now).flatten(1)[:, :3] / scale
    reference = deep.flatten(1).double().numpy()
    reference[:, :3] += lost.double().numpy()
    expected = np.linalg.lstsq(read, reference, rcond=None)[0].T
    result = small.get_submodule("again").weight.detach().flatten(1).numpy()
    assert float(lost.abs().max()) > 0.01
    assert np.allclose(result, expected, atol=0.01)


def test_what_was_collected_once_serves_many_plans_and_weights_come_back() -> None:
    graph = linear_pair()
    before = graph.model.get_parameter("1.weight").detach().clone()
    for kind in (Grams, Sequential):
        made = kind(graph, IMAGES, positions=25)
        for dropped in ((0,), (1, 2)):
            plan, other = plan_without(graph, *dropped), linear_pair()
            reconstruct(other, plan, IMAGES, "kernel", positions=25)
            with made.fitted(plan.keep):
                result = graph.model.get_parameter("1.weight").detach().clone()
            assert torch.allclose(result, other.model.get_parameter("1.weight"), atol=1e-3)
            assert torch.equal(graph.model.get_parameter("1.weight"), before)


def test_in_sequence_no_more_images_are_held_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest value of `linear_pair` is one image after its first layer: 3 channels of 5 x 5, 300 B."""
    graph = linear_pair()
    monkeypatch.setattr(sequential, "ROOM", 10 * sequential.ALIVE * 300)
    assert sequential.images_that_fit(graph) == 10
    small = Sequential(graph, IMAGES, positions=25)
    ten = [torch.cat(IMAGES)[:10]]
    monkeypatch.setattr(sequential, "ROOM", 0)
    assert sequential.images_that_fit(graph) == 1  # a fit on one is better than none
    monkeypatch.undo()
    weights = []
    for fits in (small, Sequential(graph, ten, positions=25), Sequential(graph, IMAGES, positions=25)):
        with fits.fitted(plan_without(graph, 0).keep):
            weights.append(graph.model.get_parameter("1.weight").detach().clone())
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
