"""Cut in place, the user's own objects stay: modules, parameters, hooks, tied weights."""

import copy

import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan

X = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A residual block, a tied layer, a hook of its own and a width written into the code."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.body = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 8, 3, padding=1))
        self.twice, self.again = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.again.weight = self.twice.weight
        self.head = nn.Linear(8, 4)
        self.seen: list[int] = []
        self.body.register_forward_hook(lambda module, args, result: self.seen.append(result.shape[1]))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 4)."""
        x = self.norm(self.stem(x)).relu()
        x = self.again(self.twice(x + self.body(x)).relu())
        return self.head(x.mean((2, 3)).view(-1, 8))


def pruned(model: nn.Module) -> tuple[Graph, Plan]:
    graph = edgeprune.trace(model, X)
    return graph, edgeprune.select(graph, range(graph.classes), "flops=0.5")


def test_the_own_network_becomes_what_the_copy_would_be() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    graph, plan = pruned(model)
    dense = edgeprune.compact(model, graph, plan)
    expected = dense(X)
    parts, parameters = dict(model.named_modules()), [*model.parameters()]
    model.seen.clear()
    assert edgeprune.compact(model, graph, plan, in_place=True) is model
    assert torch.equal(model(X), expected)
    assert dict(model.named_modules()) == parts and [id(p) for p in model.parameters()] == [
        id(p) for p in parameters
    ]
    assert model.again.weight is model.twice.weight and model.seen == [model.body[2].out_channels]
    assert model.stem.out_channels == dense.stem.out_channels < 8
    assert [p.shape for p in model.parameters()] == [p.shape for p in dense.parameters()]


def test_it_trains_saves_and_is_pruned_again(tmp_path) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    model = Net()
    model(X).sum().backward()  # gradients of the old sizes
    first = edgeprune.prune(model, X, target="flops=0.7", in_place=True)
    assert first.model is model and 0.6 < first.report.fraction_got <= 0.7
    model.train()(X).square().sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in model.parameters())
    second = edgeprune.prune(model, X, target="flops=0.7", in_place=True)
    assert second.graph.flops() < first.graph.flops()
    model.eval()
    path = edgeprune.save(model, tmp_path / "net.safetensors")
    torch.testing.assert_close(edgeprune.load(path, into=Net())(X), model(X))


def test_the_graph_of_before_is_refused() -> None:
    model = Net().eval()
    graph, plan = pruned(model)
    edgeprune.compact(model, graph, plan, in_place=True)
    with pytest.raises(PlanError, match="this Net has been cut since it was traced: trace it again"):
        edgeprune.compact(model, graph, plan)


def test_a_plan_that_cannot_be_carried_out_changes_nothing() -> None:
    model = Net().eval()
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    graph = edgeprune.trace(model, X)
    plan = Plan.everything(edgeprune.trace(other, X))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(PlanError, match="another model"):
        edgeprune.compact(model, graph, plan, in_place=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_block_that_has_gone_goes_in_place() -> None:
    torch.manual_seed(0)
    model = Net().eval()
    model.body._forward_hooks.clear()  # it would miss what has gone
    graph = edgeprune.trace(model, X)
    keep = Plan.everything(graph).keep.copy()
    keep[next(g for g in graph.groups if g.name == "body.0").classes] = False
    plan = Plan.of(graph, keep)
    expected = edgeprune.compact(model, graph, plan)(X)
    edgeprune.compact(model, graph, plan, in_place=True)
    assert torch.equal(model(X), expected)
    assert isinstance(model.body[0], nn.Identity) or model.body[0].weight.shape[0] == 0


def test_a_branch_with_a_hook_is_not_emptied_and_the_note_says_why() -> None:
    model = Net().eval()
    graph = edgeprune.trace(model, X)
    keep = Plan.everything(graph).keep.copy()
    keep[next(g for g in graph.groups if g.name == "body.0").classes] = False
    with pytest.raises(PlanError, match=r"left alone: 12 channels at the network, because body has hooks\)"):
        edgeprune.compact(model, graph, Plan.of(graph, keep))


@pytest.mark.parametrize("requested", [{"ignore": ["stem"]}, {"opaque": ["body"]}], ids=["ignore", "opaque"])
def test_a_copy_is_cut_by_the_graph_of_the_original(requested: dict[str, list[str]]) -> None:
    """What was asked to be left alone is left alone in another instance too, and in place."""
    torch.manual_seed(0)
    model = Net().eval()
    model.again.weight = nn.Parameter(
        model.twice.weight.detach().clone()
    )  # tied, it would tie its inputs too
    graph = edgeprune.trace(model, X, **requested)
    plan = edgeprune.select(graph, range(graph.classes), "flops=0.95")
    other = copy.deepcopy(model)
    expected = edgeprune.compact(model, graph, plan)(X)
    assert edgeprune.compact(other, graph, plan, in_place=True) is other
    assert torch.equal(other(X), expected) and other.stem.out_channels == 8
    assert (other.body[0].out_channels == 12) == ("opaque" in requested)
