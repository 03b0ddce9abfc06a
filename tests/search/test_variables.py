"""Which groups are searched, and what widths mean."""

import numpy as np
import pytest
import torch
from graph.cut_apart import TIED, CutApart

from edgeprune.graph.classes import build_graph
from edgeprune.graph.pieces import equal_pieces
from edgeprune.search.clusters import features
from search.conftest import chain, variables_of


def test_groups_in_the_networks_order_with_their_best_channels_first() -> None:
    variables = variables_of(chain(3, 8, 6, 2))
    assert variables.names == ["0", "2"] and variables.sizes.tolist() == [8, 6]
    assert variables.lowest.tolist() == [2, 2]  # the floor; a tenth is less
    assert variables.ranked[0].tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
    plan = variables.plan(np.array([3, 6]))
    assert np.flatnonzero(~plan.keep).tolist() == [0, 1, 2, 3, 4]
    assert variables.everywhere(np.array([3, 6])).tolist() == [3, 6]
    assert variables.ratios(np.array([2, 3])).tolist() == [0.25, 0.5]


def test_least_widths_are_rounded_up_to_steps_and_what_cannot_shrink_is_left_out() -> None:
    graph = chain(3, 8, 6, 2)
    variables = variables_of(graph, share=0.3, steps=np.array([4, 16]))
    assert variables.names == ["0"] and variables.lowest.tolist() == [4] and variables.steps.tolist() == [4]
    assert variables.everywhere(np.array([4])).tolist() == [4, 6]


@pytest.mark.parametrize("kind", TIED)
def test_equal_pieces_are_one_variable(kind: type[CutApart]) -> None:
    graph = build_graph(kind().eval(), torch.zeros(1, 3, 6, 6))
    variables = variables_of(graph, floor=1)
    assert len(variables) == len(graph.tied_groups) and len(variables.names) == len(variables)
    (place,) = [i for i, t in enumerate(variables.searched) if sum(map(len, t.parts)) > 1]
    original, tied = variables.sizes.copy(), variables.searched[place]
    for width in range(int(variables.lowest[place]), tied.size + 1):
        original[place] = width
        keep = np.append(variables.plan(original).keep, True)
        for pieces in equal_pieces(graph.flow, graph.class_of):
            assert keep[pieces].sum(1).tolist() == [width * pieces.shape[1] // tied.size] * len(pieces)
        counts = [int(keep[group.classes].sum()) for group in graph.groups]
        assert variables.everywhere(original).tolist() == counts
    assert features(variables).shape == (len(variables), 7)
    assert [len(values) for values in variables.importance] == [len(classes) for classes in variables.ranked]
