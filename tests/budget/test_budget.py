"""Budgets on a model small enough to count by hand."""

import numpy as np
import pytest
import torch
from graph.cut_apart import TIED, Across, CutApart, Halves
from torch import Tensor, nn

from edgeprune import resources
from edgeprune.budget import TOLERANCE, Target, evened, floors_of, select
from edgeprune.budget.greedy import ANY_WIDTH
from edgeprune.errors import EdgePruneError, PlanError, TargetError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.groups import usual_step
from edgeprune.graph.pieces import equal_pieces
from edgeprune.models import build


class Tiny(nn.Module):
    """With n of a's 4 and m of b's 6 channels: 2n + nm + 3m parameters, 50 in all."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 6, 1, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))


A, B = slice(0, 4), slice(4, 10)
SCORES = np.array([10.0, 1, 8, 2, 9, 3, 7, 4, 5, 6])


@pytest.fixture(scope="module")
def tiny() -> Graph:
    graph = build_graph(Tiny(), torch.zeros(1, 2, 2, 2))
    assert [(g.name, g.classes.tolist()) for g in graph.groups] == [
        ("a", [0, 1, 2, 3]),
        ("b", [4, 5, 6, 7, 8, 9]),
    ]
    assert graph.params() == 50
    return graph


@pytest.fixture(scope="module")
def resnet20() -> Graph:
    return build_graph(build("resnet20", num_classes=10), torch.zeros(1, 3, 32, 32))


def remains(kind: str, graph: Graph, keep: np.ndarray) -> float:
    resource = resources.get(kind)
    return resource.cost(graph, keep) / resource.cost(graph)


def kept(graph: Graph, target: str, **more: object) -> tuple[list[int], list[int]]:
    keep = select(graph, more.pop("scores", SCORES), target, **more).keep  # type: ignore[arg-type]
    return np.flatnonzero(keep[A]).tolist(), np.flatnonzero(keep[B]).tolist()


# --- targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "fraction"),
    [
        ("flops=0.5", "flops", 0.5),
        ("params=1", "params", 1.0),
        (" flops = .25 ", "flops", 0.25),
        ("flops=1e-3", "flops", 0.001),
        (Target("params", 0.3), "params", 0.3),
    ],
)
def test_good_targets(text: str | Target, kind: str, fraction: float) -> None:
    assert Target.parse(text) == Target(kind, fraction)
    assert Target.parse(str(Target.parse(text))) == Target(kind, fraction)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0.5", "write for example flops=0.5"),
        ("", "write for example flops=0.5"),
        ("half", "write for example flops=0.5"),
        ("flops", "write for example flops=0.5"),
        ("flops=", "is not a number"),
        ("flops=half", "'half' is not a number"),
        ("flops=50%", "'50%' is not a number"),
        ("flops=0.5=2", "is not a number"),
        ("flops=0", "outside (0, 1]"),
        ("flops=-0.1", "outside (0, 1]"),
        ("flops=1.01", "outside (0, 1]"),
        ("flops=nan", "outside (0, 1]"),
        ("flops=inf", "outside (0, 1]"),
        ("power=0.5", "known: energy, flops, latency, memory, params"),
        ("flop=0.5", "did you mean 'flops'"),
        (0.5, "write for example flops=0.5"),
    ],
)
def test_bad_targets_say_what_to_write(text: str, message: str) -> None:
    with pytest.raises(TargetError) as error:
        Target.parse(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_cost_and_share(tiny: Graph) -> None:
    keep = np.ones(10, dtype=bool)
    keep[[1, 5]] = False
    assert resources.get("params").cost(tiny) == 50
    assert resources.get("params").cost(tiny, keep) == 2 * 3 + 3 * 5 + 3 * 5
    assert remains("params", tiny, keep) == 36 / 50
    assert resources.get("flops").cost(tiny) == tiny.flops()


# --- choosing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "a", "b"),
    [
        ("params=1", [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]),
        ("params=0.86", [0, 2, 3], [0, 1, 2, 3, 4, 5]),  # 42 of 43
        ("params=0.84", [0, 2, 3], [0, 1, 2, 3, 4, 5]),  # 42 exactly
        ("params=0.7", [0, 2], [0, 1, 2, 3, 4, 5]),  # 34 of 35
        ("params=0.5", [0, 2], [0, 2, 4, 5]),  # 24 of 25
        ("params=0.28", [0, 2], [0, 2]),  # 14: both at the floor of 2
    ],
)
def test_the_lowest_scores_go_first(tiny: Graph, target: str, a: list[int], b: list[int]) -> None:
    assert kept(tiny, target) == (a, b)


def test_the_floor(tiny: Graph) -> None:
    assert kept(tiny, "params=0.48", floor=3) == ([0, 2, 3], [0, 2, 5])  # 6 + 9 + 9 = 24
    assert floors_of(tiny, 3).tolist() == [3, 3]
    assert floors_of(tiny, 5).tolist() == [4, 5]  # no more than there are
    assert floors_of(tiny, 0).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("align", "floors"), [(1, [2, 2]), (2, [2, 2]), (3, [3, 3]), (4, [4, 4]), (8, [4, 6])]
)
def test_floors_are_rounded_up_to_the_alignment(tiny: Graph, align: int, floors: list[int]) -> None:
    assert floors_of(tiny, 2, align).tolist() == floors


@pytest.mark.parametrize(
    ("target", "align", "a", "b"),
    [
        ("params=0.7", 2, [0, 2], [0, 1, 2, 3, 4, 5]),  # 34; at 3 of a it would be 42
        ("params=0.5", 2, [0, 2], [0, 2, 4, 5]),  # 24
        ("params=0.72", 4, [0, 1, 2, 3], [0, 2, 4, 5]),  # 36: a is no more than 4, and stays whole
    ],
)
def test_alignment_gives_multiples_of_the_most_important(
    tiny: Graph, target: str, align: int, a: list[int], b: list[int]
) -> None:
    assert kept(tiny, target, align=align) == (a, b)


def test_what_is_left_goes_to_the_most_important_that_fits(tiny: Graph) -> None:
    scores = SCORES.copy()
    scores[[1, 5]] = [2, 1]  # b's channel 1 goes first (43), then a's channel 1 (36)
    scores[[3]] = 3
    assert kept(tiny, "params=0.86", scores=scores) == ([0, 1, 2, 3], [0, 2, 3, 4, 5])
    # At 42 a's channel does not fit back, b's does: 6 + 18 + 18.
    assert kept(tiny, "params=0.84", scores=scores) == ([0, 2, 3], [0, 1, 2, 3, 4, 5])


class Chain(nn.Module):
    """With n, m, k of a's, b's and c's 4 channels each: n + nm + mk + k parameters, 40 in all."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(i, 4, 1, bias=False) for i in (1, 4, 4))
        self.head = nn.Linear(4, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x).relu()).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize(("a", "c", "dropped"), [(1.0, 2.0, [3, 7]), (2.0, 1.0, [7, 11])])
def test_of_two_that_fit_the_more_important_is_given_back(a: float, c: float, dropped: list[int]) -> None:
    graph = build_graph(Chain(), torch.zeros(1, 1, 2, 2))
    assert [g.name for g in graph.groups] == ["a", "b", "c"] and graph.params() == 40
    scores = np.array([9.0, 9, 9, a, 9, 9, 9, 3, 9, 9, 9, c])
    # Without the last of each 24 are left. b's back would be 30; c's or a's 28; both of these 32.
    keep = select(graph, scores, "params=0.725").keep
    assert np.flatnonzero(~keep).tolist() == dropped


def test_a_ratio_of_ones_own_stands_and_the_others_share_the_rest(tiny: Graph) -> None:
    assert kept(tiny, "params=0.86", ratios={"b": 0.5}) == ([0, 1, 2, 3], [0, 2, 5])  # 8 + 12 + 9
    assert kept(tiny, "params=0.5", ratios={"a": 1.0}) == (
        [0, 1, 2, 3],
        [0, 2],
    )  # 8 + 8 + 6: 7 a channel of b
    assert kept(tiny, "params=1", ratios={"b": 0.5}) == ([0, 1, 2, 3], [0, 2, 5])  # a target that is met
    assert kept(tiny, "params=0.5", ratios={"a": 0.01}) == ([0, 2], [0, 2, 4, 5])  # not below the floor


@pytest.mark.parametrize("kind", ["flops", "params"])
@pytest.mark.parametrize("fraction", [0.9, 0.6, 0.4, 0.2, 0.1])
def test_met_within_tolerance_on_resnet20(resnet20: Graph, kind: str, fraction: float) -> None:
    scores = np.random.default_rng(3).random(resnet20.classes)
    share = remains(kind, resnet20, select(resnet20, scores, Target(kind, fraction), align=1).keep)
    assert fraction * (1 - TOLERANCE) <= share <= fraction


@pytest.mark.parametrize(
    ("width", "step"), [(1, 1), (7, 1), (8, 2), (15, 2), (16, 4), (31, 4), (32, 8), (64, 8), (2048, 8)]
)
def test_the_usual_step_is_8_and_leaves_narrow_layers_four_widths(width: int, step: int) -> None:
    assert usual_step(width) == step


def test_widths_that_nobody_aligned_are_multiples_of_the_usual_step(resnet20: Graph) -> None:
    scores = np.random.default_rng(4).random(resnet20.classes)
    plan = select(resnet20, scores, "flops=0.5")
    widths = [(int(plan.keep[group.classes].sum()), group.size) for group in resnet20.groups]
    assert all(width % usual_step(size) == 0 for width, size in widths)
    assert any(width % 8 for width, _ in widths)  # of the 16 wide ones
    assert 0.45 <= remains("flops", resnet20, plan.keep) <= 0.5 and plan.notes == ()


@pytest.mark.parametrize(
    ("share", "width", "notes"),
    [
        (0.5, 16, ()),
        (0.48, 15, (ANY_WIDTH,)),  # 8 would use half of it
        (0.2, 6, (ANY_WIDTH,)),  # 8 is too many
    ],
)
def test_widths_are_of_any_number_where_aligned_ones_miss_the_target(
    share: float, width: int, notes: tuple[str, ...]
) -> None:
    net = nn.Sequential(nn.Linear(2, 32, bias=False), nn.ReLU(), nn.Linear(32, 3, bias=False))  # 5 a channel
    graph = build_graph(net, torch.zeros(1, 2))
    plan = select(graph, np.arange(32.0), f"params={share}")
    assert (plan.keep.sum(), plan.notes) == (width, notes)


@pytest.mark.parametrize("align", [4, 8])
def test_widths_are_multiples_on_resnet20(resnet20: Graph, align: int) -> None:
    scores = np.random.default_rng(4).random(resnet20.classes)
    keep = select(resnet20, scores, "flops=0.5", align=align).keep
    counts = [int(keep[g.classes].sum()) for g in resnet20.groups]
    assert all(count % align == 0 for count in counts) and min(counts) < 16
    assert 0.4 < remains("flops", resnet20, keep) <= 0.5
    for group in resnet20.groups:
        inside = scores[group.classes]
        stay = keep[group.classes]
        assert stay.all() or inside[stay].min() > inside[~stay].max()


def test_more_budget_never_keeps_less(resnet20: Graph) -> None:
    scores = np.random.default_rng(5).random(resnet20.classes)
    shares = [
        remains("flops", resnet20, select(resnet20, scores, f"flops={f}").keep)
        for f in np.linspace(0.1, 1, 19)
    ]
    assert shares == sorted(shares) and shares[-1] == 1


def test_scores_are_not_changed(tiny: Graph) -> None:
    scores = SCORES.copy()
    select(tiny, scores, "params=0.5", ratios={"a": 0.5})
    assert scores.tolist() == SCORES.tolist()


# --- what cannot be done --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "with at least 2 channels a layer and the protected ones, 0.280 of the params"),
        ({"floor": 3}, "with at least 3 channels a layer and the protected ones, 0.480 of the params"),
        ({"align": 4}, "channels a layer, multiples of 4 and the protected ones, 0.720 of the params"),
    ],
)
def test_a_target_that_cannot_be_reached_says_how_far_it_goes(tiny: Graph, more: dict, message: str) -> None:
    with pytest.raises(TargetError) as error:
        select(tiny, SCORES, "params=0.2", **more)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("scores", "more", "message"),
    [
        (np.where(np.arange(10) == 6, np.nan, 1.0), {}, "a channel of b is not a number"),
        (np.ones(9), {}, r"shape \(9,\), this model needs \(10,\)"),
        (np.ones((10, 1)), {}, "shape"),
        (np.ones(10), {"ratios": {"c": 0.5}}, "unknown layer 'c'.*nown: a, b"),
        (np.ones(10), {"ratios": {"a": 0.0}}, r"outside \(0, 1\]"),
        (np.ones(10), {"ratios": {"a": 1.5}}, r"outside \(0, 1\]"),
    ],
)
def test_bad_scores_and_ratios(tiny: Graph, scores: np.ndarray, more: dict, message: str) -> None:
    with pytest.raises(PlanError, match=message) as error:
        select(tiny, scores, "params=0.5", **more)
    assert isinstance(error.value, EdgePruneError) and "\n" not in str(error.value)


def test_infinite_scores_are_an_order_like_any_other(tiny: Graph) -> None:
    scores = SCORES.copy()
    scores[[1, 0]] = np.inf, -np.inf
    assert kept(tiny, "params=0.86", scores=scores)[0] == [1, 2, 3]


# --- equal pieces of a tensor ------------------------------------------------------------------------


def counts_of_pieces(graph: Graph, keep: np.ndarray) -> list[list[int]]:
    alive = np.append(keep, True)  # class -1 stays
    return [
        alive[piece].sum(1).tolist() for flow in graph.flows for piece in equal_pieces(flow, graph.class_of)
    ]


@pytest.mark.parametrize("kind", TIED)
def test_equal_pieces_keep_equal_counts(kind: type[CutApart]) -> None:
    """For any scores, targets and alignments; which channels go is each piece's own choice."""
    graph = build_graph(kind().eval(), torch.zeros(1, 3, 6, 6))
    alike = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        scores, align = draw.normal(size=graph.classes), int(draw.choice([1, 1, 2, 4]))
        target = f"{draw.choice(['flops', 'params', 'memory'])}={draw.uniform(0.45, 0.95):.3f}"
        try:
            keep = select(graph, scores, target, align=align, floor=1).keep
        except TargetError:
            assert align > 1 or "memory" in target
            continue
        for counts in counts_of_pieces(graph, keep):
            assert len(set(counts)) == 1
            assert (
                counts[0] % align == 0
                or keep.all()
                or counts[0] == max(counts_of_pieces(graph, keep | True)[0])
            )
        (tied,) = [t for t in graph.tied_groups if sum(len(parts) for parts in t.parts) > 1]
        first, second, *_ = (keep[part] for parts in tied.parts for part in parts)
        alike += len(first) != len(second) or bool((first == second).all())
        for part in (part for parts in tied.parts for part in parts):  # the best of each stay
            assert keep[part].all() or scores[part][keep[part]].min() > scores[part][~keep[part]].max()
        kind_of_cost, fraction = target.split("=")
        assert remains(kind_of_cost, graph, keep) <= float(fraction) * (1 + TOLERANCE)
    assert alike < 60


def test_ratios_of_tied_groups() -> None:
    graph = build_graph(Across().eval(), torch.zeros(1, 3, 6, 6))
    names = {g.name: g for t in graph.tied_groups if len(t.groups) > 1 for g in t.groups}
    name, other = list(names)[:2]
    scores = np.random.default_rng(0).random(graph.classes)
    keep = select(graph, scores, "params=0.9", floor=1, ratios={name: 0.5}).keep
    assert [len(set(counts)) for counts in counts_of_pieces(graph, keep)] == [1]
    assert keep[names[name].classes].mean() == keep[names[other].classes].mean() == 0.5
    keep = select(
        graph, scores, "params=0.9", floor=1, ratios={name: 0.5, other: 0.75}
    ).keep  # as it was asked
    assert (keep[names[name].classes].mean(), keep[names[other].classes].mean()) == (0.5, 0.75)


def test_infinite_scores_of_tied_groups() -> None:
    graph = build_graph(Halves().eval(), torch.zeros(1, 3, 6, 6))
    first, second = (part for t in graph.tied_groups if len(t.groups) > 1 for (part,) in t.parts)
    scores = np.random.default_rng(0).random(graph.classes)
    scores[first[:6]], scores[second[:4]] = np.inf, -np.inf
    keep = select(graph, scores, "flops=0.6").keep
    assert keep[first].sum() == keep[second].sum() >= 6 and keep[first[:6]].all()


def test_what_was_dropped_is_given_back_where_pieces_are_not_equal() -> None:
    graph = build_graph(Halves().eval(), torch.zeros(1, 3, 6, 6))
    first, second = (part for t in graph.tied_groups if len(t.groups) > 1 for (part,) in t.parts)
    scores, keep = np.arange(graph.classes, dtype=float), np.ones(graph.classes, dtype=bool)
    keep[first[:2]], keep[second[:5]] = False, False
    even = evened(graph, keep, np.where(keep, scores + 100, scores))
    assert even[first].tolist() == [False] * 2 + [True] * 6
    assert even[second].tolist() == [False] * 2 + [True] * 6
    assert even.sum() == keep.sum() + 3
