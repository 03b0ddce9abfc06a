"""One network written in many ways scores and is fitted alike: hooks, functions, dicts, in-place calls."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune
from torch.utils.checkpoint import checkpoint

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.ops import op_name
from edgeprune.graph.plan import Plan
from edgeprune.importance import CRITERIA, needs_batches, score
from edgeprune.importance.sites import written_sites
from edgeprune.reconstruct import reconstruct

EVERY = [(name, {}) for name in CRITERIA] + [("taylor", {"form": "map"})]


class Plain(nn.Module):
    """conv, norm, relu; a residual convolution; a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.n = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b, self.c = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 5)
        self.act = nn.ReLU(inplace=True)
        nn.init.uniform_(self.n.weight, 0.5, 1.5)
        nn.init.uniform_(self.n.running_var, 0.5, 1.5)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.n(self.a(x)))
        return self.c(F.relu(self.b(x) + x).mean((2, 3)))


class Statements(Plain):
    """What in-place calls return is not used."""

    def forward(self, x: Any) -> Any:
        x = self.n(self.a(x))
        self.act(x)
        y = self.b(x)
        y.add_(x)
        y.relu_()
        return self.c(y.mean((2, 3)))


class Functions(Plain):
    def forward(self, x: Any) -> Any:
        x = F.conv2d(x, self.a.weight, self.a.bias, padding=1)
        x = F.batch_norm(x, self.n.running_mean, self.n.running_var, self.n.weight, self.n.bias).relu_()
        y = torch.conv2d(x, weight=self.b.weight, bias=self.b.bias, padding=(1, 1))
        y += x
        return F.linear(y.relu().mean((2, 3)), self.c.weight, self.c.bias)


class Hooks(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.n.register_forward_hook(lambda module, argument, output: F.relu(output))
        self.b.register_forward_hook(lambda module, argument, output: output + argument[0])

    def forward(self, x: Any) -> Any:
        return self.c(F.relu(self.b(self.n(self.a(x)))).mean((2, 3)))


class Dicts(Plain):
    def forward(self, x: Any) -> Any:
        return {"logits": super().forward(x["image"])}


@dataclass
class Batch:
    image: Tensor
    factor: float = 1.0


class Dataclasses(Plain):
    def forward(self, x: Any) -> Any:
        return super().forward(x.image * x.factor)


class Lists(Plain):
    """A list of images is one argument."""

    def forward(self, x: Any) -> Any:
        return super().forward(x[0] + x[1])


class Checkpoints(Plain):
    """Parts are computed again for their gradients."""

    reentrant = False

    def forward(self, x: Any) -> Any:
        x = checkpoint(lambda v: F.relu(self.n(self.a(v))), x, use_reentrant=self.reentrant)
        x = checkpoint(lambda v: F.relu(self.b(v) + v), x, use_reentrant=self.reentrant)
        return self.c(x.mean((2, 3)))


class ReentrantCheckpoints(Checkpoints):
    reentrant = True


class State(Plain):
    """Counts its runs, and behaves otherwise in the second."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: list[int] = []

    def forward(self, x: Any) -> Any:
        self.runs.append(len(x))
        return super().forward(x if len(self.runs) == 1 else x * 0)


WRITTEN: dict[type[Plain], Callable[[Tensor], Any]] = {
    Statements: lambda x: x,
    Functions: lambda x: x,
    Hooks: lambda x: x,
    Dicts: lambda x: {"image": x},
    Dataclasses: Batch,
    Lists: lambda x: ([x / 2, x / 2],),
    Checkpoints: lambda x: x,
    ReentrantCheckpoints: lambda x: x,
    State: lambda x: x,
}


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, 6, 6, generator=generator), torch.tensor([0, 1, 2, 3])) for _ in range(2)]


def loss(output: Any, labels: Tensor) -> Tensor:
    return F.cross_entropy(output["logits"] if isinstance(output, dict) else output, labels)


def graph_of(network: nn.Module, x: Any) -> Graph:
    return build_graph(network.eval(), x if isinstance(x, tuple) else (x,))


def scores_of(graph: Graph, name: str, options: dict[str, Any], argument: Any) -> Any:
    options = {**options, "loss": loss} if name == "taylor" else options
    return score(graph, name, batches=argument, **options)


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_criteria_score_what_a_network_computes(kind: type[Plain]) -> None:
    values = [(WRITTEN[kind](x), y) for x, y in batches()]
    plain, graph = graph_of(Plain(), batches()[0][0]), graph_of(kind(), values[0][0])
    for name, options in EVERY:
        expected = scores_of(plain, name, options, batches())
        np.testing.assert_allclose(scores_of(graph, name, options, values), expected, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_layers_are_fitted_alike(kind: type[Plain]) -> None:
    options = [(WRITTEN[kind](x), y) for x, y in batches()]
    for ways in ("scale", "kernel", "sequential"):
        weights = []
        for network, data in ((Plain(), batches()), (kind(), options)):
            graph = graph_of(network, data[0][0])
            keep = np.ones(graph.classes, dtype=bool)
            keep[[1, 4]] = False
            assert reconstruct(graph, Plan.of(graph, keep), data, ways) == 2
            weights.append({name: parameter.detach() for name, parameter in network.named_parameters()})
        for name, expected in weights[0].items():
            torch.testing.assert_close(weights[1][name], expected, msg=f"{ways}: {name}")


def test_state_on_the_network_stays_what_it_was() -> None:
    network = State()
    graph = graph_of(network, batches()[0][0])
    score(graph, "hrank", batches=batches())
    assert network.runs == []


class Frozen(Plain):
    """Its first part runs without gradients."""

    def forward(self, x: Any) -> Any:
        with torch.no_grad():
            x = F.relu(self.n(self.a(x)))
        return self.c(F.relu(self.b(x)).mean((2, 3)))


def test_of_parts_without_gradients_taylor_knows_nothing_and_nisp_goes_through() -> None:
    graph = graph_of(Frozen(), batches()[0][0])
    first, second = (next(g.classes for g in graph.groups if g.name == name) for name in "ab")
    scores = score(graph, "taylor", batches=batches())
    assert (scores[first] == scores[second].max() + 1).all() and (scores[second] > 0).all()
    assert (score(graph, "nisp", batches=batches())[first] > 0).all()

    class Blind(Plain):
        @torch.no_grad()
        def forward(self, x: Any) -> Any:
            return super().forward(x)

    with pytest.raises(PlanError, match="taylor needs gradients, but the model's forward runs without"):
        score(graph_of(Blind(), batches()[0][0]), "taylor", batches=batches())


class Sign(torch.autograd.Function):
    """Straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def test_gradients_follow_the_networks_own_backward() -> None:
    class Straight(Plain):
        def forward(self, x: Any) -> Any:
            return self.c(F.relu(self.b(Sign.apply(self.a(x)))).mean((2, 3)))

    graph = graph_of(Straight(), batches()[0][0])
    for name in ("taylor", "nisp"):
        assert (score(graph, name, batches=batches()) > 0).all()


def test_layers_with_a_computed_weight_are_scored_and_not_fitted() -> None:
    network = Plain()
    for layer in (network.a, network.b):
        torch_prune.l1_unstructured(layer, "weight", 0.3)
    graph = graph_of(network, batches()[0][0])
    for name in (name for name in CRITERIA if needs_batches(name)):
        assert len(np.unique(score(graph, name, batches=batches()))) > 3, name
    keep = np.ones(graph.classes, dtype=bool)
    keep[::3] = False
    before = network.b.weight_orig.detach().clone()
    assert reconstruct(graph, Plan.of(graph, keep), batches(), "kernel") == 1  # the linear layer
    assert torch.equal(network.b.weight_orig, before)


def test_a_layer_with_weight_norm_shows_its_channels() -> None:
    network = Plain()
    parametrizations.weight_norm(network.a)
    graph = graph_of(network, batches()[0][0])
    for name in (name for name in CRITERIA if needs_batches(name)):
        assert len(np.unique(score(graph, name, batches=batches()))) > 3, name
    assert [op_name(site.node) for site in written_sites(graph, "norm")] == ["conv2d", "batch_norm"]
