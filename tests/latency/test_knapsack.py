"""The knapsack, against every possible choice on small networks."""

import itertools

import numpy as np
import pytest
import torch
from graph.cut_apart import TIED, CutApart, Halves
from torch import Tensor, nn

from edgeprune.errors import TargetError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.pieces import equal_pieces
from edgeprune.latency.blocks import removable
from edgeprune.latency.knapsack import KnapsackSolver
from edgeprune.latency.valuation import SPENT
from edgeprune.latency.width_costs import FunctionCost, PerFlop


class Chain(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (8, 8, 8)) -> None:
        super().__init__()
        sizes = (3, *widths)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:], strict=False)
        )
        self.head = nn.Linear(widths[-1], 4)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = conv(x).relu()
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            nn.Conv2d(width, inner, 1),
            nn.Conv2d(inner, inner, 3, padding=1),
            nn.Conv2d(inner, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.c(self.b(self.a(x).relu()).relu())).relu()


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.one, self.two = Block(8, 8), Block(8, 8)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.two(self.one(self.stem(x))).mean((2, 3)))


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)))


def graph_of(model: nn.Module):
    return build_graph(model.eval(), torch.zeros(1, 3, 8, 8))


def stairs_cost(graph, step: int = 4):
    """A staircase over all pairs of widths that follow each other."""
    sizes = [g.size for g in graph.groups]

    def cost(counts) -> float:
        up = [-(-int(c) // step) * step for c in counts]
        chain = [3, *up, 4]
        return float(sum(a * b for a, b in itertools.pairwise(chain)))

    return cost, cost(sizes)


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_near_the_best_of_all_choices(share: float, seed: int) -> None:
    graph = graph_of(Chain())
    scores = np.random.default_rng(seed).random(graph.classes)
    cost, original = stairs_cost(graph)
    goal = share * original
    chooser = KnapsackSolver(
        graph, scores, {"latency": cost}, {"latency": goal}, steps=np.full(3, 4), floor=2
    )
    plan = chooser.plan()
    counts = np.array([int(plan.keep[g.classes].sum()) for g in graph.groups])
    assert cost(counts) <= goal
    choices = [np.array(c) for c in itertools.product(*chooser.levels.widths)]
    best = max(chooser.valuation.at(c).importance for c in choices if cost(c) <= goal)
    assert scores[plan.keep].sum() >= 0.97 * best
    assert all(c % 4 == 0 for c in counts)  # nothing is paid for and left unused


def test_several_goals_at_once() -> None:
    graph = graph_of(Chain())
    scores = np.random.default_rng(1).random(graph.classes)
    cost, original = stairs_cost(graph)
    flops = graph.by_widths("flops")
    assert flops(np.array([8, 8, 8])) == graph.flops()
    goals = {"latency": 0.6 * original, "flops": 0.3 * graph.flops()}
    plan = KnapsackSolver(graph, scores, {"latency": cost, "flops": flops}, goals, steps=np.full(3, 4)).plan()
    counts = np.array([int(plan.keep[g.classes].sum()) for g in graph.groups])
    assert cost(counts) <= goals["latency"] and graph.flops(plan.keep) <= goals["flops"]


@pytest.mark.parametrize("share", [0.4, 0.6])
@pytest.mark.parametrize("slow", range(3))
@pytest.mark.parametrize("seed", range(3))
def test_goals_at_odds_are_met_near_the_best_of_all_choices(share: float, slow: int, seed: int) -> None:
    """FLOPs, and a time for each of them: the slow layer narrows, and the others stay wide for its sake."""
    graph = graph_of(Chain())
    scores = np.random.default_rng(seed).random(graph.classes)
    flops = graph.by_widths("flops")

    def time(counts) -> float:
        chain = [3, *(int(c) for c in counts), 4]
        rates = [3.0 if layer == slow else 1.0 for layer in range(4)]
        return float(sum(r * a * b for r, (a, b) in zip(rates, itertools.pairwise(chain), strict=True)))

    full = np.array([group.size for group in graph.groups])
    each = PerFlop(FunctionCost(time), flops, time(full), flops(full))
    costs, goals = {"flops": flops, "each": each}, {"flops": share * flops(full), "each": np.inf}
    chooser = KnapsackSolver(graph, scores, costs, goals, steps=np.full(3, 2))
    choices = [np.array(c) for c in itertools.product(*chooser.levels.widths)]
    choices = [c for c in choices if flops(c) <= goals["flops"]]
    chooser.valuation.goals["each"] = 0.8 * min(map(each, choices)) + 0.2 * max(map(each, choices))
    best = max(
        chooser.valuation.at(c).importance for c in choices if each(c) <= chooser.valuation.goals["each"]
    )
    plan = chooser.plan()
    counts = np.array([int(plan.keep[g.classes].sum()) for g in graph.groups])
    assert chooser.valuation.at(counts).excess == 0
    assert chooser.valuation.at(counts).importance >= 0.9 * best


@pytest.mark.parametrize("seed", range(4))
def test_a_goal_is_spent_where_that_is_asked(seed: int) -> None:
    """A FLOP of the last layer takes half the time: fewest ms for each come with few FLOPs elsewhere."""
    graph = graph_of(Chain((16, 16, 16)))
    scores = np.random.default_rng(seed).random(graph.classes)
    flops = graph.by_widths("flops")
    full = np.array([group.size for group in graph.groups])

    def time(counts) -> float:
        return flops(counts) - 300.0 * float(counts[1] * counts[2])

    each = PerFlop(FunctionCost(time), flops, time(full), flops(full))
    costs, goals = {"flops": flops, "each": each}, {"flops": 0.6 * flops(full), "each": np.inf}
    steps = np.full(3, 2)
    chooser = KnapsackSolver(graph, scores, costs, goals, steps=steps, spend=["flops"])
    choices = [chooser.valuation.at(np.array(c)) for c in itertools.product(*chooser.levels.widths)]
    spent = [choice for choice in choices if SPENT * goals["flops"] <= choice.costs[0] <= goals["flops"]]
    chooser.valuation.goals["each"] = goals["each"] = np.quantile([item.costs[1] for item in spent], 0.5)
    plan = chooser.plan()
    counts = np.array([int(plan.keep[g.classes].sum()) for g in graph.groups])
    assert flops(counts) >= SPENT * goals["flops"] and chooser.valuation.at(counts).excess == 0
    best = max(item.importance for item in spent if item.costs[1] <= goals["each"])
    assert chooser.valuation.at(counts).importance >= 0.9 * best


def test_a_target_out_of_reach_says_how_far_it_goes() -> None:
    graph = graph_of(Chain())
    cost, original = stairs_cost(graph)
    with pytest.raises(
        TargetError, match=r"allow latency=0.327 \(60 ms\) at the least, where 1 ms is needed"
    ):
        KnapsackSolver(
            graph, np.ones(graph.classes), {"latency": cost}, {"latency": 1.0}, steps=np.full(3, 4)
        ).plan()


def test_which_groups_may_go_whole() -> None:
    assert removable(graph_of(Chain())) == []
    graph = graph_of(Residual())
    inside = [tuple(g.index for g in graph.groups if g.name.startswith(block)) for block in ("one", "two")]
    assert all(len(groups) == 2 for groups in inside)
    # Whichever of a block's groups goes first: what nothing writes or nothing reads any more goes with it.
    assert sorted(removable(graph)) == sorted(inside)


def test_a_block_goes_where_narrowing_gains_nothing() -> None:
    """With steps as wide as the layers, only whole blocks save time."""
    graph = graph_of(Residual())
    scores = np.random.default_rng(0).random(graph.classes)
    two = [g.index for g in graph.groups if g.name.startswith("two")]
    scores[np.concatenate([graph.groups[i].classes for i in two])] *= 0.1

    def cost(counts) -> float:
        return 1.0 + sum(1.0 for c in counts if c)

    original = cost([g.size for g in graph.groups])
    steps = np.array([g.size for g in graph.groups])
    plan = KnapsackSolver(graph, scores, {"latency": cost}, {"latency": original - 2}, steps=steps).plan()
    gone = {g.index for g in graph.groups if not plan.keep[g.classes].any()}
    assert gone == set(two)
    assert plan.keep.sum() == graph.classes - 16


def test_time_for_each_flop_is_told_from_what_changes() -> None:
    graph = graph_of(Chain())
    flops = graph.by_widths("flops")
    original = np.array([group.size for group in graph.groups])
    cost = PerFlop(flops, graph.by_widths("params"), flops(original), graph.params())
    assert cost(original) == pytest.approx(1.0)
    counts = np.array([4, 8, 6])
    for group, width in ((0, 8), (1, 3), (2, 1)):
        after = counts.copy()
        after[group] = width
        assert cost.moved(counts, cost(counts), (group,), (width,)) == pytest.approx(cost(after))


@pytest.mark.parametrize("seed", range(3))
def test_a_plan_is_no_worse_than_one_of_whole_blocks(seed: int) -> None:
    """Where time hardly depends on widths, greedy narrowing alone would leave much less."""
    graph = graph_of(nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *(Block(8, 8) for _ in range(6)), Head()))
    scores = np.random.default_rng(seed).random(graph.classes) ** 3
    flops = graph.by_widths("flops")
    full = np.array([group.size for group in graph.groups])

    def time(counts) -> float:
        return flops(counts) / 1e3 + 300 * float(sum(1.0 for c in counts if c))

    each = PerFlop(FunctionCost(time), flops, time(full), flops(full))
    costs, goals = {"flops": flops, "each": each}, {"flops": 0.6 * flops(full), "each": 1.05}
    chooser = KnapsackSolver(graph, scores, costs, goals, steps=np.full(len(full), 2))
    blocks = chooser.by_blocks(chooser.valuation.at(full))
    assert blocks.excess == 0
    plan = chooser.plan()
    assert plan.bypass and scores[plan.keep].sum() >= blocks.importance - 1e-9


def tied_network(kind: type[CutApart], share: float, seed: int, step: int):
    graph = graph_of(kind())
    scores = np.random.default_rng(seed).random(graph.classes)
    flops = graph.by_widths("flops")
    costs, goals = (
        {"latency": lambda counts: flops(-(-counts // step) * step)},
        {"latency": share * graph.flops()},
    )
    return graph, KnapsackSolver(graph, scores, costs, goals, steps=np.full(len(graph.groups), step), floor=1)


@pytest.mark.parametrize("kind", TIED)
@pytest.mark.parametrize(("share", "seed", "step"), [(0.5, 0, 1), (0.7, 1, 2), (0.85, 2, 4)])
def test_equal_pieces_keep_equal_counts(kind: type[CutApart], share: float, seed: int, step: int) -> None:
    graph, chooser = tied_network(kind, share, seed, step)
    try:
        keep = np.append(chooser.plan().keep, True)
    except TargetError:  # the least step of so small a network is large
        assert step > 1
        return
    assert not keep.all()
    for pieces in equal_pieces(graph.flow, graph.class_of):
        counts = keep[pieces].sum(1).tolist()
        assert len(set(counts)) == 1
        assert counts[0] % step == 0 or counts[0] == pieces.shape[1]
    counts = np.array([int(keep[group.classes].sum()) for group in graph.groups])
    assert chooser.valuation.at(counts).excess == 0


def test_half_a_tensor_does_not_go_alone() -> None:
    """The second half and its chain are a branch; without them the first would be all that is left to cut apart."""
    graph, chooser = tied_network(Halves, 0.5, 0, 1)
    (tied,) = [set(t.indices) for t in graph.tied_groups if len(t.groups) > 1]
    assert any(len(tied & {*block}) == 1 for block in removable(graph))
    assert all(len(tied & {*block}) in (0, 2) for block in chooser.levels.blocks)
