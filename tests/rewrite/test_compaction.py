from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.fx as fx
from graph.checks import disagreement, error, parameters, random_keep, randomise
from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_small, resnet18, shufflenet_v2_x0_5

from edgeprune.graph.classes import build_graph
from edgeprune.graph.ops import op_name
from edgeprune.graph.plan import Plan
from edgeprune.latency.blocks import removable
from edgeprune.models import build
from edgeprune.recording.network import watch
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask

IMAGE = torch.randn(2, 3, 32, 32)


def test_a_chain_by_hand() -> None:
    """Channel 1 of the first layer goes: its filter, its bias, and the column that read it."""
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
    graph = build_graph(nn.Sequential(first, nn.ReLU(), second), IMAGE)
    done = compact(graph, Plan.of(graph, np.array([True, False, True])))
    new = dict(done.model.named_modules())
    assert torch.equal(new["0"].weight, first.weight[[0, 2]]) and torch.equal(
        new["0"].bias, first.bias[[0, 2]]
    )
    assert torch.equal(new["2"].weight, second.weight[:, [0, 2]]) and torch.equal(new["2"].bias, second.bias)
    assert (new["0"].out_channels, new["2"].in_channels, new["2"].out_channels) == (2, 2, 2)


def test_masking_zeroes_what_is_read() -> None:
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)
    graph = build_graph(nn.Sequential(first, nn.ReLU(), second), IMAGE)
    masked = mask(graph, Plan.of(graph, np.array([True, False, True])))
    hidden = first(IMAGE).relu() * torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    assert torch.allclose(masked(IMAGE), second(hidden))


@pytest.mark.parametrize(
    "make",
    [
        lambda: build("resnet20", num_classes=10),
        lambda: resnet18(num_classes=10),
        lambda: shufflenet_v2_x0_5(num_classes=10),
        lambda: mobilenet_v3_small(num_classes=10),
    ],
    ids=["cifar-resnet", "resnet18", "shufflenet", "mobilenetv3"],
)
def test_models_of_the_zoo(make: object) -> None:
    graph = build_graph(randomise(make()), IMAGE)  # type: ignore[operator]
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 0)))
    assert disagreement(graph, done, (IMAGE,)) <= 1e-5 and not done.plan.notes
    assert parameters(done.model) == graph.params(done.plan.keep) < graph.params()


def test_a_plan_that_keeps_all_gives_the_same_model() -> None:
    graph = build_graph(randomise(resnet18(num_classes=10)), IMAGE)
    done = compact(graph, Plan.everything(graph))
    with torch.no_grad():
        assert error(graph.model(IMAGE), done.model(IMAGE)) == 0
    assert done.model.state_dict().keys() == graph.model.state_dict().keys()


def test_pruned_again() -> None:
    """A compacted model is a model: it traces, prunes and compacts once more."""
    graph = build_graph(randomise(shufflenet_v2_x0_5(num_classes=10)), IMAGE)
    once = compact(graph, Plan.of(graph, random_keep(graph, 0.7, 0))).model
    again = build_graph(once, IMAGE)
    twice = compact(again, Plan.of(again, random_keep(again, 0.7, 1)))
    assert disagreement(again, twice, (IMAGE,)) <= 1e-5
    assert parameters(twice.model) == again.params(twice.plan.keep) < parameters(once)


def test_what_is_returned_shares_nothing_with_the_original() -> None:
    graph = build_graph(resnet18(num_classes=10), IMAGE)
    model = compact(graph, Plan.everything(graph)).model
    theirs = {t.data_ptr() for t in [*graph.model.parameters(), *graph.model.buffers()] if t.numel() > 1}
    assert not theirs & {t.data_ptr() for t in [*model.parameters(), *model.buffers()]}


def test_frozen_parameters_stay_frozen_and_types_stay() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3)).to(torch.float64)
    model[0].weight.requires_grad_(False)
    graph = build_graph(model, IMAGE.double())
    done = compact(graph, Plan.of(graph, np.arange(6) < 4)).model
    assert [p.requires_grad for p in done.parameters()] == [False, True, True, True]
    assert {p.dtype for p in done.parameters()} == {torch.float64}


def test_example_and_use_may_differ_in_batch_and_size() -> None:
    graph = build_graph(randomise(build("resnet20", num_classes=10)), torch.zeros(1, 3, 32, 32))
    plan = Plan.of(graph, random_keep(graph, 0.5, 3))
    x = torch.randn(3, 3, 40, 24)
    with torch.no_grad():
        assert error(mask(graph, plan)(x), compact(graph, plan).model(x)) <= 1e-5


def without_blocks(graph, count: int, seed: int):
    """A plan without some residual blocks' insides, and without some channels besides."""
    draw = np.random.default_rng(seed)
    blocks = removable(graph)
    keep = random_keep(graph, 0.8, seed)
    for block in draw.permutation(len(blocks))[:count]:
        for group in blocks[block]:
            keep[graph.groups[group].classes] = False
    return Plan.of(graph, keep)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
@pytest.mark.parametrize(
    "make",
    [
        lambda: build("resnet20", num_classes=10),
        lambda: resnet18(num_classes=10),
        lambda: mobilenet_v2(num_classes=10),
        lambda: mobilenet_v3_small(num_classes=10),  # gates, too, whose constants are factors and stay
    ],
    ids=["cifar-resnet", "resnet18", "mobilenetv2", "mobilenetv3"],
)
def test_emptied_branches_are_left_out_where_the_plan_says_so(make: object, seed: int) -> None:
    graph = build_graph(randomise(make()), IMAGE)  # type: ignore[operator]
    plan = without_blocks(graph, 4, seed)
    plain, bypassed = compact(graph, plan), compact(graph, replace(plan, bypass=True))
    assert disagreement(graph, plain, (IMAGE,)) <= 1e-5 and disagreement(graph, bypassed, (IMAGE,)) <= 1e-5
    calls, fewer = calls_of(plain.model), calls_of(bypassed.model)
    assert len(fewer) < len(calls)
    gated = any(op_name(node) == "mul" for node in fewer)
    assert gated or not any("constant" in str(n.target) for n in fewer if n.op == "get_attr")


def calls_of(model: nn.Module) -> list[fx.Node]:
    """What a network does with an image in evaluation mode, call by call."""
    return list(watch(model, (IMAGE,)).graph.nodes)


def test_a_block_that_is_left_out_leaves_nothing() -> None:
    """No sum, and no second ReLU: that is what a runtime would spend its time on."""
    graph = build_graph(randomise(build("resnet20", num_classes=10)), IMAGE)
    keep = np.ones(graph.classes, dtype=bool)
    for block in removable(graph):
        keep[np.concatenate([graph.groups[group].classes for group in block])] = False
    model = compact(graph, replace(Plan.of(graph, keep), bypass=True)).model
    names = [op_name(node) for node in calls_of(model)]
    assert names.count("relu") == 1 and "add" not in names
    assert not any("constant" in name for name, _ in model.named_parameters())


class LoopsBySize(nn.Module):
    """Its path depends on the image's size, and its code holds a width: rewritten, it would hold at one size alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, 4)."""
        x = self.first(x)
        for _ in range(x.shape[2] // 16):
            x = self.again(x.view(-1, 8, *x.shape[2:])).sigmoid()
        return self.head(x.mean((2, 3)))


def test_what_only_a_rewriting_for_one_size_could_cut_stays() -> None:
    torch.manual_seed(0)
    graph = build_graph(randomise(LoopsBySize()), IMAGE)
    done = compact(graph, Plan.of(graph, random_keep(graph, 0.5, 0)))
    assert not done.rewritten and done.plan.keep.all()
    assert any(note.endswith("its code takes another path at another image size") for note in done.plan.notes)
    for x in (IMAGE, torch.randn(1, 3, 64, 48)):
        assert error(graph.model(x), done.model(x)) <= 1e-6
