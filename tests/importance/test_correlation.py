"""COP by hand, and its iteration against one that recomputes everything."""

from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance import score
from edgeprune.importance.correlation import correlations
from edgeprune.importance.filters import read_filters


def reading(columns: list[list[float]]) -> nn.Sequential:
    """A 1x1 convolution that reads as many channels as there are columns, each by the column given."""
    model = nn.Sequential(
        nn.Conv2d(1, len(columns), 1, bias=False), nn.Conv2d(len(columns), len(columns[0]), 1, bias=False)
    ).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(columns).T[:, :, None, None])
    return model


def test_correlations_are_absolute_and_divided_by_the_largest() -> None:
    # Over 3 outputs: b = 2a + 1 (correlation 1), c = (1, -2, 1) has 0 with a, d does not vary.
    columns = torch.tensor(
        [[1.0, 2.0, 3.0], [3.0, 5.0, 7.0], [1.0, -2.0, 1.0], [4.0, 4.0, 4.0]], dtype=torch.float64
    )
    matrix = correlations(columns[:, None])
    expected = torch.zeros(4, 4, dtype=torch.float64)
    expected[0, 1] = expected[1, 0] = 1
    torch.testing.assert_close(matrix, expected, atol=1e-12, rtol=0)
    # Two positions: at the second, a and b have |correlation| 0, a and c 1; means 1/2, divided by 1/2.
    two = torch.stack([columns[:3], columns[[0, 2, 0]]], 1)
    expected = torch.tensor([[0, 1, 1], [1, 0, 0], [1, 0, 0]], dtype=torch.float64)
    torch.testing.assert_close(correlations(two), expected, atol=1e-12, rtol=0)


def test_importance_by_hand() -> None:
    model = reading([[1.0, 2.0, 3.0], [3.0, 5.0, 7.0], [1.0, -2.0, 1.0]])
    graph = build_graph(model, torch.zeros(1, 1, 2, 2))
    # The two largest correlations: (1, 0), (1, 0), (0, 0); FLOPs 4 * 3 and 4 * 9, parameters 3 and 9.
    saving = 1 - np.log2([36, 9]) / np.log2([36, 9])
    np.testing.assert_allclose(saving, [0, 0])  # the layer that reads is the costliest: nothing is added
    options: dict[str, Any] = {"top": 2, "iterative": False, "alpha": 2.0}
    np.testing.assert_allclose(score(graph, "cop", **options), [1, 1, 2])


def test_costly_layers_score_lower() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 16, 1)).eval()
    graph = build_graph(model, torch.zeros(1, 1, 2, 2))
    first, second = (g.classes for g in graph.groups)
    scores = score(graph, "cop", alpha=0, beta=3.0, gamma=1.0, iterative=False)
    # Read by 1 of 4 x 32 FLOPs and 32 parameters; by 2 of 4 x 128 and 128, the most.
    expected = 3 * (1 - np.log2(128) / np.log2(512)) + (1 - np.log2(32) / np.log2(128))
    np.testing.assert_allclose(scores[first], expected)
    np.testing.assert_allclose(scores[second], 0, atol=1e-12)


def test_of_two_that_correlate_only_one_goes_early() -> None:
    # a and b repeat each other, c is alone: a goes first; then b is as unlike the rest as c.
    model = reading([[1.0, 2.0, 3.0, 0.0], [3.0, 5.0, 7.0, 1.0], [1.0, -2.0, 1.0, 3.0]])
    graph = build_graph(model, torch.zeros(1, 1, 2, 2))
    assert score(graph, "cop", top=1).tolist() == [0, 0.5, 1]


def slowly(graph: Graph, reduction: str, normalise: str) -> list[int]:
    """The order of removal, everything recomputed after each."""
    from edgeprune.importance.combine import LayerScores, combine, divisor

    layers = [(f, correlations(f.weights).numpy()) for f in read_filters(graph)]
    divisors: list[float] = []
    order: list[int] = []
    while len(order) < graph.classes:
        rows = []
        for number, (filters, matrix) in enumerate(layers):
            top = min(3, len(matrix) - 1)
            values = 1 - np.sort(matrix, axis=1)[:, len(matrix) - top :].sum(1) / max(1, top)
            divisors += [divisor(values, normalise)] if not order else []
            rows.append(LayerScores(filters.layer, values / divisors[number], filters.classes))
        scores = combine(graph, rows, reduction=reduction, normalise="none")
        scores[order] = np.inf
        order.append(int(np.argmin(scores)))
        for filters, matrix in layers:
            gone = filters.classes == order[-1]
            matrix[gone], matrix[:, gone] = 0, 0
    return order


def test_the_quick_order_is_the_slow_one(network: nn.Module, batches: list[Any]) -> None:
    graph = build_graph(network, batches[0][0])
    for reduction, normalise in (("mean", "none"), ("max", "l2")):
        scores = score(graph, "cop", beta=0, gamma=0, reduction=reduction, normalise=normalise)
        assert np.argsort(scores).tolist() == slowly(graph, reduction, normalise)
