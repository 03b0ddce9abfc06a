"""`prune` for several boards, and for one under lasting load: made by hand, so that their times are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from latency.conftest import Net
from latency.scaled import ScaledBoard, two_boards
from latency.throttling import PAUSE_S, ThrottlingBoard
from torch import nn

from edgeprune.cli import main
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.post_training.file_latency import SteadyFileTimer
from edgeprune.records.trust import _typed_hosts

PRUNE = ["prune", "net.onnx", "--images", "x.npy", "--refit", "kernel", "--effort", "seconds"]
BOTH = ["--host", "a", "--host", "b"]


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older_exporter: None) -> Path:
    """A file, its inputs, and a module of the same network."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    torch.onnx.export(
        Net().eval(), (torch.zeros(2, 3, 16, 16),), "net.onnx", dynamo=False, opset_version=17,
        input_names=["x"], dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    np.save("x.npy", np.random.default_rng(0).standard_normal((40, 3, 16, 16)).astype(np.float32))
    return tmp_path / "net.onnx"


@pytest.fixture
def boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScaledBoard]:
    return two_boards(monkeypatch)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def summary_of(*arguments: str) -> dict[str, Any]:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def error_of(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    return result.stderr.splitlines()[-1]


def test_a_share_holds_on_the_board_that_keeps_most_of_its_time(
    boards: dict[str, ScaledBoard], net: Path
) -> None:
    summary = summary_of(*PRUNE, "--target", "latency=0.7", *BOTH, "-o", "small.onnx", "--run", "run")
    times = {board["host"]: board for board in summary["latency"]["boards"]}
    shares = {host: own["pruned_ms"] / own["baseline_ms"] for host, own in times.items()}
    for host, board in boards.items():
        assert times[host]["pruned_ms"] == pytest.approx(board.truth(Path("run/export/pruned.onnx")))
        assert times[host]["conditions"]["processor"] == board.name
    assert shares["a"] != pytest.approx(shares["b"], rel=0.01)
    assert max(shares.values()) <= 0.7 * 1.0075
    worst = max(shares, key=lambda host: shares[host])
    assert summary["latency"]["pruned_ms"] == times[worst]["pruned_ms"]
    (note,) = (note for note in summary["notes"] if "measured on 2 boards" in note)
    assert "a " in note and ", b " in note
    planned = json.loads(Path("run/cut.json").read_text())["times"]["boards"]
    assert [board["host"] for board in planned] == ["a", "b"]
    assert {path.name for path in Path("luts").glob("*.json")} == {
        f"cpu-onnxruntime-fp32-b1-t2-{host}.json" for host in "ab"
    }
    page = run("report", "run")
    assert page.exit_code == 0, page.output
    assert "latency on a" in Path("run/report.html").read_text()


def test_milliseconds_hold_on_the_slowest_and_both_are_shown(
    boards: dict[str, ScaledBoard], net: Path
) -> None:
    """The first board meets the target unpruned, which is no reason to refuse."""
    boards["b"].factor = 1.0
    slow_ms = boards["b"].truth(net)
    amount = 0.6 * slow_ms
    assert boards["a"].truth(net) < amount
    result = run(*PRUNE, "--target", f"latency={amount}ms", *BOTH, "--run", "run")
    assert result.exit_code == 0, result.output
    lines = [line.strip() for line in result.stdout.splitlines()]
    shown = {host: next(line for line in lines if line.startswith(f"on {host} (cpu): ")) for host in "ab"}
    assert "of 2 boards the worst off counts" in lines
    assert boards["b"].truth(Path("run/export/pruned.onnx")) <= amount * 1.0075
    assert f"{boards['b'].truth(Path('run/export/pruned.onnx')):.4g} ms" in shown["b"]
    assert "on these boards already; nothing to prune" in error_of(
        *PRUNE, "--target", f"latency={2 * slow_ms}ms", *BOTH
    )


def module() -> nn.Module:
    """The network of the file, the same each time."""
    torch.manual_seed(0)
    return Net().eval()


def test_a_torch_network_too(boards: dict[str, ScaledBoard], net: Path) -> None:
    summary = summary_of(
        "prune", f"{__name__}:module", "--images", "x.npy", "--input", "3x16x16", "--effort", "seconds",
        "--target", "latency=0.7", *BOTH, "-o", "small.safetensors", "--run", "run",
    )  # fmt: skip
    shares = [own["pruned_ms"] / own["baseline_ms"] for own in summary["latency"]["boards"]]
    assert len(shares) == 2 and 0.4 < max(shares) <= 0.7 * 1.0075


def test_the_curve_shows_the_worst_board(boards: dict[str, ScaledBoard], net: Path) -> None:
    of_both = summary_of(*PRUNE, "--curve", *BOTH)["points"]
    of_each = [
        summary_of(*PRUNE, "--curve", "--host", host, "--lut", f"{host}.json")["points"] for host in "ab"
    ]
    for both, *each in zip(of_both, *of_each, strict=True):
        assert both["latency_fraction"] == pytest.approx(max(point["latency_fraction"] for point in each))


def test_mistakes_with_boards_are_one_line(boards: dict[str, ScaledBoard], net: Path) -> None:
    half = ["--target", "latency=0.7"]
    assert "--lut is the table of one device" in error_of(*PRUNE, *half, *BOTH, "--lut", "table.json")
    assert "--host a is named twice" in error_of(*PRUNE, *half, "--host", "a", "--host", "a")
    assert "the energies of several boards are not budgeted together" in error_of(
        *PRUNE, "--target", "energy=0.5", *BOTH
    )
    assert "energy is not measured under lasting load" in error_of(
        *PRUNE, "--target", "latency=0.7@sustained,energy=0.5", "--host", "a"
    )
    assert not Path("runs").exists()


def test_every_host_of_a_run_is_typed_again(boards: dict[str, ScaledBoard], net: Path) -> None:
    summary_of(*PRUNE, "--target", "latency=0.7", *BOTH, "--run", "run")
    Path("run/summary.json").unlink()
    _typed_hosts.clear()
    assert "type it again: --host b" in error_of("prune", "--run", "run", "--resume", "--host", "a")
    assert len(summary_of("prune", "--run", "run", "--resume", *BOTH)["latency"]["boards"]) == 2


@pytest.fixture
def throttling(monkeypatch: pytest.MonkeyPatch) -> ThrottlingBoard:
    """This machine, which throttles; the time that an export takes cools it down."""
    made = ThrottlingBoard()
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: made)
    monkeypatch.setattr("edgeprune.bench.session.MOST_PAUSED", 10.0)
    written = SteadyFileTimer.written

    def slowly(self: SteadyFileTimer, name: str, model: OnnxFile, *more: Any) -> Path:
        self.clock = lambda: made.now
        made.now += PAUSE_S
        return written(self, name, model, *more)

    monkeypatch.setattr(SteadyFileTimer, "written", slowly)
    return made


def test_a_file_is_measured_hot(throttling: ThrottlingBoard, net: Path) -> None:
    """Cool, the unpruned file meets the target; hot, it does not, so that it is pruned, and measured hot at the end."""
    cool_ms, hot_ms = throttling.cool_and_hot(net)
    amount = (cool_ms + hot_ms) / 2
    assert "nothing to prune" in error_of(*PRUNE, "--target", f"latency={amount}ms")
    result = run(*PRUNE, "--target", f"latency={amount}ms@sustained", "--run", "run")
    assert result.exit_code == 0, result.output
    summary = json.loads(Path("run/summary.json").read_text())
    latency = summary["latency"]
    assert latency["baseline_ms"] == pytest.approx(hot_ms, rel=1e-3)
    assert latency["pruned_ms"] <= amount * 1.0075
    state = latency["conditions"]["sustained"]
    assert state["steady"] and state["steady_ms"] == pytest.approx(hot_ms, rel=1e-3)
    assert {hot for name, hot, _ in throttling.rounds if name == "pruned"} == {True}
    assert any("measured under lasting load" in note for note in summary["notes"])
    assert "on cpu, under lasting load: " in result.stdout
    assert summary["target"] == f"latency={amount}ms@sustained"
    assert "in the steady state already; nothing to prune" in error_of(
        *PRUNE, "--target", f"latency={1.1 * hot_ms}ms@sustained"
    )
