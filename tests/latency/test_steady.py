"""Targets of the steady state: plans are measured on a board that has throttled, and planned by what it takes then."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from edgeprune.budget import Budget, Target, parse_targets
from edgeprune.errors import TargetError
from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.latency import BenchTarget, device_budget
from edgeprune.latency.boards import boards_budget
from edgeprune.latency.budget import budget_on
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.planning import PlanningClock
from edgeprune.latency.shapes import read_model
from edgeprune.latency.steady import COOLING_S, MOST_S, STEADY_PLAN_SECONDS, SteadyTimer
from edgeprune.latency.table import Table
from latency.throttling import PAUSE_S, ThrottlingBoard

SHAPE = (3, 16, 16)


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, older_exporter: None) -> ThrottlingBoard:
    made = ThrottlingBoard()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: made)
    monkeypatch.setattr("edgeprune.bench.session.MOST_PAUSED", 10.0)
    written = SteadyTimer.written

    def slowly(self: SteadyTimer, name: str, model: nn.Module, *more: Any) -> Path:
        self.clock = lambda: made.now
        made.now += PAUSE_S
        return written(self, name, model, *more)

    monkeypatch.setattr(SteadyTimer, "written", slowly)
    return made


def record_of(budget: Budget) -> dict[str, Any]:
    record = budget.record()
    assert record is not None
    return record


def test_plans_are_measured_hot(board: ThrottlingBoard, net: nn.Module, graph: Graph) -> None:
    """The first load lasts until the board is steady; after each export it is put under load until it is hot again."""
    budget = device_budget(net, SHAPE, "latency=0.6@sustained", graph=graph)
    assert not board.rounds  # a share of the time needs no load before plans are measured
    plan = budget.finalize(graph, score(graph, "l2"))
    record = record_of(budget)
    state = record["sustained"]
    assert state["steady"] and state["got_back"] and 180 <= state["load_s"] <= 300
    assert (
        state["slowdown"] == pytest.approx(state["steady_ms"] / state["first_ms"]) and state["slowdown"] > 1.5
    )
    first = [name for name, _, _ in board.rounds].index("pruned")
    later = board.rounds[first - 1 :]
    warming = [number for number, (_, hot, _) in enumerate(later) if not hot]
    assert all(later[number][0] == "baseline" and later[number][2] == 10.0 for number in warming)
    assert {hot for name, hot, _ in board.rounds if name == "pruned"} == {True}
    assert {seconds for _, _, seconds in board.rounds} == {10.0}
    chosen = next(attempt for attempt in record["attempts"] if attempt["chosen"])
    assert chosen["baseline_ms"] == pytest.approx(state["steady_ms"])
    assert 0.57 <= chosen["measured_fraction"] <= 0.6 * 1.0075 or "asks for" in " ".join(plan.notes)
    assert any("measured under lasting load, after" in note for note in plan.notes)
    assert record["targets"] == ["latency=0.6@sustained"] and record["plan_seconds"] == STEADY_PLAN_SECONDS


def test_milliseconds_of_the_steady_state(
    board: ThrottlingBoard, net: nn.Module, graph: Graph, file: Path
) -> None:
    """What the cool board meets unpruned the hot one does not: the table is set in proportion to the hot one."""
    cool_ms, hot_ms = board.cool_and_hot(file)
    amount = (cool_ms + hot_ms) / 2
    with pytest.raises(TargetError, match="nothing to prune"):
        device_budget(net, SHAPE, f"latency={amount}ms", graph=graph)
    budget = device_budget(net, SHAPE, f"latency={amount}ms@sustained", graph=graph)
    assert budget.originals["latency"] == pytest.approx(hot_ms, rel=1e-3)
    assert budget.cost("latency", graph) == pytest.approx(hot_ms, rel=1e-3)
    budget.finalize(graph, score(graph, "l2"))
    chosen = next(attempt for attempt in record_of(budget)["attempts"] if attempt["chosen"])
    assert chosen["pruned_ms"] <= amount * 1.0075
    with pytest.raises(TargetError, match="in the steady state already; nothing to prune"):
        device_budget(net, SHAPE, f"latency={1.1 * hot_ms}ms@sustained", graph=graph)
    rounds = len(board.rounds)
    reachable = device_budget(net, SHAPE, f"latency={amount}ms@sustained", graph=graph, check=False)
    assert reachable.select(graph, score(graph, "l2")).keep.all() and len(board.rounds) == rounds


def test_a_board_that_is_never_steady_is_said_so(
    board: ThrottlingBoard, net: nn.Module, graph: Graph
) -> None:
    """It becomes warmer all the time, though its times do not change: what is measured may still change."""
    board.hot_s = 1e9
    board.degrees = [40.0 + 0.5 * step for step in range(10_000)]
    budget = device_budget(net, SHAPE, "latency=0.7@sustained", graph=graph)
    plan = budget.finalize(graph, score(graph, "l2"))
    state = record_of(budget)["sustained"]
    assert not state["steady"] and state["load_s"] == pytest.approx(MOST_S) and state["most_s"] == MOST_S
    assert state["warmest_c"] == pytest.approx(40.0 + 0.5 * 59)
    assert any("was not steady yet: these latencies may still change" in note for note in plan.notes)


def test_a_cool_board_is_steady_after_the_least_time(
    board: ThrottlingBoard, net: nn.Module, graph: Graph
) -> None:
    board.hot_s = 1e9
    board.degrees = [50.0]
    timer = SteadyTimer(net, SHAPE, BenchTarget.reach())
    reports: list[tuple[float, float, str]] = []
    timer.warm_up(lambda *call: reports.append(call))
    assert timer.steady and timer.record() is not None and len(timer.rounds_ms) == 18
    assert reports[-1][:2] == (170.0, MOST_S) and "under load for 170 s of at most 600" in reports[-1][2]
    timer.warm_up()
    assert len(board.rounds) == 18  # it has just been under load
    board.now += COOLING_S
    timer.warm_up()
    assert len(board.rounds) == 19  # one round shows that nothing was lost


def test_a_board_that_does_not_get_hot_again(board: ThrottlingBoard, net: nn.Module) -> None:
    timer = SteadyTimer(net, SHAPE, BenchTarget.reach())
    timer.warm_up()
    assert timer.steady and timer.remarks()[0].endswith("times its first time")
    board.hot_s = 1e9
    board.now += PAUSE_S
    timer.warm_up()
    assert timer.lost and len(timer.remarks()) == 2


def test_several_boards_in_ms(board: ThrottlingBoard, net: nn.Module, graph: Graph, file: Path) -> None:
    cool_ms, hot_ms = board.cool_and_hot(file)
    amount = (cool_ms + hot_ms) / 2
    budget = boards_budget(net, SHAPE, f"latency={amount}ms@sustained", [BenchTarget.reach()], graph=graph)
    assert budget.originals["latency"] == pytest.approx(hot_ms, rel=1e-3)
    assert budget.cost("latency", graph) == pytest.approx(hot_ms, rel=1e-3)
    with pytest.raises(TargetError, match="on these boards already"):
        boards_budget(net, SHAPE, f"latency={1.1 * hot_ms}ms@sustained", [BenchTarget.reach()], graph=graph)


def test_the_target_as_it_is_written() -> None:
    target = Target.parse("latency=12ms@sustained")
    assert (target.amount, target.fraction, target.sustained) == (12.0, None, True)
    assert str(target) == "latency=12ms@sustained" and Target.parse(str(target)) == target
    first, second = parse_targets("latency=0.5@sustained,flops=0.9")
    assert (first.fraction, first.sustained, second.sustained) == (0.5, True, False)
    for text, message in (
        ("latency=0.5@warm", "behind the @ stands sustained or nothing"),
        ("latency=0.5@", "behind the @ stands sustained or nothing"),
        ("flops=0.5@sustained", "only what is measured on a device"),
        ("latency=fast@sustained", "'fast' is not a number"),
    ):
        with pytest.raises(TargetError, match=message):
            Target.parse(text)


def test_where_nothing_keeps_up_the_load_it_is_refused(graph: Graph, file: Path) -> None:
    estimator = LatencyEstimator(graph, read_model(file, 1), Table({}))
    with pytest.raises(TargetError, match="plans are measured on a cool device here: leave @sustained out"):
        budget_on(parse_targets("latency=0.5@sustained"), estimator, clock=PlanningClock())
