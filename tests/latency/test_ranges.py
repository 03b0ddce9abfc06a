"""The range of latency by the table of a board made by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from torch import nn

from edgeprune.cli import main
from edgeprune.errors import LatencyError, TargetError
from edgeprune.graph.classes import Graph
from edgeprune.importance import score
from edgeprune.latency import device_budget
from edgeprune.runs.ranges import range_rows, ranges_of
from latency.conftest import Board

SHAPE = (3, 16, 16)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None) -> None:
    """Tables are kept beside runs/."""
    monkeypatch.chdir(tmp_path)


def test_the_smallest_latency_can_be_had_and_no_smaller(board: Board, net: nn.Module, graph: Graph) -> None:
    device_budget(net, SHAPE, "latency=0.9", graph=graph, check=False)  # makes the table
    (latency,) = [item for item in ranges_of(graph) if item["kind"] == "latency"]
    assert latency["table"] == "luts/cpu-onnxruntime-fp32-b1-t2.json"
    smallest, scores = latency["smallest"], score(graph, "l2")
    budget = device_budget(net, SHAPE, f"latency={smallest * 1.001}", graph=graph, check=False)
    plan = budget.select(graph, scores)
    assert budget.share("latency", graph, plan.keep) == pytest.approx(smallest, rel=1e-6)
    with pytest.raises(TargetError, match="cannot be reached"):
        device_budget(net, SHAPE, f"latency={smallest * 0.99}", graph=graph, check=False).select(
            graph, scores
        )
    assert smallest < latency["largest"] < 1
    assert latency["unpruned"] == pytest.approx(budget.originals["latency"])


def test_tables_of_other_networks_are_passed_over_unless_asked_for(
    board: Board, net: nn.Module, graph: Graph
) -> None:
    device_budget(net, SHAPE, "latency=0.9", graph=graph, check=False)
    place = Path("luts/cpu-onnxruntime-fp32-b1-t2.json")
    content = json.loads(place.read_text())
    content["shapes"].popitem()
    place.write_text(json.dumps(content))
    assert [item["kind"] for item in ranges_of(graph)] == ["flops", "params", "memory"]
    with pytest.raises(
        LatencyError, match="lacks some layers of this network: edgeprune lut build adds them"
    ):
        ranges_of(graph, str(place))


def test_the_table_for_people() -> None:
    ranges = [
        {"kind": "flops", "unpruned": 2.5e6, "smallest": 0.25, "largest": 0.9875, "table": None},
        {"kind": "params", "unpruned": 12345.0, "smallest": 1.0, "largest": None, "table": None},
        {"kind": "latency", "unpruned": 1.25, "smallest": 0.4, "largest": 0.9, "table": "luts/a.json"},
    ]
    assert range_rows(ranges)[1] == [
        ["flops", "2.50 M", "25.00 %", "98.75 %"],
        ["params", "12,345", "100.00 %", "-"],
        ["latency by luts/a.json", "1.25 ms", "40.00 %", "90.00 %"],
    ]


def test_inspect_shows_them() -> None:
    result = CliRunner().invoke(main, ["inspect", "resnet8", "--json"])
    assert [item["kind"] for item in json.loads(result.stdout)["ranges"]] == ["flops", "params", "memory"]
    assert "what targets can reach" in CliRunner().invoke(main, ["inspect", "resnet8"]).stdout
    missing = CliRunner().invoke(main, ["inspect", "resnet8", "--lut", "none.json"])
    assert missing.exit_code == 1 and "none.json" in missing.stderr and missing.stderr.count("\n") == 1
