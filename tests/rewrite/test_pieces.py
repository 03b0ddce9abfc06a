"""Code that cuts a tensor into equal pieces stays as it is where a budget chooses, and is exact where a plan does."""

import functools

import numpy as np
import pytest
import torch
from graph.checks import disagreement, parameters, random_keep, randomise
from graph.cut_apart import TIED, CutApart

from edgeprune.budget import select
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact

IMAGES = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(3))
kinds = pytest.mark.parametrize("kind", TIED)


@functools.cache
def graph_of(kind: type[CutApart]) -> Graph:
    torch.manual_seed(0)
    return build_graph(randomise(kind()), IMAGES)


@kinds
@pytest.mark.parametrize("seed", range(3))
def test_no_forward_is_rewritten_for_a_budgets_choice(kind: type[CutApart], seed: int) -> None:
    graph = graph_of(kind)
    scores = np.random.default_rng(seed).random(graph.classes)
    plan = select(graph, scores, f"flops={(0.4, 0.6, 0.8)[seed]}", floor=1)
    done = compact(graph, plan)
    assert done.rewritten == () and type(done.model) is kind
    assert (done.plan.keep == plan.keep).all() and not plan.keep.all()
    assert disagreement(graph, done, (IMAGES,)) <= 1e-5
    assert parameters(done.model) == graph.params(plan.keep)


@kinds
def test_other_channels_of_each_piece_may_go(kind: type[CutApart]) -> None:
    """Equal counts are not equal places."""
    graph = graph_of(kind)
    (tied,) = [t for t in graph.tied_groups if sum(len(parts) for parts in t.parts) > 1]
    keep = np.ones(graph.classes, dtype=bool)
    parts = [part for parts in tied.parts for part in parts]
    for place, part in enumerate(parts):
        keep[np.roll(part, place)[: 2 * len(part) // tied.size]] = False
    done = compact(graph, Plan.of(graph, keep))
    assert done.rewritten == () and (done.plan.keep == keep).all()
    assert disagreement(graph, done, (IMAGES,)) <= 1e-5


@kinds
def test_a_plan_of_unequal_counts_is_carried_out_with_a_rewritten_forward(kind: type[CutApart]) -> None:
    graph = graph_of(kind)
    (tied,) = [t for t in graph.tied_groups if sum(len(parts) for parts in t.parts) > 1]
    keep = random_keep(graph, 0.8, 0)
    for part in (part for parts in tied.parts for part in parts):
        keep[part] = True
    keep[part[:3]] = False
    done = compact(graph, Plan.of(graph, keep))
    assert (done.plan.keep == keep).all() and done.rewritten == ("",)
    assert disagreement(graph, done, (IMAGES,)) <= 1e-5


@kinds
def test_after_a_removal_the_pieces_are_equal_again(kind: type[CutApart]) -> None:
    graph = graph_of(kind)
    scores = np.random.default_rng(5).random(graph.classes)
    smaller = build_graph(compact(graph, select(graph, scores, "flops=0.7", floor=1)).model, IMAGES)
    assert any(sum(len(parts) for parts in tied.parts) > 1 for tied in smaller.tied_groups)
    done = compact(smaller, select(smaller, scores[: smaller.classes], "flops=0.7", floor=1))
    assert done.rewritten == () and not done.plan.keep.all()
