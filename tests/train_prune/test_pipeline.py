"""train-prune from end to end: killed anywhere, resumed to the same bytes; mistakes leave nothing."""

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fresh
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from torch import nn

from edgeprune.cli import main
from edgeprune.data import DataBundle, load_data
from edgeprune.errors import (
    DataError,
    EdgePruneError,
    ModelError,
    RunError,
    TargetError,
    TrainError,
    WeightsError,
)
from edgeprune.models import build
from edgeprune.runs.run import Run
from edgeprune.train_prune import pipeline
from edgeprune.train_prune.defaults import resolve
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.train_prune.steering import send_command
from edgeprune.train_prune.stored import check_same_options

pytestmark = pytest.mark.usefixtures("here")


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def results(run: Path) -> dict[str, bytes]:
    """All of a finished run but TensorBoard's events, whose names and contents hold the time."""
    return {k: v for k, v in everything(run).items() if not k.startswith("tensorboard")}


# --- a run from end to end ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, place: Path, options: TrainPruneOptions) -> Path:
    """A run that nothing interrupted."""
    sys.path.insert(0, str(place))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("runs") / "straight"
    try:
        train_prune(out, options)
    finally:
        sys.path.remove(str(place))
        torch.set_num_threads(threads)
    return out


def test_what_a_run_leaves(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "config.json", "model.json", "baseline.safetensors", "settled.safetensors", "pruned.safetensors",
        "metrics.jsonl", "summary.json", "tensorboard",
    }  # fmt: skip
    assert list((finished / "tensorboard").iterdir())


def test_the_summary_says_what_is_in_the_models(finished: Path) -> None:
    run = Run.open(finished)
    summary = run.summary()
    base, pruned = run.load("baseline"), run.load("pruned")
    records = summary["models"]
    counts = [sum(p.numel() for p in m.parameters()) for m in (base, pruned)]
    assert [records["baseline"]["params"], records["pruned"]["params"]] == counts
    assert summary["params_fraction"] == counts[1] / counts[0]
    assert summary["flops_fraction"] == records["pruned"]["flops"] / records["baseline"]["flops"]
    got = {"fraction": 0.6, "got_fraction": summary["flops_fraction"]}
    assert summary["target"].to_dict() == {"kind": "flops", "asked": "flops=0.6", **got}
    assert 0.45 < summary["flops_fraction"] <= 0.6
    data = run.data()
    right = sum(int((pruned(x).argmax(1) == y).sum()) for x, y in data.batches("test"))
    assert (
        records["pruned"]["accuracy"]
        == right / data.sizes["test"]
        == right / records["pruned"]["test_images"]
    )
    assert summary["accuracy_drop"] == records["baseline"]["accuracy"] - records["pruned"]["accuracy"]
    assert records["pruned"]["size_bytes"] == (finished / "pruned.safetensors").stat().st_size
    assert any("held out" in note for note in summary["notes"])


def test_fvcore_and_the_graph_count_alike(finished: Path) -> None:
    run = Run.open(finished)
    ((graph, plan),) = run.removals.graphs()
    records = run.summary()["models"]
    assert records["baseline"]["flops"] == graph.flops()
    assert records["pruned"]["flops"] == graph.flops(plan.keep)


def test_a_missed_target_is_noted(finished: Path) -> None:
    summary = Run.open(finished).summary()
    missed = abs(summary["flops_fraction"] / 0.6 - 1) > 0.01
    assert any("flops=0.6 was asked" in note for note in summary["notes"]) == missed


def test_the_order_of_the_metrics(finished: Path, options: TrainPruneOptions) -> None:
    metrics = Run.open(finished).training.metrics()
    stages = [m["stage"] for m in metrics]
    assert list(dict.fromkeys(stages)) == ["baseline", "prune", "finetune"]
    per_epoch = Run.open(finished).data().steps(8)
    epochs = [m["step"] for m in metrics if m["stage"] == "baseline" and m["kind"] == "epoch"]
    assert epochs == [per_epoch, 2 * per_epoch]
    last = [m for m in metrics if m["stage"] == "prune" and m["kind"] == "step"][-1]
    assert last["step"] == 16 and 0 < last["flops_fraction"] <= 1
    rates = [m["lr"] for m in metrics if m["stage"] == "finetune" and m["kind"] == "step"]
    assert rates[-1] < 0.02 * 0.05  # a cosine over both stages together


def test_a_finished_run_is_not_done_again(finished: Path, options: TrainPruneOptions) -> None:
    before = everything(finished)
    assert train_prune(finished, resume=True) == Run.open(finished).summary()
    with pytest.raises(RunError, match="--resume"):
        train_prune(finished, options)
    assert everything(finished) == before


def test_given_weights_are_the_baseline(tmp_path: Path, finished: Path, options: TrainPruneOptions) -> None:
    values = replace(
        options,
        weights=str(finished / "baseline.safetensors"),
        baseline_epochs=None,
        target="params=0.5",
        epochs=2,
    )
    summary = train_prune(tmp_path / "r", replace(values, prune_iterations=8))
    run = Run.open(tmp_path / "r")
    assert (run.path / "baseline.safetensors").read_bytes() == (
        finished / "baseline.safetensors"
    ).read_bytes()
    assert {m["stage"] for m in run.training.metrics()} == {"prune", "finetune"}
    assert 0.4 < summary["params_fraction"] <= 0.5


def test_force_replaces_a_run(tmp_path: Path, finished: Path, options: TrainPruneOptions) -> None:
    import shutil

    shutil.copytree(finished, tmp_path / "r")
    (tmp_path / "r" / "export").mkdir()
    short = replace(options, epochs=1, prune_iterations=4, baseline_epochs=1)
    train_prune(tmp_path / "r", short, force=True)
    assert Run.open(tmp_path / "r").config["options"]["epochs"] == 1
    assert not (tmp_path / "r" / "export").exists()


def test_a_model_without_batch_norm(tmp_path: Path, options: TrainPruneOptions) -> None:
    plain = replace(options, model="tiny_nets:no_batch_norm", epochs=1, prune_iterations=4, baseline_epochs=1)
    assert train_prune(tmp_path / "r", plain)["flops_fraction"] <= 0.6


def test_all_epochs_may_be_pruning(tmp_path: Path, options: TrainPruneOptions, finished: Path) -> None:
    steps = Run.open(finished).data().steps(8)
    short = replace(options, epochs=1, prune_iterations=steps, baseline_epochs=1)
    train_prune(tmp_path / "r", short)
    assert {m["stage"] for m in Run.open(tmp_path / "r").training.metrics()} == {"baseline", "prune"}


def test_a_batch_larger_than_the_training_set(tmp_path: Path, options: TrainPruneOptions) -> None:
    large = replace(options, batch_size=500, epochs=3, prune_iterations=2, baseline_epochs=1)
    assert train_prune(tmp_path / "r", large)["flops_fraction"] <= 0.6


def test_steering_to_the_end_leaves_the_masks_as_they_are(tmp_path: Path, options: TrainPruneOptions) -> None:
    def steer(done: float, total: float, text: str) -> None:
        if text.startswith("prune") and done == 3:
            Run.open(tmp_path / "r").training.steer({"interacting": -100.0, "relative": False})

    short = replace(options, epochs=2, prune_iterations=8, baseline_epochs=1)
    summary = train_prune(tmp_path / "r", short, progress=steer)
    assert summary["flops_fraction"] == 1.0
    assert any("steered by hand" in note for note in summary["notes"])


def test_a_target_that_is_changed_while_it_prunes_is_met(tmp_path: Path, options: TrainPruneOptions) -> None:
    def steer(done: float, total: float, text: str) -> None:
        if text.startswith("prune") and done == 3:
            for target in ("flops=1e-6", "flops=0.35"):  # the first cannot be met, and changes nothing
                send_command(tmp_path / "r", target=target)

    short = replace(options, epochs=2, prune_iterations=8, baseline_epochs=1)
    summary = train_prune(tmp_path / "r", short, progress=steer)
    assert 0.3 < summary["flops_fraction"] <= 0.35 * 1.01
    assert summary["target"]["asked"] == options.target
    note = f"steered by hand: the target was set to flops=0.35 while pruning, in place of {options.target}"
    assert note in summary["notes"]


@pytest.mark.parametrize(
    ("own", "target", "message"),
    [
        ("flops=0.5", "latency=0.5", "only targets of FLOPs, parameters or memory"),
        ("latency=0.5", "flops=0.5", "only targets of FLOPs, parameters or memory"),
        ("flops=0.5", "flops=2", "outside"),
        ("flops=0.5", "speed=2", "unknown target"),
    ],
)
def test_targets_that_cannot_be_steered_to(tmp_path: Path, own: str, target: str, message: str) -> None:
    run = Run.create(tmp_path / "r", {"options": {"method": "learned", "target": own}})
    with pytest.raises(EdgePruneError, match=message):
        send_command(run.path, target=target)
    with pytest.raises(RunError, match="exclude each other"):
        send_command(run.path, "+200", target="flops=0.5")
    assert not run.has("steer.jsonl")
    command = ["steer", str(run.path), "--target", target]
    assert CliRunner().invoke(main, command).exit_code == 1
    assert CliRunner().invoke(main, [*command, "--auto"]).exit_code == 2


# --- killed and resumed ---------------------------------------------------------------------------

# Forks a process for each (kill point, resume), all from one that has imported torch and not yet used it.
KILLER = """
import json, os, signal, sys, itertools
import torch
from edgeprune import learned, training
from edgeprune.train_prune import pipeline
from edgeprune.runs import run as runs
from edgeprune.runs.removal_files import RemovalFiles
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.records.trust import trusting

def die(kind):
    os.kill(os.getpid(), kind)

def arm(point, kind):
    name, number = point
    if name in ("baseline", "prune", "finetune"):
        def progress(done, total, text):
            if text.startswith(name) and done == number: die(kind)
        return progress
    owner, attribute, after = {
        "fsync": (os, "fsync", False),            # a file is written beside its place, not yet renamed
        "log": (runs.TrainingState, "log", True),                 # metrics ahead of the checkpoint
        "checkpoint": (runs.TrainingState, "save_checkpoint", True),
        "plan": (RemovalFiles, "save_plans", True),      # model.json there, settled.safetensors not
        "tensors": (runs.Run, "save_tensors", True),    # a stage is over, the next has no checkpoint
        "tensors_before": (runs.Run, "save_tensors", False),
        "judge": (training, "evaluate_pair", True),
    }[name]
    real, calls = getattr(owner, attribute), itertools.count(1)
    def wrapped(*args, **kwargs):
        now = next(calls)
        if not after and now == number: die(kind)
        result = real(*args, **kwargs)
        if after and now == number: die(kind)
        return result
    setattr(owner, attribute, wrapped)
    return lambda *_: None

def run(out, options, point, kind, every):
    torch.set_num_threads(1)
    clock = itertools.count()
    training.checkpoints.time.monotonic = lambda: float(next(clock))  # a second passes with every step
    os.environ["EDGEPRUNE_CHECKPOINT_SECONDS"] = str(every)
    progress = arm(point, kind) if point else lambda *_: None
    try:
        given = TrainPruneOptions(**options) if options else None
        with trusting("tiny_nets"):  # nobody has typed the model's name in this process
            train_prune(out, given, resume=given is None, progress=progress)
    except training.Interrupted:
        os._exit(130)
    os._exit(0)

def forked(*args):
    pid = os.fork()
    if pid == 0:
        try:
            run(*args)
        except BaseException:
            import traceback; traceback.print_exc()
            os._exit(7)
    status = os.waitpid(pid, 0)[1]
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)

for job in json.loads(sys.argv[1]):
    codes = [forked(job["out"], job["options"], job["point"], getattr(signal, job["signal"]), job["every"])]
    for point in job["again"]:
        codes.append(forked(job["out"], None, point, signal.SIGKILL, job["every"]))
    codes.append(forked(job["out"], None, None, None, job["every"]))
    print(json.dumps(codes), flush=True)
"""


def job(out: Path, options: TrainPruneOptions, point: tuple[str, int], **more: Any) -> dict[str, Any]:
    from dataclasses import asdict

    original = {"signal": "SIGKILL", "every": 5, "again": [], **more}
    return {"out": str(out), "options": asdict(options), "point": point, **original}


def kill_and_resume(place: Path, jobs: list[dict[str, Any]]) -> list[list[int]]:
    path = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
    done = fresh.run(["-c", KILLER, json.dumps(jobs)], env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    codes: list[list[int]] = [json.loads(line) for line in done.stdout.splitlines()]
    odd = [
        (job["point"], exits) for job, exits in zip(jobs, codes, strict=False) if not {*exits} <= {0, -9, 130}
    ]
    assert len(codes) == len(jobs) and not odd, f"{odd} {done.stderr}"
    return codes


KILL_POINTS = [
    ("baseline", 3),  # before the first checkpoint
    ("prune", 2),  # the checkpoint is still the baseline's
    ("finetune", 1),  # the checkpoint is still the pruning phase's
    ("fsync", 3),
    ("tensors", 2),  # settled.safetensors there, nothing of fine-tuning
]
MORE_KILL_POINTS = [
    ("log", 2),
    ("plan", 1),
    ("checkpoint", 1),
    ("prune", 13),
    ("finetune", 12),
    ("tensors_before", 2),
    ("judge", 1),
]


def test_killed_anywhere_a_run_ends_bit_identical(
    tmp_path: Path, place: Path, options: TrainPruneOptions, finished: Path
) -> None:
    jobs = [job(tmp_path / f"{n}-{k}", options, (n, k)) for n, k in KILL_POINTS]
    often = [("prune", 3), ("prune", 11), ("finetune", 7)]
    jobs.append(job(tmp_path / "often", options, ("baseline", 7), again=often))
    jobs.append(job(tmp_path / "no-checkpoint", options, ("prune", 13), every=1000))
    jobs.append(job(tmp_path / "ctrl-c", options, ("prune", 9), signal="SIGINT", every=1000))
    codes = kill_and_resume(place, jobs)
    assert codes == [[-9, 0]] * len(KILL_POINTS) + [[-9, -9, -9, -9, 0], [-9, 0], [130, 0]]
    expected = results(finished)
    for each in jobs:
        outcome = results(Path(each["out"]))
        assert sorted(outcome) == sorted(expected), each
        differ = [name for name in expected if outcome[name] != expected[name]]
        assert differ == [], each


@pytest.mark.slow
def test_killed_at_every_write_and_every_step(
    tmp_path: Path, place: Path, options: TrainPruneOptions, finished: Path
) -> None:
    points = [("fsync", n) for n in range(3, 15)]  # before, there is no run folder yet to go on with
    points += [(stage, n) for stage in ("baseline", "prune", "finetune") for n in range(1, 11)]
    points += MORE_KILL_POINTS
    jobs = [job(tmp_path / f"{n}-{k}", options, (n, k), every=4) for n, k in points]
    assert kill_and_resume(place, jobs) == [[-9, 0]] * len(jobs)
    expected = results(finished)
    assert all(results(Path(each["out"])) == expected for each in jobs)


def test_killed_before_the_given_weights_were_copied(
    tmp_path: Path, place: Path, options: TrainPruneOptions, finished: Path
) -> None:
    weights = tmp_path / "given.safetensors"
    weights.write_bytes((finished / "baseline.safetensors").read_bytes())
    short = replace(options, weights=str(weights), baseline_epochs=None, epochs=2, prune_iterations=8)
    jobs = [job(tmp_path / "r", short, ("tensors_before", 1))]
    assert kill_and_resume(place, jobs) == [[-9, 0]]
    assert (tmp_path / "r" / "baseline.safetensors").read_bytes() == weights.read_bytes()
    assert {m["stage"] for m in Run.open(tmp_path / "r").training.metrics()} == {"prune", "finetune"}


def test_weights_that_changed_meanwhile(tmp_path: Path, options: TrainPruneOptions, finished: Path) -> None:
    weights = tmp_path / "given.safetensors"
    weights.write_bytes((finished / "baseline.safetensors").read_bytes())
    run = begun(tmp_path / "r", replace(options, weights=str(weights), baseline_epochs=None))
    (run.path / "baseline.safetensors").unlink()
    save_file({k: v + 1 for k, v in run.build().state_dict().items()}, weights)
    with pytest.raises(WeightsError, match="given.safetensors has changed since this run began"):
        train_prune(run.path, resume=True)


def test_weights_picked_by_a_key(tmp_path: Path, options: TrainPruneOptions, finished: Path) -> None:
    tensors = load_file(finished / "baseline.safetensors")
    other = {name: torch.zeros_like(tensor) for name, tensor in tensors.items()}
    weights = tmp_path / "w.pth.tar"
    torch.save({"state_dict": other, "state_dict_ema": tensors}, weights)
    values = replace(options, weights=str(weights), baseline_epochs=None)
    refused(
        tmp_path / "r", values, WeightsError, "say `weights_key=state_dict` or `weights_key=state_dict_ema`"
    )
    run = begun(tmp_path / "r", replace(values, weights_key="state_dict_ema"))
    assert run.config["options"]["weights_key"] == "state_dict_ema"
    assert {"weights", "weights_key"} <= set(run.config["typed"])
    (run.path / "baseline.safetensors").unlink()  # as if it had been killed before
    with pytest.raises(KeyboardInterrupt):
        train_prune(run.path, resume=True, progress=stopping)
    assert all(torch.equal(t, tensors[n]) for n, t in load_file(run.path / "baseline.safetensors").items())
    with pytest.raises(RunError, match="was started with weights_key=state_dict_ema, not state_dict"):
        check_same_options(run.path, {"weights_key": "state_dict"})


def stopping(done: float, total: float, text: str) -> None:
    """Stop a run as soon as it trains."""
    if text.startswith(("baseline", "prune", "finetune")):
        raise KeyboardInterrupt


def begun(out: Path, options: TrainPruneOptions) -> Run:
    """A run that stops at its first progress report."""
    with pytest.raises(KeyboardInterrupt):
        train_prune(out, options, progress=stopping)
    return Run.open(out)


def test_half_written_files_of_a_killed_process_are_swept(tmp_path: Path, options: TrainPruneOptions) -> None:
    run = begun(tmp_path / "r", replace(options, epochs=1, prune_iterations=2, baseline_epochs=1))
    (run.path / ".checkpoint.safetensors.1.part").write_bytes(b"half")
    train_prune(run.path, resume=True)
    assert not [p for p in run.path.iterdir() if p.name.endswith(".part")]


def test_a_run_of_another_version(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", {"options": {"colour": "green"}})
    for use in (lambda: train_prune(run.path, resume=True), lambda: check_same_options(run.path, {})):
        with pytest.raises(RunError, match="made by another version of edgeprune"):
            use()


# --- options --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(place: Path) -> DataBundle:
    return load_data(place / "images")


def test_defaults_for_small_data(data: DataBundle) -> None:
    resolved = resolve(TrainPruneOptions(), data)
    assert (resolved.epochs, resolved.baseline_epochs, resolved.batch_size, resolved.lr) == (18, 10, 64, 0.02)
    assert resolved.prune_iterations == round(0.4 * 18 * data.steps(64))
    assert resolved.device in ("cpu", "cuda") and resolved.precision in ("bf16", "fp32")


def test_defaults_are_the_sources_for_large_data(data: DataBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(data), "sizes", {"train": 391 * 128, "val": 0, "test": 0})
    resolved = resolve(TrainPruneOptions(model="resnet56"), data)
    assert (resolved.epochs, resolved.batch_size, resolved.lr, resolved.schedule) == (
        100,
        128,
        0.01,
        "thesis",
    )
    assert resolved.prune_iterations == 4000
    assert resolve(TrainPruneOptions(model="resnet110"), data).lr == 0.001
    assert resolve(TrainPruneOptions(model="resnet110", lr=0.5), data).lr == 0.5
    short = resolve(TrainPruneOptions(model="resnet56", epochs=10), data)
    assert short.prune_iterations == 400
    assert (short.lr, short.schedule) == (0.02, "cosine")  # measured at so few epochs
    others = resolve(
        TrainPruneOptions(model="resnet56", epochs=10, method="taylor", prune_schedule="iterative"), data
    )
    assert others.prune_iterations == round(0.4 * 3910)


def test_what_is_given_stands(data: DataBundle) -> None:
    options = TrainPruneOptions(
        epochs=3, lr=0.3, batch_size=4, schedule="constant", prune_iterations=5, precision="fp32"
    )
    resolved = resolve(options, data)
    assert replace(resolved, device="auto", baseline_epochs=None, baseline_lr=None, distill=None) == options


BAD_OPTIONS: list[tuple[dict[str, Any], type, str]] = [
    ({"model": "resnet57"}, ModelError, "did you mean 'resnet56'"),
    ({"model": "tiny_nets:nothing"}, ModelError, "has no 'nothing'"),
    ({"model": "no_such_module:f"}, ModelError, "no module 'no_such_module'"),
    ({"model": "tiny_nets:always_ten"}, ModelError, "gives (10,) for an image, the data has 3 classes"),
    ({"model": "tiny_nets:tuples"}, ModelError, "gives tuple for an image"),
    ({"model": "tiny_nets:flat"}, ModelError, "no convolution"),
    ({"data": "digitz"}, DataError, "known: "),
    ({"data": "no/such/folder"}, DataError, "no/such/folder"),
    ({"method": "magic"}, TrainError, "known: "),
    ({"schedule": "sine"}, TrainError, "known: "),
    ({"precision": "int8"}, TrainError, "known: "),
    ({"device": "toaster"}, TrainError, "unknown device 'toaster'; write auto, cpu or cuda"),
    ({"target": "half"}, TargetError, "flops=0.5"),
    ({"target": "flops=1.5"}, TargetError, "outside (0, 1]"),
    ({"target": "flops=0"}, TargetError, "outside (0, 1]"),
    ({"target": "power=0.5"}, TargetError, "known: energy, flops, latency, memory, params"),
    ({"target": "flops=0.01"}, TargetError, "is the least that can remain"),
    ({"floor": 100}, TargetError, "with at least 100 channels a layer"),
    ({"epochs": 0}, TrainError, "`epochs` must be at least 1, not 0"),
    ({"prune_iterations": 0}, TrainError, "`prune_iterations` must be at least 1"),
    ({"prune_iterations": 1000}, TrainError, "raise `epochs`"),
    ({"baseline_epochs": -1}, TrainError, "`baseline_epochs` must be at least 1"),
    ({"batch_size": 0}, TrainError, "`batch_size` must be at least 1"),
    ({"mask_images": 0}, TrainError, "`mask_images` must be at least 1"),
    ({"lr": 0.0}, TrainError, "`lr` must be above 0"),
    ({"lr": float("nan")}, TrainError, "`lr` must be above 0"),
    ({"baseline_lr": float("inf")}, TrainError, "`baseline_lr` must be above 0"),
    ({"momentum": 1.0}, TrainError, "`momentum` must be at least 0 and below 1"),
    ({"weight_decay": -1.0}, TrainError, "`weight_decay` must be at least 0"),
    ({"offset": float("nan")}, TrainError, "`offset` must be at least 0"),
    ({"seed": -1}, TrainError, "`seed` must be at least 0"),
    ({"seed": 10**12}, TrainError, "`seed` must be at most 2,147,483,647"),
    ({"val_fraction": 1.0}, TrainError, "`val_fraction` must be at least 0 and below 1"),
    ({"image_size": 0}, TrainError, "`image_size` must be at least 1"),
]


def refused(out: Path, options: TrainPruneOptions, kind: type, message: str, **more: Any) -> None:
    """The mistake is one line of the right kind, and nothing was written."""
    before = everything(out.parent)
    folders = sorted(p for p in out.parent.rglob("*") if p.is_dir())
    with pytest.raises(EdgePruneError) as error:
        train_prune(out, options, **more)
    assert isinstance(error.value, kind), repr(error.value)
    assert message in str(error.value) and "\n" not in str(error.value), str(error.value)
    assert everything(out.parent) == before
    assert sorted(p for p in out.parent.rglob("*") if p.is_dir()) == folders


@pytest.mark.parametrize(("change", "kind", "message"), BAD_OPTIONS, ids=lambda v: str(v)[:40])
def test_a_mistake_is_found_before_anything_is_written(
    tmp_path: Path, options: TrainPruneOptions, change: dict[str, Any], kind: type, message: str
) -> None:
    refused(tmp_path / "r", replace(options, **change), kind, message)


def test_cuda_where_there_is_none(
    tmp_path: Path, options: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(tmp_path / "r", replace(options, device="cuda"), TrainError, "torch finds no CUDA device here")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    refused(tmp_path / "r", replace(options, device="cuda:1"), TrainError, "there are 1 CUDA devices")


@pytest.mark.parametrize("name", ["baseline_epochs", "baseline_lr"])
def test_weights_and_a_baseline_to_train_exclude_each_other(
    tmp_path: Path, options: TrainPruneOptions, finished: Path, name: str
) -> None:
    both = replace(options, baseline_epochs=None, weights=str(finished / "baseline.safetensors"))
    refused(tmp_path / "r", replace(both, **{name: 1}), TrainError, "`weights` exclude each other")


def truncated(path: Path, good: bytes) -> None:
    path.write_bytes(good[: len(good) // 2])


def foreign(path: Path, good: bytes) -> None:
    save_file({"a": torch.zeros(3)}, path)


def not_safetensors(path: Path, good: bytes) -> None:
    path.write_text("not tensors at all")


def another_model(path: Path, good: bytes) -> None:
    save_file(build("resnet20", num_classes=3, width=4).state_dict(), path)


def another_class_count(path: Path, good: bytes) -> None:
    from tiny_nets import tiny  # type: ignore[import-not-found]

    save_file(tiny(7).state_dict(), path)


def a_pickle(path: Path, good: bytes) -> None:
    path.write_bytes(pickle.dumps(nn.Linear(2, 2)))


def a_pickled_module(path: Path, good: bytes) -> None:
    torch.save(nn.Linear(2, 2), path)


def nothing(path: Path, good: bytes) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "suffix", "message"),
    [
        (truncated, ".safetensors", "truncated"),
        (foreign, ".safetensors", "is of another model"),
        (not_safetensors, ".safetensors", "is no safetensors file"),
        (another_model, ".safetensors", "is of another model"),
        (another_class_count, ".safetensors", "the weights have 7 classes, the data has 3"),
        (a_pickle, ".pth", "is refused: it is a pickle"),
        (a_pickled_module, ".pt", "is refused: it is a pickle"),
        (a_pickle, ".safetensors", "is no safetensors file"),
        (nothing, ".safetensors", "no such weights file"),
    ],
    ids=lambda v: getattr(v, "__name__", v),
)
def test_weights_that_do_not_fit(
    tmp_path: Path, options: TrainPruneOptions, finished: Path, make: Callable, suffix: str, message: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    make(path, (finished / "baseline.safetensors").read_bytes())
    values = replace(options, weights=str(path), baseline_epochs=None)
    refused(tmp_path / "r", values, WeightsError, message)


def test_a_broken_image(tmp_path: Path, options: TrainPruneOptions, place: Path) -> None:
    import shutil

    shutil.copytree(place / "images", tmp_path / "images")
    (tmp_path / "images" / "class1" / "zz.png").write_bytes(b"\x89PNG but not really")
    refused(tmp_path / "r", replace(options, data=str(tmp_path / "images")), DataError, "zz.png")


def test_a_folder_without_classes(tmp_path: Path, options: TrainPruneOptions) -> None:
    (tmp_path / "images").mkdir()
    refused(tmp_path / "r", replace(options, data=str(tmp_path / "images")), DataError, "images")


# --- the place ------------------------------------------------------------------------------------


def test_a_run_that_exists(tmp_path: Path, options: TrainPruneOptions) -> None:
    Run.create(tmp_path / "r", {"options": {}})
    refused(tmp_path / "r", options, RunError, "go on with --resume, start it anew with --force")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_is_no_run(tmp_path: Path, options: TrainPruneOptions, force: bool) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "thesis.txt").write_text("years of work")
    refused(tmp_path / "r", options, RunError, "is not a run folder: choose another --out", force=force)


def test_a_mistake_with_force_loses_nothing(tmp_path: Path, options: TrainPruneOptions) -> None:
    run = Run.create(tmp_path / "r", {"options": {}})
    run.training.log({"stage": "baseline", "step": 1})
    refused(
        run.path, replace(options, target="flops=0.01"), TargetError, "the least that can remain", force=True
    )


def test_resuming_what_is_no_run(tmp_path: Path, options: TrainPruneOptions) -> None:
    refused(tmp_path / "r", options, RunError, "no such run folder", resume=True)
    (tmp_path / "r").mkdir()
    refused(tmp_path / "r", options, RunError, "is not a run folder", resume=True)


@pytest.mark.parametrize(
    ("number", "message"), [(13, "no permission"), (28, "the disk is full"), (30, "read-only")]
)
def test_a_place_that_cannot_be_written(
    tmp_path: Path, options: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    def refuse(self: Path, content: bytes) -> int:
        raise OSError(number, "refused")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    refused(tmp_path / "r", options, EdgePruneError, message)


def test_resuming_without_the_device_of_the_run(tmp_path: Path, finished: Path) -> None:
    run = tmp_path / "r"
    shutil.copytree(finished, run)
    (run / "summary.json").unlink()
    config = json.loads((run / "config.json").read_text())
    config["options"]["device"] = "cuda:1"
    (run / "config.json").write_text(json.dumps(config))
    with pytest.raises(TrainError, match="finds no CUDA device here; the run was begun on one: resume it"):
        train_prune(run, resume=True)


def test_a_file_where_the_folder_should_be(tmp_path: Path, options: TrainPruneOptions) -> None:
    (tmp_path / "file").write_text("mine")
    refused(tmp_path / "file" / "r", options, EdgePruneError, "choose another folder")


def test_a_disk_that_fills_up_on_the_way_can_be_resumed(
    tmp_path: Path, options: TrainPruneOptions, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_bytes

    def fill(self: Path, content: bytes) -> int:
        if "settled" in self.name:
            real(self, content[:100])
            raise OSError(28, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", fill)
    with pytest.raises(
        EdgePruneError, match="settled.safetensors: the disk is full: free some space, then run"
    ):
        train_prune(tmp_path / "r", options)
    assert not [p for p in (tmp_path / "r").iterdir() if "settled" in p.name]
    monkeypatch.setattr(Path, "write_bytes", real)
    train_prune(tmp_path / "r", resume=True)
    assert results(tmp_path / "r") == results(finished)


def test_a_full_disk_under_tensorboard(
    tmp_path: Path, options: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def fill(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", fill)
    with pytest.raises(EdgePruneError, match="tensorboard: the disk is full"):
        train_prune(tmp_path / "r", options)


def test_a_loss_that_becomes_nan(tmp_path: Path, options: TrainPruneOptions) -> None:
    with pytest.raises(
        TrainError, match="the loss became nan in stage baseline, step 0 .* lower `lr`"
    ) as error:
        train_prune(tmp_path / "r", replace(options, model="tiny_nets:explodes"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "r" / "baseline.safetensors").exists()


# --- resuming with options ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argument",
    [
        {},
        {"epochs": 6},
        {"target": "flops=0.60"},
        {"precision": "auto", "device": "auto"},
        {"out": "elsewhere"},
    ],
)
def test_options_that_agree_with_the_run(finished: Path, argument: dict[str, Any]) -> None:
    check_same_options(finished, argument)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"epochs": 7}, "started with epochs=6, not 7: leave `epochs` out"),
        ({"target": "flops=0.5"}, "started with target=flops=0.6, not flops=0.5"),
        ({"prune_iterations": 3}, "leave `prune_iterations` out"),
    ],
)
def test_options_that_do_not_agree_with_the_run(
    finished: Path, argument: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError) as error:
        check_same_options(finished, argument)
    assert message in str(error.value) and "\n" not in str(error.value)


# --- Ctrl-C ---------------------------------------------------------------------------------------


def test_the_first_ctrl_c_asks_and_the_second_insists() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT)
    with pipeline.stop_on_interrupt() as requested:
        assert not requested()
        signal.raise_signal(signal.SIGINT)
        assert requested()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def inside() -> bool:
        with pipeline.stop_on_interrupt() as requested:
            return requested()

    assert ThreadPoolExecutor(1).submit(inside).result() is False


# --- a plan that was given ------------------------------------------------------------------------


def test_a_plan_from_a_file_is_carried_out(
    tmp_path: Path, finished: Path, options: TrainPruneOptions
) -> None:
    """The one plan of a learned run, given to another: the same channels stay, and nothing is chosen."""
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps(Run.open(finished).removals.plans_and_steps()[0][0].to_dict()))
    weights = str(finished / "baseline.safetensors")
    values = replace(
        options, plan=str(plan), baseline_epochs=None, weights=weights, epochs=2, prune_iterations=None
    )
    summary = train_prune(tmp_path / "r", values)
    before, after = (Run.open(run).load("settled").state_dict() for run in (finished, tmp_path / "r"))
    assert {k: v.shape for k, v in after.items()} == {k: v.shape for k, v in before.items()}
    assert summary["target"]["fraction"] == pytest.approx(summary["flops_fraction"], abs=1e-5)
    assert not any("was asked" in note for note in summary["notes"])
    plan.unlink()  # the run has its own
    assert train_prune(tmp_path / "r", resume=True) == summary


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (None, {}, "no such file"),
        ("[]", {}, "is not a keep-plan"),
        ('{"groups": []}', {}, "is not a keep-plan"),
        ('{"groups": [], "fingerprint": "x"}', {}, "made for another model"),
        ("{}", {"method": "l1"}, "leave `method=l1` out"),
        ("{}", {"prune_schedule": "soft"}, "leave `prune_schedule=soft` out"),
        ("{}", {"target_device": "cpu"}, "leave `target_device` out"),
    ],
)
def test_plans_that_cannot_be_carried_out(
    tmp_path: Path, options: TrainPruneOptions, content: str | None, more: dict[str, Any], message: str
) -> None:
    plan = tmp_path / "plan.json"
    if content is not None:
        plan.write_text(content)
    with pytest.raises(EdgePruneError, match=message):
        train_prune(tmp_path / "r", replace(options, plan=str(plan), **more))
    assert not (tmp_path / "r").exists()
