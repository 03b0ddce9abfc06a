"""Latency targets of files, on a device made by hand whose times are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from latency.conftest import Board, Net, truth
from latency.powered import PoweredBoard, taken

from edgeprune.cli import main
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import PairedTimes
from edgeprune.latency.shapes import read_model
from edgeprune.onnx_graph.files import OnnxFile, read
from edgeprune.post_training.file_latency import FileTimer, named_layers
from edgeprune.post_training.file_subject import open_subject
from edgeprune.post_training.options import PruneOptions


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    """A device that takes steps of 16 channels; files are measured by its own rule."""
    device = Board()
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: device)

    def times(timer: Any, file: OnnxFile, look: object = None) -> PairedTimes:
        before, after = truth(timer.baseline_file), truth(timer.written("pruned", file))
        return PairedTimes(before, after, before / after, 0.99 * before / after, 1.01 * before / after, 50)

    monkeypatch.setattr(FileTimer, "times", times)
    return device


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """A file with a dynamic batch, as torch's older exporter writes it: its nodes are named by scopes."""
    torch.manual_seed(0)
    torch.onnx.export(
        Net().eval(), (torch.zeros(2, 3, 16, 16),), str(tmp_path / "net.onnx"), dynamo=False, opset_version=17,
        input_names=["x"], dynamic_axes={"x": {0: "n"}},
    )  # fmt: skip
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((40, 3, 16, 16)).astype(np.float32))
    return tmp_path / "net.onnx"


def test_layers_are_known_by_their_weights(net: Path, tmp_path: Path) -> None:
    subject = open_subject(read(net), None, PruneOptions(target="flops=0.5"))
    onnx.save(named_layers(subject.original).model, tmp_path / "named.onnx")
    layers = read_model(tmp_path / "named.onnx", 1).layers
    assert [(layer.inputs, layer.outputs) for layer in layers] == [
        (3, 32),
        (32, 64),
        (64, 32),
        (32, 96),
        (96, 10),
    ]
    assert len({layer.name for layer in layers}) == 5


def test_files_are_measured_in_the_precision_that_was_named(net: Path, tmp_path: Path) -> None:
    """Made of the ONNX file, whose layers stay known by their weights; backends call its input by their own name."""
    subject = open_subject(read(net), None, PruneOptions(target="flops=0.5"))
    target = BenchTarget.reach(precision="int8", threads=1)
    timer = FileTimer(subject.original, subject.example, lambda _: subject.file, target)
    kinds = {node.op_type for node in onnx.load(timer.baseline_file).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert (timer.baseline_file.name, timer.onnx_file.name) == ("baseline.int8.onnx", "baseline.onnx")
    assert [value.name for value in onnx.load(timer.onnx_file).graph.input] == ["input"]
    assert len(read_model(timer.onnx_file, 1).layers) == 5
    network = timer._job("pruned", subject.file).model
    assert isinstance(network, torch.nn.Identity)  # what reads the ONNX file needs no network


def test_a_latency_target_is_met_on_the_device(
    board: Board, net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = [
        "prune",
        "net.onnx",
        "--images",
        "x.npy",
        "--target",
        "latency=0.7",
        "--refit",
        "kernel",
        "--json",
    ]
    result = CliRunner().invoke(main, [*arguments, "-o", "small.onnx", "--run", "run"])
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    before, after = summary["latency"]["baseline_ms"], summary["latency"]["pruned_ms"]
    assert 0.5 * before < after <= 0.7075 * before
    assert after == pytest.approx(truth(tmp_path / "run" / "export" / "pruned.onnx"))
    # Widths that take the time of the next step are not chosen.
    small = read(tmp_path / "small.onnx")
    widths = [
        small.array(node.input[1]).shape[0] for node in small.model.graph.node if node.op_type == "Conv"
    ]
    assert all(width % 16 == 0 for width in widths)
    assert any("measured end to end" in note for note in summary["notes"])
    assert (tmp_path / "luts" / "cpu-onnxruntime-fp32-b1-t2.json").is_file()
    assert board.timed


def test_an_energy_target_of_a_file_is_met_on_the_device(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = PoweredBoard()
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: device)
    monkeypatch.chdir(tmp_path)
    arguments = ["prune", "net.onnx", "--images", "x.npy", "--target", "energy=0.7", "--refit", "kernel"]
    result = CliRunner().invoke(main, [*arguments, "-o", "small.onnx", "--run", "run", "--json"])
    assert result.exit_code == 0, result.output
    latency = json.loads(result.stdout)["latency"]
    before, after = latency["energy"]["baseline_mj"], latency["energy"]["pruned_mj"]
    assert 0.5 * before < after <= 0.7075 * before
    assert latency["conditions"]["sensor"] == "rapl" and latency["conditions"]["idle"] == "included"
    assert after == pytest.approx(taken(tmp_path / "run" / "export" / "pruned.onnx")[1], rel=1e-3)
    assert (tmp_path / "luts" / "power" / "cpu-onnxruntime-fp32-b1-t2.json").is_file()


def test_mistakes_with_devices_are_one_line(
    net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def error(*options: str) -> str:
        result = CliRunner().invoke(main, ["prune", "net.onnx", "--images", "x.npy", *options])
        assert result.exit_code == 1, result.output
        return result.stderr.splitlines()[-1]

    assert "--threads is of a device's budget" in error("--target", "flops=0.5", "--threads", "2")
    assert "needs a target" in error("--max-change", "0.1", "--device", "cpu")
    assert "jetsn" in error("--target", "latency=0.5", "--device", "jetsn")
    assert not Path("runs").exists()
