"""Where classes show, and a run that looks there."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.importance.sites import as_maps, run, written_sites


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
    found = {
        t: {s.layer: s.node.name for s in written_sites(graph, t)} for t in ("output", "norm", "activation")
    }
    assert found["output"] == {"stem": "stem", "conv1": "conv1", "conv2": "conv2"}
    assert found["norm"] == {"stem": "stem", "conv1": "norm1", "conv2": "norm2"}
    after = found["activation"]
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
    run(graph, (x,), after={sites[0].node: lambda value: seen.append(value.clone())})
    with torch.no_grad():
        torch.testing.assert_close(seen[0], model.norm1(model.conv1(F.relu(model.stem(x)))))
    assert bool((seen[0] < 0).any())


def test_what_a_tap_gives_replaces_the_value() -> None:
    model = Block().eval()
    x = torch.randn(2, 1, 4, 4)
    graph = build_graph(model, x)
    site = next(s for s in written_sites(graph, "activation") if s.layer == "conv2")
    with torch.no_grad():
        out = run(graph, (x,), after={site.node: torch.zeros_like})
        torch.testing.assert_close(out, model.head.bias.expand(2, 2))
        torch.testing.assert_close(run(graph, (x,)), model(x))


def test_modes_come_back_even_after_an_error() -> None:
    model = Block()
    model.train()
    model.norm1.eval()
    graph = build_graph(model, torch.zeros(1, 1, 4, 4))
    with pytest.raises(PlanError, match="does not run"):
        run(graph, (torch.zeros(1, 2, 4, 4),))
    assert model.training and model.norm2.training and not model.norm1.training


def test_maps_of_any_activation() -> None:
    assert as_maps(torch.zeros(2, 5), 1).shape == (2, 5, 1, 1)
    assert as_maps(torch.zeros(2, 7, 5), 2).shape == (2, 5, 1, 7)
    assert as_maps(torch.zeros(2, 5, 3, 4), 1).shape == (2, 5, 3, 4)
    assert as_maps(torch.zeros(5, 3, 4), 0).shape == (1, 5, 3, 4)
    assert as_maps(torch.zeros(2, 5, 6, 3, 4), 1).shape == (2, 5, 18, 4)
