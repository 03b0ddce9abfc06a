"""Where classes show, and a run that looks there."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.nodes import layer_name
from edgeprune.graph.ops import op_name
from edgeprune.importance.sites import as_maps, run_network, written_sites


class Block(nn.Module):
    """conv, norm, relu, conv, norm, + shortcut, relu; the shortcut goes two ways."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.conv1, self.norm1 = nn.Conv2d(4, 3, 1), nn.BatchNorm2d(3)
        self.conv2, self.norm2 = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        y = F.relu_(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(y)) + x)
        return self.head(x.mean((2, 3)))


def test_where_layers_show_their_channels() -> None:
    graph = build_graph(Block(), torch.zeros(1, 1, 4, 4))
    result = {
        t: {s.layer: layer_name(s.node) for s in written_sites(graph, t)}
        for t in ("output", "norm", "activation")
    }
    assert result["output"] == {"stem": "stem", "conv1": "conv1", "conv2": "conv2"}
    assert result["norm"] == {"stem": "stem", "conv1": "norm1", "conv2": "norm2"}
    after = result["activation"]
    assert (
        after["stem"].startswith("relu")
        and after["conv1"].startswith("relu")
        and after["conv2"].startswith("relu")
    )
    assert len(set(after.values())) == 3


def test_taps_see_values_before_in_place_operations_change_them() -> None:
    model = Block().eval()
    x = torch.randn(2, 1, 4, 4)
    graph = build_graph(model, x)
    seen: list[Tensor] = []
    sites = [s for s in written_sites(graph, "norm") if s.layer == "conv1"]
    run_network(graph, (x,), after={sites[0].node: lambda value: seen.append(value.clone())})
    with torch.no_grad():
        torch.testing.assert_close(seen[0], model.norm1(model.conv1(F.relu(model.stem(x)))))
    assert bool((seen[0] < 0).any())


def test_what_a_tap_gives_replaces_the_value() -> None:
    model = Block().eval()
    x = torch.randn(2, 1, 4, 4)
    graph = build_graph(model, x)
    site = next(s for s in written_sites(graph, "activation") if s.layer == "conv2")
    with torch.no_grad():
        out = run_network(graph, (x,), after={site.node: torch.zeros_like})
        torch.testing.assert_close(out, model.head.bias.expand(2, 2))
        torch.testing.assert_close(run_network(graph, (x,)), model(x))


def test_modes_come_back_even_after_an_error() -> None:
    model = Block()
    model.train()
    model.norm1.eval()
    graph = build_graph(model, torch.zeros(1, 1, 4, 4))
    with pytest.raises(PlanError, match="does not run"):
        run_network(graph, (torch.zeros(1, 2, 4, 4),))
    assert model.training and model.norm2.training and not model.norm1.training


def test_maps_of_any_activation() -> None:
    assert as_maps(torch.zeros(2, 5), 1).shape == (2, 5, 1, 1)
    assert as_maps(torch.zeros(2, 7, 5), 2).shape == (2, 5, 1, 7)
    assert as_maps(torch.zeros(2, 5, 3, 4), 1).shape == (2, 5, 3, 4)
    assert as_maps(torch.zeros(5, 3, 4), 0).shape == (1, 5, 3, 4)
    assert as_maps(torch.zeros(2, 5, 6, 3, 4), 1).shape == (2, 5, 18, 4)


class Parts(nn.Module):
    """Halves of a layer's output, a learned map, and the input itself are added up."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.map = nn.Conv2d(3, 6, 1), nn.Parameter(torch.randn(1, 3, 1, 1))
        self.side, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.stem(x).chunk(2, 1)
        return self.head(low * 2 + high + self.side(self.map) + x)


def test_parts_of_results_inputs_and_parameters_can_be_tapped() -> None:
    model, x = Parts().eval(), torch.randn(2, 3, 4, 4)
    graph = build_graph(model, x)
    (chunk,) = (node for node in graph.nodes if op_name(node) == "chunk")
    (options,) = (node for node in graph.nodes if node.op == "placeholder")
    (parameter,) = (node for node in graph.nodes if graph.flow.names.read_by(node) == "map")
    parts = {node.args[1]: node for node in chunk.users}
    seen: list[Tensor] = []
    with torch.no_grad():
        low, high = model.stem(x).chunk(2, 1)
        taps = {parts[1]: lambda value: seen.append(value) or -value}
        network = run_network(graph, (x,), after=taps)
        torch.testing.assert_close(seen[0], high)
        torch.testing.assert_close(network, model.head(low * 2 - high + model.side(model.map) + x))
        network = run_network(graph, (x,), after={parameter: torch.zeros_like})
        torch.testing.assert_close(network, model.head(low * 2 + high + model.side(model.map * 0) + x))
        network = run_network(graph, (x,), after={options: lambda value: value * 3})
        torch.testing.assert_close(network, model(x * 3))


def test_a_network_that_takes_another_path_is_refused() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(2, 4), nn.Linear(2, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.a(x).relu() if float(x.sum()) > 0 else self.b(x).tanh())

    graph = build_graph(Branches(), torch.ones(1, 2))
    taps = {site.node: lambda value: None for site in written_sites(graph, "activation")}
    run_network(graph, (torch.ones(3, 2),), after=taps)
    with pytest.raises(PlanError, match="took another path than when it was watched"):
        run_network(graph, (-torch.ones(3, 2),), after=taps)


def test_a_taps_own_mistake_is_not_the_networks() -> None:
    graph = build_graph(Block(), torch.zeros(1, 1, 4, 4))
    (first, *_) = written_sites(graph)
    with pytest.raises(ZeroDivisionError):
        run_network(graph, (torch.zeros(1, 1, 4, 4),), after={first.node: lambda value: 1 // 0})


def test_an_error_outside_of_layers_names_the_line() -> None:
    graph = build_graph(Parts(), torch.zeros(1, 3, 4, 4))

    class Other(Parts):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x[:, :, :3]) + torch.zeros(7)

    with pytest.raises(PlanError, match=r"\(at stem\)"):
        run_network(graph, (torch.zeros(1, 2, 4, 4),))
    graph.module.model = Other().eval()
    with pytest.raises(PlanError, match=r"test_sites.py:\d+: return super"):
        run_network(graph, (torch.zeros(1, 3, 4, 4),))
