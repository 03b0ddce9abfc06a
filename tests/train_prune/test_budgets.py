"""Runs whose target is a device's: a board made by hand tells the times."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from latency import conftest as made
from latency.conftest import Board, truth

from edgeprune.budget import Budget
from edgeprune.cli import main
from edgeprune.errors import EdgePruneError, LatencyError, TargetError, TrainError
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from edgeprune.runs import latency_tables
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from train_prune import test_detection as boxes
from train_prune import test_segmentation as masks

pytestmark = pytest.mark.usefixtures("here", "older_exporter")


@pytest.fixture(autouse=True)
def board(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Board:
    """This machine, with steps of 4: the networks here are narrow."""
    result = Board()
    monkeypatch.setattr(made, "STEP", 4)
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: result)

    def times(self: EndToEndTimer, pruned: Path, *_: object) -> list[PairedTimes]:
        base, after = truth(self.baseline_file), truth(pruned)
        result.measured.append(after / base)
        return [PairedTimes(base, after, base / after, 0.99 * base / after, 1.01 * base / after, 50)]

    monkeypatch.setattr(EndToEndTimer, "_times", times)
    monkeypatch.chdir(tmp_path)
    return result


@pytest.fixture
def requested(options: TrainPruneOptions) -> TrainPruneOptions:
    return replace(options, target="latency=0.8", epochs=3, prune_iterations=6, baseline_epochs=1)


@pytest.mark.parametrize(
    "more",
    [
        {"method": "learned"},
        {"method": "l1"},
        {"method": "l2", "prune_schedule": "iterative", "prune_steps": 2},
        {"method": "l2", "prune_schedule": "soft"},
    ],
    ids=lambda more: " ".join(map(str, more.values())),
)
def test_every_kind_of_run_settles_on_the_device(
    requested: TrainPruneOptions, board: Board, more: dict[str, object]
) -> None:
    summary = train_prune("run", replace(requested, **more))
    assert summary["target"]["asked"] == "latency=0.8" and summary["target"]["fraction"] == 0.8
    assert summary["target"]["got_fraction"] == pytest.approx(board.measured[-1]) or len(board.measured) > 1
    assert summary["target"]["got_fraction"] <= 0.8 * 1.015
    assert any("measured end to end" in note for note in summary["notes"])
    record = Run.open("run").times()
    assert record is not None and record["conditions"]["device"] == "cpu"
    assert sum(attempt["chosen"] for attempt in record["attempts"]) == 1


@pytest.mark.parametrize("task", ["detect", "segment"])
def test_detectors_and_segmenters_settle_on_the_device(task: str, board: Board) -> None:
    """Their files have several outputs, or boxes made of all places: only layers are timed by their widths."""
    if task == "detect":
        pytest.importorskip("torchmetrics", reason="mAP is torchmetrics'")
        pytest.importorskip("faster_coco_eval")
    nets, write, factory = {
        "detect": (boxes.NETS, boxes.write_squares, "latency_boxes:detector"),
        "segment": (masks.NETS, masks.write_masks, "latency_masks:segmenter"),
    }[task]
    Path(f"{factory.partition(':')[0]}.py").write_text(nets)
    write(Path("squares"))
    options = TrainPruneOptions(
        task=task, model=factory, data="squares", target="latency=0.95", method="l1", epochs=1,
        baseline_epochs=1, batch_size=8, prune_iterations=2, device="cpu",
    )  # fmt: skip
    summary = train_prune("run", options)
    assert summary["target"]["got_fraction"] == pytest.approx(board.measured[-1], rel=1e-3)
    assert board.measured[-1] <= 0.95 * 1.015
    assert any("measured end to end" in note for note in summary["notes"])
    # The detector's two heads are of one shape; the segmenter's auxiliary head is not in its file.
    record = json.loads(next(Path("luts").iterdir()).read_text())
    assert sum(shape.startswith("conv") for shape in record["shapes"]) == 3


def test_an_assumed_device_is_said_in_the_summary_and_the_table(requested: TrainPruneOptions) -> None:
    """The board has no TensorRT, so that ONNX Runtime stands in, as it would on the real one."""
    device = {"target_device": "jetson-nano", "assume_device": True, "method": "l1"}
    summary = train_prune("run", replace(requested, **device))
    message = "the jetson-nano that was asked for was assumed (--assume-device): all times are of a machine"
    assert any(note.startswith(message) for note in summary["notes"])
    record = Run.open("run").times()
    assert record is not None and "machine" in record["conditions"]["device_assumed_on"]
    (place,) = Path("luts").iterdir()
    assert "machine" in latency_tables.show(str(place))["conditions"]["device_assumed_on"]


def test_several_targets_without_a_device(requested: TrainPruneOptions, board: Board) -> None:
    summary = train_prune("run", replace(requested, target="flops=0.7,memory=0.9", method="l1"))
    assert [target["kind"] for target in summary["targets"]] == ["flops", "memory"]
    assert all(target["got_fraction"] <= target["fraction"] for target in summary["targets"])
    assert board.timed == [] and not Path("luts").exists()


def test_a_run_that_was_killed_goes_on_with_its_table(
    requested: TrainPruneOptions, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is timed again, and the same plan comes out."""
    options = replace(requested, method="l1")
    summary = train_prune("straight", options)
    at_progress, left = Budget.at_progress, [1]

    def killed(self: Budget, progress: float) -> Budget:
        left[0] -= 1
        if left[0] >= 0:
            raise KeyboardInterrupt
        return at_progress(self, progress)

    monkeypatch.setattr(Budget, "at_progress", killed)
    with pytest.raises(KeyboardInterrupt):
        train_prune("killed", options)
    timed = len(board.timed)
    again = train_prune("killed", resume=True)
    assert len(board.timed) == timed
    assert again["models"]["pruned"]["params"] == summary["models"]["pruned"]["params"]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"target": "latency=0.001"}, TargetError, "cannot be reached: floors, the device's steps"),
        ({"target": "latency=1000ms"}, TargetError, "already; nothing to prune"),
        ({"target": "latency=0.5,latency=8ms"}, TargetError, "names latency twice"),
        ({"target": "latency=8"}, TargetError, "for an amount say its unit, one of us, ms, s"),
        ({"target": "latency=8min"}, TargetError, "unknown unit 'min'"),
        ({"target": "flops=8ms"}, TargetError, "flops takes a fraction"),
        ({"target_device": "jetsom"}, EdgePruneError, "did you mean 'jetson'"),
        (
            {"target_device": "jetson-nano"},
            EdgePruneError,
            "^`target_device=jetson-nano` is not what this is: .*`target_device=cpu`, .*`assume_device`",
        ),
        ({"assume_device": True, "target": "flops=0.5"}, TrainError, "`assume_device` is of a device's"),
        ({"target": "flops=0.5", "lut": "a.json"}, TrainError, "`lut` is of a device's budget"),
        ({"target": "flops=0.5", "target_batch": 4}, TrainError, "`target_batch` is of a device's budget"),
        ({"target_batch": 0}, TrainError, "`target_batch` must be at least 1"),
        ({"lut": "."}, EdgePruneError, r"\."),
    ],
)
def test_mistakes_leave_no_run(
    requested: TrainPruneOptions, more: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        train_prune("run", replace(requested, method="l1", **more))
    assert not Path("run").exists()


def test_a_table_of_another_device_is_refused_by_name(requested: TrainPruneOptions, board: Board) -> None:
    table = Path("t.json")
    train_prune("run", replace(requested, method="l1", lut=str(table)))
    content = json.loads(table.read_text())
    content["conditions"]["processor"] = "another"
    table.write_text(json.dumps(content))
    with pytest.raises(LatencyError, match="measured with processor another, not made up"):
        train_prune("other", replace(requested, method="l1", lut=str(table)))


def test_a_table_with_nan_is_found_before_training(requested: TrainPruneOptions) -> None:
    table = Path("t.json")
    train_prune("run", replace(requested, method="l1", lut=str(table)))
    content = json.loads(table.read_text())
    next(iter(content["shapes"].values()))["points"][0][2] = float("nan")
    table.write_text(json.dumps(content))
    with pytest.raises(LatencyError, match="t.json.*remove it, and build it again"):
        train_prune("other", replace(requested, method="l1", lut=str(table)))
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", "."], "it is a folder"),
        (["--out", "file/t.json"], "a part of that path is a file"),
        (["--out", "broken.json"], "remove it, and build it again"),
        (["--device", "jetson-nano"], "--device jetson-nano is not what this is"),
    ],
)
def test_lut_build_says_what_cannot_be_before_it_begins(
    board: Board, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    Path("file").write_text("")
    Path("broken.json").write_text('{"schema": 2}')
    monkeypatch.setattr("edgeprune.runs.latency_tables.EndToEndTimer", lambda *_: pytest.fail("it began"))
    code, _, error = cli("lut", "build", "--model", "resnet20", *words)
    assert code == 1 and message in error and error.count("\n") == 1
    assert board.timed == []


def cli(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(words))
    return result.exit_code, result.stdout, result.stderr


def test_lut_on_the_command_line(board: Board) -> None:
    code, _, message = cli("lut", "show")
    assert code == 1 and "no table under luts/ yet: edgeprune lut build" in message
    words = ("lut", "build", "--model", "tiny_nets:tiny", "--input", "3x8x8", "--classes", "3")
    code, out, message = cli(*words, "--json")
    assert code == 0, message
    content = json.loads(out)
    assert content["file"] == "luts/cpu-onnxruntime-fp32-b1-t2.json"
    assert content["conditions"]["processor"] == "made up"
    assert {shape["steps"]["outputs"] for shape in content["shapes"] if "3x3" in shape["shape"]} == {4}
    timed = len(board.timed)
    code, out, _ = cli(*words)
    assert code == 0 and "conv 3x3 on 8x8" in out and len(board.timed) == timed
    code, out, _ = cli("lut", "show")
    assert code == 0 and "made up" in out
    code, _, message = cli("lut", "show", "nowhere.json")
    assert code == 1 and "no such file" in message and len(message.splitlines()) == 1
    Path("text.json").write_text("{}")
    code, _, message = cli("lut", "show", "text.json")
    assert code == 1 and "`schema`" in message and "edgeprune lut build" in message


def test_where_the_layers_of_a_run_stand(requested: TrainPruneOptions, board: Board) -> None:
    from edgeprune.backends import export_run
    from edgeprune.latency.utilization import utilization_of
    from edgeprune.records.bench import BenchResult

    train_prune("run", replace(requested, method="l1"))
    export_run("run", images=4)
    code, _, message = cli("lut", "show", "run")
    assert code == 1 and "was not measured yet" in message
    fingerprint = board.call("probe", [])
    settings = {"runtime": "onnxruntime", "precision": "fp32", "batch": 1, "threads": 2, "seconds": 1.0}
    model = {
        "file": "x.onnx", "sha256": "0" * 64, "size_bytes": 10, "throughput_ips": 250.0, "versions": {},
        "latency_ms": {"p50": 4.0, "p90": 5.0, "p99": 8.0}, "memory_peak_bytes": None, "memory_reason": "no",
        "energy_mj_per_inference": None, "energy_reason": "no", "accuracy": None, "accuracy_reason": "no",
    }  # fmt: skip
    result = {
        "schema": 1,
        "models": {"baseline": model, "pruned": model},
        "speedup": {"value": 1.0, "low": 0.9, "high": 1.1, "confidence": 0.95, "pairs": 10},
        "device": {"name": "cpu", "title": "CPU", "fingerprint": fingerprint},
        "settings": settings,
        "warnings": [],
    }
    utilization = utilization_of(Path("run/export/pruned.onnx"), BenchResult.from_dict(result))
    assert utilization["reason"] is None
    rows = {row["layer"]: row for row in utilization["rows"]}
    assert all(row["outputs"] % 4 == 0 or row["layer"] == "linear" for row in utilization["rows"])
    assert rows["linear"]["outputs"] == 3 and rows["linear"]["reason"] is None
    (Path("run") / "bench").mkdir()
    (Path("run") / "bench" / "cpu.json").write_text(json.dumps(result))
    code, out, _ = cli("lut", "show", "run")
    assert code == 0 and "stem" in out
    Path("luts/cpu-onnxruntime-fp32-b1-t2.json").unlink()
    code, out, _ = cli("lut", "show", "run")
    assert (
        code == 0
        and "make it with: edgeprune lut build --model run --runtime onnxruntime --precision fp32" in out
    )
