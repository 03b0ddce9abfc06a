"""Equal pieces of a tensor: which groups of channels keep equal counts, and which stay as free as they were."""

import numpy as np
import pytest
import torch

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.models import build
from graph.cut_apart import FREE, TIED, CutApart, Halves, Nested


def graph_of(kind: type[CutApart]) -> Graph:
    torch.manual_seed(0)
    return build_graph(kind().eval(), torch.randn(2, 3, 6, 6))


@pytest.mark.parametrize("kind", TIED)
def test_the_parts_that_are_tied(kind: type[CutApart]) -> None:
    graph = graph_of(kind)
    (tied,) = [t for t in graph.tied_groups if sum(len(parts) for parts in t.parts) > 1]
    assert sorted(tuple(len(part) for part in parts) for parts in tied.parts) == [*kind.tied]
    for t in graph.tied_groups:
        for group, parts in zip(t.groups, t.parts, strict=True):
            assert np.array_equal(np.sort(np.concatenate(parts)), np.sort(group.classes))
    assert sorted(index for t in graph.tied_groups for index in t.indices) == [*range(len(graph.groups))]


@pytest.mark.parametrize("kind", FREE)
def test_nothing_is_tied(kind: type[CutApart]) -> None:
    graph = graph_of(kind)
    assert graph.classes >= 16
    assert [t.groups for t in graph.tied_groups] == [(group,) for group in graph.groups]
    assert all(np.array_equal(t.parts[0][0], t.groups[0].classes) for t in graph.tied_groups)


def test_networks_without_pieces_have_groups_that_stand_alone() -> None:
    graph = build_graph(build("resnet20", num_classes=10, width=4), torch.zeros(1, 3, 16, 16))
    assert [t.groups for t in graph.tied_groups] == [(group,) for group in graph.groups]
    for t, group in zip(graph.tied_groups, graph.groups, strict=True):
        assert (t.size, t.least(3), t.step([group.step(8)])) == (group.size, group.least(3), group.step(8))


def test_a_level_takes_the_same_share_of_each_part() -> None:
    graph = graph_of(Nested)
    (tied,) = [t for t in graph.tied_groups if len(t.groups) > 1]
    sizes = [group.size for group in tied.groups]
    assert tied.size == 4 and tied.widths(3) == tuple(3 * size // 4 for size in sizes)
    assert tied.step([8, 8, 8]) == 8  # two channels of the large half go at once, but one of the small ones
    assert tied.step([1, 1, 1]) == 1
    assert tied.least(3) == 3  # of the small pieces


def test_each_part_ranks_by_itself() -> None:
    graph = graph_of(Halves)
    (tied,) = [t for t in graph.tied_groups if len(t.groups) > 1]
    scores = np.random.default_rng(0).random(graph.classes)
    for group, ranked in zip(tied.groups, tied.ranked(scores), strict=True):
        assert ranked.shape == (8, 1)
        assert ranked[:, 0].tolist() == sorted(group.classes, key=lambda c: -scores[c])
