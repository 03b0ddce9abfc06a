"""Criteria that compare filters, by hand."""

import numpy as np
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.importance import score


def three_filters(rows: list[list[float]]) -> nn.Sequential:
    model = nn.Sequential(nn.Conv2d(2, len(rows), 1, bias=False), nn.Conv2d(len(rows), 1, 1)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor(rows)[:, :, None, None])
    return model


def test_fpgm_is_the_sum_of_distances() -> None:
    graph = build_graph(three_filters([[0.0, 0.0], [3.0, 4.0], [0.0, 8.0]]), torch.zeros(1, 2, 2, 2))
    # Distances: 5 (first to second), 8 (first to third), 5 (second to third).
    np.testing.assert_allclose(score(graph, "fpgm", normalise="none"), [13, 10, 13])


def test_fpgm_of_equal_filters_is_lowest() -> None:
    graph = build_graph(three_filters([[1.0, 1.0], [1.0, 1.0], [-5.0, 0.0]]), torch.zeros(1, 2, 2, 2))
    scores = score(graph, "fpgm")
    assert scores[0] == scores[1] < scores[2]


def test_whc_is_norm_times_weighted_unlikeness() -> None:
    graph = build_graph(three_filters([[3.0, 4.0], [0.0, 2.0], [-6.0, -8.0]]), torch.zeros(1, 2, 2, 2))
    # Norms 5, 2, 10. |cos|: first and second 4/5, first and third 1, second and third 4/5.
    expected = [5 * (2 * 0.2 + 10 * 0), 2 * (5 * 0.2 + 10 * 0.2), 10 * (5 * 0 + 2 * 0.2)]
    np.testing.assert_allclose(score(graph, "whc", normalise="none"), expected, rtol=1e-6)


def test_whc_of_a_zero_filter_is_zero() -> None:
    graph = build_graph(three_filters([[0.0, 0.0], [0.0, 2.0], [1.0, 0.0]]), torch.zeros(1, 2, 2, 2))
    np.testing.assert_allclose(score(graph, "whc", normalise="none"), [0, 2, 2])
