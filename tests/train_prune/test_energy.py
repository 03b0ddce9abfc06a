"""Runs whose target is an energy: on a board made by hand, whose sensor stops; the run goes on."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from latency import conftest as made
from latency.powered import PoweredBoard

from edgeprune.cli import main
from edgeprune.errors import BenchError, LatencyError
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune

pytestmark = pytest.mark.usefixtures("here", "older_exporter")


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> PoweredBoard:
    """This machine, with steps of 4: the networks here are narrow."""
    result = PoweredBoard()
    monkeypatch.setattr(made, "STEP", 4)
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: result)
    monkeypatch.chdir(tmp_path)
    return result


@pytest.fixture
def requested(options: TrainPruneOptions) -> TrainPruneOptions:
    return replace(
        options,
        target="latency=0.95,energy=0.8",
        method="l1",
        epochs=1,
        prune_iterations=4,
        baseline_epochs=1,
    )


def test_a_sensor_that_stops_ends_a_run_that_goes_on(
    requested: TrainPruneOptions, board: PoweredBoard
) -> None:
    board.stops_at = "pruned"
    with pytest.raises(
        BenchError, match="cannot be measured any more: the sensor stopped answering"
    ) as error:
        train_prune("r", requested)
    assert "\n" not in str(error.value) and Run.open("r").has("baseline.safetensors")
    board.stops_at = None
    summary = train_prune("r", requested, resume=True)
    by_kind = {target["kind"]: target for target in summary["targets"]}
    assert by_kind["energy"]["asked"] == "energy=0.8" and by_kind["energy"]["got_fraction"] <= 0.8 * 1.0075
    assert by_kind["latency"]["got_fraction"] <= 0.95 * 1.0075
    assert any("energy of an inference" in note and "by rapl" in note for note in summary["notes"])
    record = json.loads(Path("r/latency.json").read_text())
    chosen = next(attempt for attempt in record["attempts"] if attempt["chosen"])["energy"]
    assert by_kind["energy"]["got_fraction"] == pytest.approx(chosen["pruned_mj"] / chosen["baseline_mj"])
    assert CliRunner().invoke(main, ["report", "r"]).exit_code == 0
    assert "energy=0.8" in Path("r/report.html").read_text()


def test_without_a_sensor_nothing_is_trained(requested: TrainPruneOptions, board: PoweredBoard) -> None:
    board.ends_after = 0
    with pytest.raises(
        LatencyError, match="an energy target needs a power sensor on CPU of this machine: .* stopped"
    ):
        train_prune("r", requested)
    assert not board.timed and not Path("r/baseline.safetensors").exists()


def test_precisions_are_chosen_by_time_alone(requested: TrainPruneOptions, board: PoweredBoard) -> None:
    with pytest.raises(Exception, match="precisions are chosen by the time that they take"):
        train_prune("r", replace(requested, target="energy=0.8", precisions="fp32,int8"))
