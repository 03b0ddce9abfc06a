"""The run folder of `edgeprune prune`, and label-free fine-tuning in it."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx_graph import networks
from onnx_graph.networks import exported

from edgeprune.cli import main
from edgeprune.post_training.files import begin, prune_run
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.subjects import subjects_of
from edgeprune.runs.verification import verify
from edgeprune.training import Interrupted, loop
from post_training.interrupted import stopping

FAST = {"target": "flops=0.6", "criterion": "l1", "sensitivity": False, "refit": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a dynamic batch, and arrays for it."""
    place = tmp_path_factory.mktemp("files")
    exported(networks.Residual, place / "net.onnx", dynamic_axes={"in0": {0: "batch"}})
    np.save(place / "x.npy", np.random.default_rng(0).standard_normal((120, 3, 8, 8)).astype(np.float32))
    return place


def _started(folder: Path, place: Path, **options: Any) -> FileRun:
    return begin(
        folder / "net.onnx", place, PruneOptions(**{**FAST, **options}), images=str(folder / "x.npy")
    )[0]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def _error(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


def test_a_run_is_measured_and_verified_as_every_run(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    typed = (
        "--images",
        str(folder / "x.npy"),
        "--target",
        "flops=0.6",
        "--criterion",
        "l1",
        "--no-sensitivity",
    )
    result = _run("prune", str(folder / "net.onnx"), "--run", str(run), *typed, "--json")
    assert result.exit_code == 0, result.output
    summary = json.loads((run / "summary.json").read_text())
    assert json.loads(result.stdout) == {"run": str(run), **summary}
    baseline, pruned = (summary["models"][name] for name in ("baseline", "pruned"))
    assert summary["flops_fraction"] == pruned["flops"] / baseline["flops"] <= 0.6
    assert onnx.load(run / "export" / "baseline.onnx") == onnx.load(folder / "net.onnx")
    subjects = subjects_of([str(run)])
    assert subjects.names == ("baseline", "pruned") and subjects.folder == run
    assert subjects.inputs_words == f"--images {folder / 'x.npy'}"
    limits = tmp_path / "limits.toml"
    limits.write_text(
        "flops_fraction = 0.6\nonnx_max_rel_diff = 1e-3\nlatency_p50_ms = 1000\naccuracy = 0.5\n"
    )
    checks = verify(run, limits)["checks"]
    assert [check["verdict"] for check in checks] == ["met", "met", "not measured", "not measured"]
    assert checks[2]["reason"] == f"nothing was measured: edgeprune bench {run}"
    assert "add --labels DIR" in checks[3]["reason"]
    limits.write_text("accuracy = 0.5\naccuracy_drop_points = 1.0\naccuracy_drop_upper_points = 1.0\n")
    for name, accuracy in (("baseline", 0.75), ("pruned", 0.7)):
        summary["models"][name] |= {"accuracy": accuracy, "test_images": 20}
    (run / "summary.json").write_text(json.dumps({**summary, "accuracy_drop": 0.05}))
    checks = verify(run, limits)["checks"]
    assert [check["verdict"] for check in checks] == ["met", "missed", "not measured"]
    assert (checks[0]["value"], checks[1]["value"]) == (0.7, pytest.approx(5.0))
    assert "limit accuracy_drop_points" in checks[2]["reason"]


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"distill_epochs": 2, "distill_batch": 32}
    original, parts = (_started(folder, tmp_path / name, **options) for name in ("whole", "parts"))
    expected = prune_run(original)
    for stop_after in (1, 3):
        steps = iter(range(stop_after))
        with monkeypatch.context() as patch:
            patch.setattr(loop.Stage, "_maybe_checkpoint", stopping(steps))
            with pytest.raises(Interrupted):
                prune_run(parts)
        assert parts.training.has_checkpoint() and not parts.has("summary.json")
    message = _error(_run("bench", str(parts.path)))
    assert f"is not finished: go on with 'edgeprune prune --run {parts.path} --resume'" in message
    resumed = _run("prune", "--run", str(parts.path), "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert parts.pruned.read_bytes() == original.pruned.read_bytes()
    assert parts.summary()["held_out"] == expected["held_out"]
    assert parts.training.metrics_path.read_bytes() == original.training.metrics_path.read_bytes()
    assert not parts.training.has_checkpoint()


def test_mistakes_in_runs_are_one_line(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = str(folder / "net.onnx"), ("--images", str(folder / "x.npy"))
    target = ("--target", "flops=0.6", "--criterion", "l1", "--no-sensitivity")
    monkeypatch.chdir(tmp_path)
    assert "no run of prune under runs/" in _error(_run("prune", "--resume"))
    assert "no such run folder" in _error(_run("prune", "--resume", "--run", "none"))
    assert "--distill-epochs" in _error(_run("prune", net, *target, "--distill-epochs", "1"))
    assert not Path("runs").exists()
    assert _run("prune", net, *x, *target).exit_code == 0
    assert Path("runs/net-pruned/export/pruned.onnx").is_file()
    assert "exists: go on with --resume" in _error(
        _run("prune", net, *x, *target, "--run", "runs/net-pruned")
    )
    assert "leave `target` out" in _run("prune", "--resume", *target).stderr
    assert "name an ONNX file" in _run("prune", *target).stderr
    (tmp_path / "runs/net-pruned/summary.json").write_text('{"schema": 1}')
    assert "summary.json" in _error(_run("prune", "--resume"))


def test_the_curve_shows_how_far_a_network_can_go(folder: Path, tmp_path: Path) -> None:
    net, x = str(folder / "net.onnx"), ("--images", str(folder / "x.npy"))
    fast = ("--curve", "--criterion", "l1", "--no-sensitivity", "--refit", "none")
    shown = _run("prune", net, *x, *fast, "--run", str(tmp_path / "run"), "--json")
    assert shown.exit_code == 0, shown.output
    points = json.loads(shown.stdout)["points"]
    shares = [point["flops_fraction"] for point in points]
    assert len(points) >= 4 and shares == sorted(shares, reverse=True)
    assert all(share <= 0.9 - 0.1 * number for number, share in enumerate(shares))
    assert points[0]["relative_error"] < points[-1]["relative_error"]
    table = _run("prune", "--resume", "--run", str(tmp_path / "run"))
    assert table.exit_code == 0 and "top-1 agreement" in table.stdout
    if find_spec("matplotlib"):
        assert (tmp_path / "run" / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "--curve prunes nothing" in _error(_run("prune", net, *x, *fast, "--target", "flops=0.5"))
    assert "--curve compares outputs" in _error(_run("prune", net, *fast))


def test_fits_that_need_too_much_memory_are_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.post_training.fits.MOST_BYTES", 2**10)
    run = _started(folder, tmp_path / "run", sensitivity=True, refit="kernel")
    summary = prune_run(run)
    assert [step["step"] for step in summary["held_out"]] == ["cut"]
    assert any("widths were chosen without them" in note for note in summary["notes"])
    assert any("no layer was fitted" in note for note in summary["notes"])
