"""A device's budget: chosen by its table, settled by what it measures; on a board made by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune import api
from edgeprune.backends import onnx_export
from edgeprune.backends.onnx_export import export_model
from edgeprune.budget import Budget
from edgeprune.errors import LatencyError, PlanError, TargetError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.importance import score
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.latency.calibrate import Attempt, Measured
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from edgeprune.methods.removal import remove
from edgeprune.rewrite.compaction import compact
from latency.conftest import Board, Net, truth

SHAPE = (3, 16, 16)
NEWER_EXPORTER = onnx_export._by_dynamo


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None) -> None:
    """Tables are kept beside runs/."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, board: Board) -> list[float]:
    """The board's word on whole models, with a table that is wrong by `board.whole`; shares so far."""
    shares: list[float] = []

    def times(self: EndToEndTimer, pruned: Path, *_: Any) -> list[PairedTimes]:
        base, after = truth(self.baseline_file), truth(pruned)
        share = (after / base) ** board.whole
        shares.append(share)
        return [PairedTimes(base, base * share, 1 / share, 0.99 / share, 1.01 / share, 50)]

    monkeypatch.setattr(EndToEndTimer, "_times", times)
    return shares


def times_of(budget: Budget) -> list[dict[str, Any]]:
    record = budget.record()
    assert record is not None
    return record["attempts"]


Make = Callable[..., Budget]


@pytest.fixture
def make(board: Board, net: nn.Module, graph: Graph) -> Make:
    return lambda target, **more: device_budget(net, SHAPE, target, graph=graph, **more)


def test_the_time_is_met_by_the_table_and_by_the_board(
    make: Make, graph: Graph, measured: list[float], tmp_path: Path
) -> None:
    budget = make("latency=0.5")
    scores = score(graph, "l2")
    plan = budget.select(graph, scores)
    assert budget.cost("latency", graph, plan.keep) <= 0.5 * budget.originals["latency"] * (1 + 1e-6)
    assert all(int(plan.keep[g.classes].sum()) % 16 == 0 for g in graph.groups)
    settled = budget.finalize(graph, scores)
    assert 0.485 <= measured[-1] <= 0.515 or "asks for" in settled.notes[-1]
    assert "measured end to end" in settled.notes[-1]
    assert times_of(budget)[-1]["measured_fraction"] == pytest.approx(measured[-1])


def test_a_table_that_is_wrong_is_corrected_by_measuring(
    make: Make, graph: Graph, board: Board, measured: list[float]
) -> None:
    board.whole = 0.6  # gains less than the table says
    budget = make("latency=0.6")
    plan = budget.finalize(graph, score(graph, "l2"))
    assert len(measured) > 1 and measured[0] > 0.65
    chosen = next(item for item in times_of(budget) if item["chosen"])
    assert chosen["measured_fraction"] <= 0.6 * 1.015
    assert plan.keep.sum() < graph.classes


def test_an_amount_in_ms(make: Make, graph: Graph, file: Path, measured: list[float]) -> None:
    budget = make("latency=0.5")
    original = budget.originals["latency"]
    same = make(f"latency={original / 2}ms")
    assert same.goals["latency"] == pytest.approx(budget.goals["latency"])
    with pytest.raises(TargetError, match="the unpruned model takes .* ms already; nothing to prune"):
        make(f"latency={original * 2}ms")


def test_flops_on_a_device_take_their_time_with_them(make: Make, graph: Graph, measured: list[float]) -> None:
    plan = make("flops=0.5").finalize(graph, score(graph, "l2"))
    flops = graph.flops(plan.keep) / graph.flops()
    assert flops <= 0.5
    assert measured[-1] <= flops / 0.9 or measured[-1] <= 0.5 / 0.97


@pytest.mark.parametrize("original", [0.6, 0.8])
def test_a_device_that_gains_little_does_not_cost_more_flops(
    make: Make, graph: Graph, board: Board, measured: list[float], original: float
) -> None:
    """Asking for ever less time for each FLOP, the loop must not run to a plan of far fewer FLOPs."""
    board.whole = original
    plan = make("flops=0.5").finalize(graph, score(graph, "l2"))
    assert 0.9 * 0.5 <= graph.flops(plan.keep) / graph.flops() <= 0.5


def test_several_targets_at_once(make: Make, graph: Graph, measured: list[float]) -> None:
    plan = make("latency=0.6,params=0.4,memory=0.9").select(graph, score(graph, "l2"))
    assert graph.params(plan.keep) <= 0.4 * graph.params()
    assert graph.memory(plan.keep) <= 0.9 * graph.memory()


def test_nothing_to_gain_is_said_beforehand(make: Make, graph: Graph, board: Board) -> None:
    with pytest.raises(TargetError, match="cannot be reached: floors, the device's steps"):
        make("latency=0.01").select(graph, score(graph, "l2"))


def test_a_plan_that_is_slower_is_refused(
    make: Make, graph: Graph, board: Board, measured: list[float]
) -> None:
    board.whole = -0.1  # whatever goes, it gets slower
    with pytest.raises(TargetError, match="nothing is gained on this device: of .* plans the fastest is 0.9"):
        make("latency=0.5").finalize(graph, score(graph, "l2"))
    with pytest.raises(TargetError, match="nothing is gained on this device"):
        make("flops=0.5").finalize(graph, score(graph, "l2"))


def test_a_plan_that_is_fast_for_its_flops_and_slower_gives_way(
    make: Make, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_and_time(groups: int, share: float) -> Attempt:
        keep = np.ones(graph.classes, dtype=bool)
        for group in graph.groups[:groups]:
            keep[group.classes[0]] = False
        measured = Measured(1.0, share, (1 / share, 1 / share, 1 / share))
        plan = Plan.of(graph, keep)
        ratio = share * graph.flops() / graph.flops(keep)
        return Attempt(plan, 1.0, 1.0, measured, ratio, met=False)

    slow, fast = plan_and_time(1, 1.001), plan_and_time(2, 0.999)
    assert slow.ratio < fast.ratio  # so that it is the nearer
    monkeypatch.setattr(
        "edgeprune.latency.planning.calibrate_to_target", lambda *_, **__: (slow, [slow, fast])
    )
    budget = make("flops=0.5")
    settled = budget.finalize(graph, score(graph, "l2"))
    assert (settled.keep == fast.plan.keep).all()
    assert [item["chosen"] for item in times_of(budget)] == [False, True]


def test_removals_in_a_row_are_priced_by_the_table_of_the_original(
    make: Make, net: nn.Module, measured: list[float], tmp_path: Path
) -> None:
    budget: Budget = make("latency=0.4", check=False)
    original = truth(export_model(net, SHAPE, tmp_path / "a.onnx").path)
    graph = build_graph(net, torch.zeros(1, *SHAPE))
    for way in (0.5, 1.0):
        done = remove(graph, score(graph, "l2"), budget.at_progress(way))
        graph = build_graph(done.model, torch.zeros(1, *SHAPE))
        share = truth(export_model(done.model, SHAPE, tmp_path / "b.onnx").path) / original
        assert share <= (1 - 0.6 * way) * 1.03
        assert budget.cost("latency", graph) / budget.originals["latency"] == pytest.approx(share, rel=0.03)


def test_how_far_a_plan_is_on_its_way(make: Make, graph: Graph) -> None:
    budget = make("latency=0.5", check=False)
    everything = np.ones(graph.classes, dtype=bool)
    assert budget.fraction() == pytest.approx(0.5)
    assert budget.remaining(graph, everything) == pytest.approx(1.0)
    plan = budget.select(graph, score(graph, "l2"))
    share = budget.cost("latency", graph, plan.keep) / budget.originals["latency"]
    assert budget.remaining(graph, plan.keep) == pytest.approx(share)


def test_a_controller_follows_the_flops_of_a_plan_that_takes_the_time(make: Make, graph: Graph) -> None:
    """The time itself does not fall between two steps, so that there is nothing to follow."""
    scores = score(graph, "l2")
    budget = make("latency=0.5", check=False)
    tracked = budget.tracking_budget(graph, scores)
    plan = budget.select(graph, scores)
    assert tracked.fraction() == pytest.approx(graph.flops(plan.keep) / graph.flops())
    keep = np.ones(graph.classes, dtype=bool)
    shares = [(tracked.remaining(graph, keep), budget.remaining(graph, keep))]
    for item in graph.groups[0].classes[:8]:
        keep[item] = False
        shares.append((tracked.remaining(graph, keep), budget.remaining(graph, keep)))
    followed, times = zip(*shares, strict=True)
    assert followed[0] == pytest.approx(1.0) and list(followed) == sorted(set(followed), reverse=True)
    assert list(times) != sorted(set(times), reverse=True)


def test_flops_on_a_device_are_followed_as_they_are(make: Make, graph: Graph) -> None:
    budget = make("flops=0.5", check=False)
    assert budget.tracking_budget(graph, score(graph, "l2")) is budget and budget.fraction() == pytest.approx(
        0.5
    )


def test_prune_in_one_call(board: Board, measured: list[float]) -> None:
    torch.manual_seed(0)
    done = api.prune(Net().eval(), torch.zeros(1, *SHAPE), target="latency=0.5", criterion="l2")
    assert measured and "measured end to end" in done.report.notes[-1]
    with pytest.raises(TargetError, match="ratios of single layers and a device"):
        api.prune(Net().eval(), torch.zeros(1, *SHAPE), target="latency=0.5", ratios={"one": 0.5})


def test_latency_without_a_device_says_where_to_get_one(graph: Graph) -> None:
    with pytest.raises(TargetError, match="latency=0.5 needs a device's latency table"):
        Budget.of("latency=0.5", graph)


def test_scores_that_are_no_numbers(make: Make, graph: Graph) -> None:
    with pytest.raises(PlanError, match="not a number"):
        make("latency=0.5").finalize(graph, np.full(graph.classes, np.nan))


def test_scores_below_zero_and_beyond_all_measure(make: Make, graph: Graph) -> None:
    """An order by itself is what counts for them: the least go first, the endless stay."""
    scores = score(graph, "l2") - 1e3
    endless = graph.groups[1].classes[:16]
    scores[endless] = np.inf
    plan = make("latency=0.5", check=False).select(graph, scores)
    assert plan.keep[endless].all() and not plan.keep.all()


@pytest.mark.parametrize(
    ("version", "precision", "message"),
    [
        ("10.3", "int8", "tensorrt finds the scales of int8 on images"),
        ("11.0", "fp16", "takes the precision from the ONNX file, and layers are timed from fp32"),
    ],
)
def test_precisions_that_cannot_be_timed(
    board: Board, monkeypatch: pytest.MonkeyPatch, version: str, precision: str, message: str
) -> None:
    probe = board.call

    def call(verb: str, *more: Any) -> Any:
        return {**probe(verb, *more), "runtimes": {"tensorrt": version}}

    monkeypatch.setattr(board, "call", call)
    with pytest.raises(LatencyError, match=message):
        BenchTarget.reach(runtime="tensorrt", precision=precision)


def test_the_table_is_kept_under_luts_and_used_again(make: Make, board: Board) -> None:
    make("latency=0.5")
    assert [path.name for path in Path("luts").iterdir()] == ["cpu-onnxruntime-fp32-b1-t2.json"]
    board.timed.clear()
    make("latency=0.7")
    assert board.timed == []


def test_the_whole_is_compacted_exported_and_timed(
    make: Make, net: nn.Module, graph: Graph, measured: list[float]
) -> None:
    keep = np.ones(graph.classes, dtype=bool)
    keep[graph.groups[0].classes[::2]] = False
    plan = Plan.of(graph, keep)
    report = EndToEndTimer(net, SHAPE, BenchTarget.reach()).measure(graph, plan)
    small = export_model(compact(graph, plan).model, SHAPE, Path("s.onnx")).path
    assert report.pruned_ms == pytest.approx(truth(small))
    assert report.share == pytest.approx(truth(small) / report.baseline_ms)


def test_a_disturbed_measurement_is_taken_again(
    net: nn.Module, graph: Graph, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its interval says so; the narrowest counts, whatever it says."""
    answers = [
        PairedTimes(1.0, 0.5, 2.0, 1.0, 3.0, 50),
        PairedTimes(1.0, 0.8, 1.25, 1.2, 1.3, 50),
        PairedTimes(1.0, 0.4, 2.5, 2.0, 3.0, 50),
    ]
    calls: list[PairedTimes] = []

    def times(self: EndToEndTimer, pruned: Path, *_: Any) -> list[PairedTimes]:
        calls.append(answers[len(calls)])
        return calls[-1:]

    monkeypatch.setattr(EndToEndTimer, "_times", times)
    report = EndToEndTimer(net, SHAPE, BenchTarget.reach()).measure(graph, Plan.everything(graph))
    assert report.speedup == (1.25, 1.2, 1.3) and len(calls) == 2
    calls.clear()
    answers[0] = PairedTimes(1.0, 0.5, 2.0, 1.99, 2.01, 50)
    report = EndToEndTimer(net, SHAPE, BenchTarget.reach()).measure(graph, Plan.everything(graph))
    assert report.speedup[0] == 2.0 and len(calls) == 1


class Split(nn.Module):
    """C2f of YOLO: equal halves, one of which goes through a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 64, 3, padding=1), nn.Conv2d(32, 32, 3, padding=1)
        self.joined, self.head = nn.Conv2d(96, 64, 1), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.stem(x).relu().chunk(2, 1))
        parts.append(parts[-1] + self.inner(parts[-1]).relu())
        return self.head(self.joined(torch.cat(parts, 1)).relu().mean((2, 3)))


def test_equal_halves_keep_equal_counts(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "edgeprune.backends.onnx_export._by_dynamo", NEWER_EXPORTER
    )  # the older leaves sizes out
    torch.manual_seed(0)
    net = Split().eval()
    graph = build_graph(net, torch.zeros(1, *SHAPE))
    budget = device_budget(net, SHAPE, "latency=0.7,flops=0.9", graph=graph)
    plan = budget.select(graph, score(graph, "l2"))
    (tied,) = [t for t in graph.tied_groups if len(t.groups) > 1]
    first, second = (int(plan.keep[group.classes].sum()) for group in tied.groups)
    assert first == second and first % 16 == 0 and not plan.keep.all()
    assert all(budget.cost(kind, graph, plan.keep) <= goal * 1.001 for kind, goal in budget.goals.items())
    assert compact(graph, plan).rewritten == ()


def test_when_the_time_for_planning_is_up_the_best_plan_counts_with_a_note(
    make: Make, graph: Graph, board: Board, measured: list[float]
) -> None:
    board.whole = 0.6
    events: list[tuple[float, float, str]] = []
    budget = make("latency=0.6", plan_seconds=1e-6, progress=lambda *report: events.append(report))
    plan = budget.finalize(graph, score(graph, "l2"))
    assert len(measured) == 1 and measured[0] > 0.6 * 1.03
    assert "was missed by" in plan.notes[-2]
    assert plan.notes[-1] == (
        "planning stopped after 1e-06 s (plan_seconds), and the first plan counts: more time may bring it nearer to "
        "the target"
    )
    record = budget.record()
    assert record is not None and record["plan_seconds"] == 1e-6 and len(record["attempts"]) == 1
    texts = [text for _, _, text in events]
    assert texts[0] == "writing the unpruned network"
    assert texts[-3:] == [
        "plan 1: choosing widths", "plan 1: writing the pruned network", "widths chosen",
    ]  # fmt: skip


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), "5", True])
def test_a_time_for_planning_that_is_none(make: Make, seconds: Any) -> None:
    with pytest.raises(TargetError, match="plan_seconds must be"):
        make("latency=0.5", plan_seconds=seconds)


def test_a_time_for_planning_without_a_device_is_refused(net: nn.Module) -> None:
    with pytest.raises(TargetError, match="plan_seconds is of a device's budget"):
        api.prune(net, torch.zeros(1, *SHAPE), target="flops=0.5", plan_seconds=5)
