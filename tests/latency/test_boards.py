"""A target on several boards at once: it holds on the one that is the worst off, whichever that is for a plan."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget
from edgeprune.errors import BenchError, RunError, TargetError
from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.latency import BenchTarget
from edgeprune.latency.boards import boards_budget
from edgeprune.records.trust import check_options, vouch_for
from latency.scaled import ScaledBoard, two_boards

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None) -> None:
    """Tables are kept beside runs/."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScaledBoard]:
    """Two boards by their hosts, both reached as "cpu"; the second takes three times as long for everything."""
    made = two_boards(monkeypatch)
    made["b"].factor, made["b"].name = 1.0, made["a"].name
    return made


def budget_of(net: nn.Module, graph: Graph, target: str, **more: Any) -> Budget:
    boards = [BenchTarget.reach(None, Host(name)) for name in ("a", "b")]
    return boards_budget(net, SHAPE, target, boards, graph=graph, **more)


def test_half_of_the_time_on_both(kinds: dict[str, ScaledBoard], net: nn.Module, graph: Graph) -> None:
    """On the second board the widest layers take four times as long: its share falls otherwise than the first one's."""
    kinds["b"].factor, kinds["b"].name = 4.0, "another"
    budget = budget_of(net, graph, "latency=0.5")
    plan = budget.finalize(graph, score(graph, "l2"))
    assert (
        "measured on 2 boards, of which the worst off counts: a " in plan.notes[-1]
        and ", b " in plan.notes[-1]
    )
    record = budget.record()
    assert record is not None
    shares = {
        item["host"]: item["measured"]["pruned_ms"] / item["measured"]["baseline_ms"]
        for item in record["boards"]
    }
    chosen = next(attempt for attempt in record["attempts"] if attempt["chosen"])
    assert chosen["measured_fraction"] == pytest.approx(max(shares.values()))
    assert max(shares.values()) <= 0.5 * 1.0075 and shares["a"] != pytest.approx(shares["b"], rel=0.01)
    by_table = [
        board.cost(graph, plan.keep) / board.cost(graph) for _, board in budget.bound["latency"].boards
    ]
    assert budget.share("latency", graph, plan.keep) == pytest.approx(max(by_table))
    assert sorted(path.name for path in Path("luts").iterdir() if path.suffix == ".json") == [
        "cpu-onnxruntime-fp32-b1-t2-a.json", "cpu-onnxruntime-fp32-b1-t2-b.json",
    ]  # fmt: skip


def test_milliseconds_are_those_of_the_slowest(
    kinds: dict[str, ScaledBoard], net: nn.Module, graph: Graph
) -> None:
    """The second board takes three times as long; the first meets the target unpruned, which is no reason to refuse."""
    kinds["b"].name = "another"
    slow_ms = budget_of(net, graph, "latency=0.5", check=False).originals["latency"] * 3
    budget = budget_of(net, graph, f"latency={0.6 * slow_ms}ms")
    assert budget.originals["latency"] == pytest.approx(slow_ms)
    plan = budget.finalize(graph, score(graph, "l2"))
    record = budget.record()
    assert record is not None
    times = {item["host"]: item["measured"]["pruned_ms"] for item in record["boards"]}
    assert times["b"] == pytest.approx(3 * times["a"]) and times["b"] <= 0.6 * slow_ms * 1.0075
    assert not plan.keep.all()
    with pytest.raises(TargetError, match="at most .* ms on these boards already; nothing to prune"):
        budget_of(net, graph, f"latency={2 * slow_ms}ms")


def test_boards_of_a_kind_share_a_table(kinds: dict[str, ScaledBoard], net: nn.Module, graph: Graph) -> None:
    kinds["b"].scale = 1.0
    budget = budget_of(net, graph, "flops=0.6", check=False)
    assert kinds["a"].timed and not kinds["b"].timed and len(list(Path("luts").glob("*.json"))) == 1
    assert graph.flops(budget.select(graph, score(graph, "l2")).keep) <= 0.6 * graph.flops()


def test_one_board_under_two_names_is_two_and_under_one_a_mistake(
    kinds: dict[str, ScaledBoard], net: nn.Module, graph: Graph
) -> None:
    boards = [BenchTarget.reach(None, Host("a"))] * 2
    with pytest.raises(BenchError, match="--host a is named twice"):
        boards_budget(net, SHAPE, "latency=0.5", boards, graph=graph)


def test_every_stored_host_is_typed_again(tmp_path: Path) -> None:
    hosts = [
        {"name": name, "python": None, "folder": None, "ssh_options": []}
        for name in ("first-one", "second-one")
    ]
    options = {"host": hosts[0], "more_hosts": [hosts[1]]}
    vouch_for({"host": hosts[0]})
    with pytest.raises(RunError, match="--host second-one"):
        check_options(options, tmp_path)
    vouch_for(options)
    check_options(options, tmp_path)
