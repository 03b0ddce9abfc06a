"""NISP by hand."""

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.nodes import layer_name
from edgeprune.importance.propagation import _propagate, inf_fs
from edgeprune.importance.sites import written_sites


def propagated(
    model: nn.Module, shape: tuple[int, ...], last: str, seed: list[float]
) -> dict[str, list[float]]:
    """Scores of every layer's outputs when the inputs of layer ``last`` have the importance ``seed``."""
    graph = build_graph(model, torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    node = next(consumer.node for consumer in graph.flow.consumers if layer_name(consumer.node) == last)
    rows = _propagate(graph, {node: torch.tensor(seed)}, written_sites(graph, "output"))
    return {row.layer: row.values.tolist() for row in rows}


def test_importance_goes_back_by_absolute_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 4)).eval()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, -2.0], [0.0, 3.0], [-4.0, 0.5]]))
    result = propagated(model, (1, 3), "4", [1.0, 10.0, 2.0])
    assert result["2"] == [1, 10, 2]
    assert result["0"] == [1 * 1 + 2 * 4, 1 * 2 + 10 * 3 + 2 * 0.5]


def test_a_batch_norm_passes_its_scale_and_a_pool_its_sum() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2, 3)
    ).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([-3.0, 0.0]))
        model[1].running_var.copy_(torch.tensor([4.0 - 1e-5, 1.0]))
    result = propagated(model, (1, 1, 2, 2), "5", [2.0, 7.0])
    np.testing.assert_allclose(result["0"], [2 * 3 / 2, 0])


def test_positions_add_up_and_kernels_count_by_their_reach() -> None:
    model = nn.Sequential(nn.Conv1d(1, 1, 1), nn.Conv1d(1, 1, 2), nn.Flatten(), nn.Linear(2, 3)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[[2.0, -5.0]]]))
    # Three positions into two, of importance 1 and 10: position 0 has 2, position 1 5 + 20, position 2 50.
    assert propagated(model, (1, 1, 3), "3", [1.0, 10.0]) == {"0": [77], "1": [11]}


def test_sums_and_products_pass_importance_to_every_part() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.gate = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
            self.head = nn.Linear(2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.a(x) + self.b(x)) * torch.sigmoid(self.gate(x)))

    result = propagated(Gated(), (1, 2), "head", [3.0, 5.0])
    assert result["a"] == result["b"] == result["gate"] == [3, 5]


def test_a_hundred_layers_stay_finite() -> None:
    model = nn.Sequential(*[nn.Linear(32, 32) for _ in range(150)])
    for layer in model:
        nn.init.normal_(layer.weight, std=3)
    result = propagated(model, (1, 32), "149", [1.0] * 32)
    assert np.isfinite(result["0"]).all() and max(result["0"]) > 1e100


def test_inf_fs_of_two_features_by_hand() -> None:
    # Independent by rank (0 correlation), standard deviations 2 and 1: with mix 0.5,
    # A = [[0.5 * 1 + 0.5 * 0, 0.5 * 1 + 0.5 * 1], [1, 0.5 * 0.5 + 0]] = [[0.5, 1], [1, 0.25]].
    features = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    affinity = np.array([[0.5, 1.0], [1.0, 0.25]])
    radius = (0.75 + (0.25**2 + 4) ** 0.5) / 2
    scaled = 0.9 / radius * affinity
    paths = sum(np.linalg.matrix_power(scaled, length) for length in range(1, 500))
    np.testing.assert_allclose(inf_fs(features), paths.sum(1), rtol=1e-9)


def test_inf_fs_prefers_what_varies_and_repeats_nothing() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 500))
    features = np.stack([a, a, b, 0 * a], 1)  # two equal ones, one of its own, one constant
    scores = inf_fs(features, mix=0.5)
    np.testing.assert_allclose(scores[0], scores[1])
    assert scores[2] > scores[0]
    assert np.argmin(inf_fs(features, mix=1.0)) == 3
    assert inf_fs(np.zeros((4, 3)), mix=1.0).tolist() == [1, 1, 1]
    assert np.isnan(inf_fs(np.array([[1.0, np.nan], [2.0, 0.0]]))).tolist() == [False, True]
