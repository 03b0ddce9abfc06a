"""Runs in use, runs that are moved, signals and full disks: one line, and nothing is lost."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import InUseError, MovedError, RunError, StorageError
from edgeprune.files.locks import held
from edgeprune.processes.signals import exit_code, stop_at_once
from edgeprune.runs import run as runs
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_baseline, train_prune
from edgeprune.training import Interrupted

pytestmark = pytest.mark.usefixtures("here")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def short(options: TrainPruneOptions) -> TrainPruneOptions:
    return replace(options, epochs=2, prune_iterations=8, baseline_epochs=1)


def at(stage: str, step: int, act: Callable[[], object]) -> Callable[[float, float, str], None]:
    """A progress callback that does something once, at one step."""
    waiting = [True]

    def progress(done: float, total: float, text: str) -> None:
        if waiting and text.startswith(stage) and done == step:
            waiting.clear()
            act()

    return progress


def stopped(out: Path, options: TrainPruneOptions, signum: int = signal.SIGTERM) -> None:
    """A run that a signal stopped in its pruning phase."""
    with pytest.raises(Interrupted):
        train_prune(out, options, progress=at("prune", 3, lambda: signal.raise_signal(signum)))


# --- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_a_checkpoint(
    tmp_path: Path, short: TrainPruneOptions, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stop_at_once():
        stopped(tmp_path / "r", short, signum)
        assert exit_code() == 128 + signum
    assert (tmp_path / "r/checkpoint.safetensors").is_file()
    assert not list((tmp_path / "r").glob(".*"))
    steps: list[float] = []

    def progress(done: float, total: float, text: str) -> None:
        if text.startswith("prune"):
            steps.append(done)

    train_prune(tmp_path / "r", resume=True, progress=progress)
    assert steps[0] == 4


def test_a_signal_at_the_last_step_of_a_stage_is_not_forgotten(
    tmp_path: Path, short: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.save_tensors

    def save(self: Run, which: str, state: Any) -> None:
        real(self, which, state)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Run, "save_tensors", save)
    with pytest.raises(Interrupted):
        train_prune(tmp_path / "r", short)
    assert {p.name for p in (tmp_path / "r").glob("*.safetensors")} == {"baseline.safetensors"}


# --- two at once ----------------------------------------------------------------------------------


def test_a_run_in_use_is_left_alone(tmp_path: Path, short: TrainPruneOptions) -> None:
    out = tmp_path / "r"
    stopped(out, short)
    with held(out):
        before = everything(out)
        for options in ({"resume": True}, {"force": True}):
            with pytest.raises(InUseError, match="is in use by process") as error:
                train_prune(out, short, **options)
            assert "\n" not in str(error.value)
        with pytest.raises(InUseError):
            train_baseline(out, lambda *_: None)
        assert everything(out) == before
        run = Run.open(out)  # whoever only reads, or steers, needs no lock
        run.training.steer({"auto": True})
        assert run.training.metrics() and run.training.steering() and run.load("baseline")
    train_prune(out, resume=True)
    records = [(m["stage"], m["step"], m["kind"]) for m in Run.open(out).training.metrics()]
    assert len(records) == len(set(records))


def test_a_baseline_is_trained_once(
    tmp_path: Path, short: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second process waits for the first, and says so."""
    out = tmp_path / "r"
    stopped(out, short)
    trained = (out / "baseline.safetensors").read_bytes()
    (out / "baseline.safetensors").unlink()
    events: list[str] = []
    first = held(out)
    first.__enter__()

    def finish(seconds: float) -> None:
        (out / "baseline.safetensors").write_bytes(trained)
        first.__exit__(None, None, None)

    monkeypatch.setattr("edgeprune.files.locks.time.sleep", finish)
    train_baseline(out, lambda done, total, text: events.append(text), wait=True)
    assert len(events) == 1 and events[0].startswith("baseline: waiting for process ")
    assert (out / "baseline.safetensors").read_bytes() == trained


# --- a run that goes away -------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "removed"])
@pytest.mark.parametrize("stage", ["baseline", "prune", "finetune"])
def test_a_run_that_goes_away_is_not_made_anew(
    tmp_path: Path, short: TrainPruneOptions, stage: str, how: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("EDGEPRUNE_CHECKPOINT_SECONDS", "0")
    out, elsewhere = tmp_path / "r", tmp_path / "elsewhere"

    def act() -> None:
        out.rename(elsewhere) if how == "moved" else shutil.rmtree(out)

    with pytest.raises(MovedError, match="was moved or removed while it was in use") as error:
        train_prune(out, short, progress=at(stage, 2, act))
    assert "\n" not in str(error.value)
    assert not out.exists()
    assert "Traceback" not in capfd.readouterr().err
    if how == "moved":
        assert train_prune(elsewhere, resume=True)["flops_fraction"] <= 0.6


# --- force ----------------------------------------------------------------------------------------


def test_force_in_the_run_itself(
    tmp_path: Path, short: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path / "r", short)
    before = everything(tmp_path)
    monkeypatch.chdir(tmp_path / "r")
    for out in (".", "../r", str(tmp_path / "r")):
        with pytest.raises(RunError, match="the folder you work in or one above it"):
            train_prune(out, short, force=True)
    (tmp_path / "r/thesis.tex").write_text("years of work")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match=r"edgeprune did not write \(thesis.tex\)"):
        train_prune("r", short, force=True)
    (tmp_path / "r/thesis.tex").unlink()
    weights = replace(short, weights="r/baseline.safetensors", baseline_epochs=None)
    with pytest.raises(RunError, match="would delete r/baseline.safetensors, which is read"):
        train_prune("r", weights, force=True)
    assert everything(tmp_path) == before


def test_all_that_a_run_leaves_is_its_own(tmp_path: Path, short: TrainPruneOptions) -> None:
    """So that --force may replace it: files of every stage, of export and of bench."""
    from edgeprune.backends import export_run

    train_prune(tmp_path / "r", short)
    export_run(tmp_path / "r", images=8)
    for name in ("cpu.json", "cpu.json.partial", "cpu.rounds.jsonl"):
        (tmp_path / "r/bench").mkdir(exist_ok=True)
        (tmp_path / "r/bench" / name).write_text("")
    assert runs.RUN.strangers(tmp_path / "r") == []
    assert not list((tmp_path / "r").rglob(".*"))


# --- disks ----------------------------------------------------------------------------------------


def refuse(number: int) -> Callable[..., Any]:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(number, "refused")

    return fail


@pytest.mark.parametrize(
    ("number", "message"), [(28, "the disk is full"), (5, "Input/output"), (30, "read-only")]
)
def test_a_disk_that_refuses_tensorboard(
    tmp_path: Path, short: TrainPruneOptions, number: int, message: str, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = "tensorboard.compat.tensorflow_stub.io.gfile.LocalFileSystem.append"
    for method in ("append", "write"):
        monkeypatch.setattr(name.replace("append", method), refuse(number))
    with pytest.raises(StorageError, match=f"cannot write .*tensorboard: .*{message}"):
        train_prune(tmp_path / "r", short)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("what", ["baseline.safetensors", "config.json"])
def test_a_full_disk_with_force_keeps_the_old_run(
    tmp_path: Path, short: TrainPruneOptions, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tmp_path / "r", short)
    weights = tmp_path / "weights.safetensors"
    shutil.copy(tmp_path / "r/baseline.safetensors", weights)
    before, real = everything(tmp_path), Path.write_bytes

    def write(self: Path, content: bytes) -> int:
        if what in self.name:
            raise OSError(28, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", write)
    options = replace(short, weights=str(weights), baseline_epochs=None)
    with pytest.raises(StorageError, match="r/.*: the disk is full") as error:
        train_prune(tmp_path / "r", options, force=True)
    assert ".part" not in str(error.value)
    assert everything(tmp_path) == before


CHANGES: dict[str, tuple[str, Callable[[Run], object]]] = {
    "a cut": ("os.truncate", lambda run: run.training._cut_metrics(0)),
    "the checkpoint": ("pathlib.Path.unlink", lambda run: run.training.drop_checkpoint()),
    "a removal": ("pathlib.Path.unlink", lambda run: run.removals.drop()),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_disk_that_refuses_a_change(tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run.create(tmp_path / "r", {})
    run.training.log({"stage": "baseline"})
    (run.path / "removed-1.safetensors").write_bytes(b"")
    name, act = CHANGES[change]
    monkeypatch.setattr(name, refuse(30))
    with pytest.raises(StorageError, match="read-only"):
        act(run)


# --- standard output ------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("command", ["devices --json", "devices"])
def test_a_full_standard_output_is_one_line(command: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edgeprune", *command.split()],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to the standard output: No space left on device\n"


def test_a_closed_pipe_is_quiet() -> None:
    command = f"{sys.executable} -m edgeprune devices --json | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_no_standard_output_at_all() -> None:
    command = f"{sys.executable} -m edgeprune devices --json >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
