"""Scores of layers to scores of classes, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance.combine import LayerScores, combine


class Three(nn.Module):
    """Three classes, in one layer that writes and one that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x))


@pytest.fixture
def graph() -> Graph:
    return build_graph(Three(), torch.zeros(1, 2))


def layer(name: str, values: list[float], classes: list[int]) -> LayerScores:
    return LayerScores(name, np.array(values), np.array(classes))


# Class 0 has 1 and 4, class 1 has 3 and 8, class 2 has 2 and 0; the 6 stands on a protected channel.
FIRST, SECOND = ([1.0, 3.0, 2.0], [0, 1, 2]), ([8.0, 4.0, 0.0, 6.0], [1, 0, 2, -1])


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("mean", [2.5, 5.5, 1]), ("sum", [5, 11, 2]), ("max", [4, 8, 2]), ("product", [4, 24, 0])],
)
def test_reductions(graph: Graph, reduction: str, expected: list[float]) -> None:
    layers = [layer("x", *FIRST), layer("y", *SECOND)]
    np.testing.assert_allclose(combine(graph, layers, reduction=reduction, normalise="none"), expected)


@pytest.mark.parametrize(
    ("normalise", "divisors"),
    [("mean", (2, 4.5)), ("max", (3, 8)), ("sum", (6, 18)), ("l2", (14**0.5, 116**0.5)), ("none", (1, 1))],
)
def test_normalisers(graph: Graph, normalise: str, divisors: tuple[float, float]) -> None:
    """Protected channels count as much as others for what is usual in a layer."""
    item, two = divisors
    layers = [layer("x", *FIRST), layer("y", *SECOND)]
    expected = [1 / item + 4 / two, 3 / item + 8 / two, 2 / item]
    np.testing.assert_allclose(combine(graph, layers, reduction="sum", normalise=normalise), expected)


def test_a_layer_of_zeros_is_not_divided_by_zero(graph: Graph) -> None:
    np.testing.assert_array_equal(combine(graph, [layer("x", [0, 0, 0], [0, 1, 2])]), [0, 0, 0])


def test_what_nothing_judges_goes_last(graph: Graph) -> None:
    layers = [layer("x", [4.0, 2.0], [0, -1])]
    np.testing.assert_allclose(combine(graph, layers, normalise="none"), [4, 5, 5])
    instead = [layer("y", [7.0, 3.0], [0, 1])]
    np.testing.assert_allclose(combine(graph, layers, normalise="none", instead=instead), [4, 3, 5])
    np.testing.assert_allclose(combine(graph, []), [1, 1, 1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_score_that_is_not_a_number_names_its_layer(graph: Graph, value: float) -> None:
    layers = [layer("good", [1.0], [0]), layer("deep.conv2", [1.0, value], [0, 1])]
    with pytest.raises(PlanError, match=rf"channel 1 of deep.conv2 is {value}, not a finite number"):
        combine(graph, layers)


def test_unknown_ways_to_combine(graph: Graph) -> None:
    with pytest.raises(PlanError, match="unknown reduction 'avg'; known: max, mean, product, sum"):
        combine(graph, [], reduction="avg")
    with pytest.raises(
        PlanError, match="unknown normaliser 'L2' .did you mean 'l2'.*; known: l2, max, mean, none, sum"
    ):
        combine(graph, [], normalise="L2")
