"""train-prune: baseline, pruning, fine-tuning, one evaluation on the test images; resumable at any point."""

import contextlib
import platform
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune import tasks
from edgeprune.data import DataBundle, OtherKind, load_data
from edgeprune.errors import ModelError, TrainError
from edgeprune.files.locks import held
from edgeprune.files.paths import explained
from edgeprune.files.reading import sha256
from edgeprune.methods import chosen_method
from edgeprune.models import build, load_weights
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.runs import KeepPlan, Summary
from edgeprune.records.trust import check_options
from edgeprune.rewrite.compaction import compact
from edgeprune.runs.run import Run
from edgeprune.train_prune.baseline import BaselineStage
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.chance import warn_of_weights
from edgeprune.train_prune.checking import check_before_torch, check_device_here, check_parts, read_plan
from edgeprune.train_prune.defaults import resolve, share_to_hold_out
from edgeprune.train_prune.effects import typed_names
from edgeprune.train_prune.max_drop import MaxDropSearch
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.stage_context import StageContext
from edgeprune.train_prune.stages import Stages
from edgeprune.train_prune.stored import stored_options
from edgeprune.training.checkpoints import checkpoint_seconds


def train_prune(
    out: str | Path,
    options: TrainPruneOptions | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    progress: ProgressCallback = no_progress,
) -> Summary:
    """Train (unless weights are given), prune, fine-tune and evaluate a model; write a run folder.

    Args:
        out: the run folder.
        options: of the run; ignored with ``resume``, which uses the run's own.
        resume: continue an interrupted run.
        force: replace a run of that name.
        progress: called with (done, total, text).

    Returns:
        The summary, as in summary.json.

    Raises:
        EdgePruneError: any mistake in the input; nothing is written before all of it is checked.
        InUseError: another process works on that run. MovedError: the run was moved or removed meanwhile.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; a checkpoint is left.
    """
    if resume:
        run = Run.open(out)
        if run.has("summary.json"):
            return run.summary()
    else:
        run, data, chosen = begin(Path(out), options or TrainPruneOptions(), force, progress)
    with held(out):
        if resume:
            if run.has("summary.json"):  # the process that locked the run has finished it
                return run.summary()
            chosen = _options_to_resume(run)
            check_options(asdict(chosen), run.path)
            data = _data_of(run, chosen)
        if chosen.max_drop is not None:
            return _smallest_within(run, data, chosen, progress)
        with stop_on_interrupt() as stop, _scalar_writer(run) as scalars:
            return Stages(StageContext(run, data, chosen, progress, stop, scalars)).execute()


def _smallest_within(
    run: Run, data: DataBundle, options: TrainPruneOptions, progress: ProgressCallback
) -> Summary:
    """Train the baseline, and find the smallest network that loses at most ``max_drop``."""

    def train(place: Path, chosen: TrainPruneOptions, resume: bool, progress: ProgressCallback) -> Summary:
        return train_prune(place, chosen, resume=resume, progress=progress)

    with stop_on_interrupt() as stop, _scalar_writer(run) as scalars:
        BaselineStage(StageContext(run, data, options, progress, stop, scalars)).execute()
        run.training.drop_checkpoint()
    return MaxDropSearch(run, data, options, train, progress).execute()


def train_baseline(path: str | Path, progress: ProgressCallback, *, wait: bool = False) -> None:
    """Train only the first stage of a run that `begin` made; continue it if it was interrupted.

    Args:
        path: the run folder.
        progress: called with (done, total, text).
        wait: wait for another process that trains it, instead of raising InUseError.

    Raises:
        InUseError: another process trains it. TrainError: the loss is no longer a number.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; a checkpoint is left.
    """

    def waiting(text: str) -> None:
        progress(0, 1, f"baseline: {text}")

    run = Run.open(path)
    with held(path, wait=waiting if wait else None):
        with stop_on_interrupt() as stop, _scalar_writer(run) as scalars:
            options = _options_to_resume(run)
            data = _data_of(run, options)
            context = StageContext(run, data, options, progress, stop, scalars, baseline_only=True)
            BaselineStage(context).execute()
        run.training.drop_checkpoint()


def begin(
    out: Path, options: TrainPruneOptions, force: bool, progress: ProgressCallback
) -> tuple[Run, DataBundle, TrainPruneOptions]:
    """Check all options, then make the run folder.

    Args:
        out: the run folder.
        options: as typed.
        force: replace a run of that name.
        progress: called with (done, total, text).

    Returns:
        The run, its data, and the resolved options.

    Raises:
        EdgePruneError: any mistake in the input; nothing is written then.
    """
    check_before_torch(out, options, force=force)
    _check_machine(options)
    data = _load(options, progress)
    typed = typed_names(options)
    if (share := share_to_hold_out(options, data)) != options.val_fraction:
        options = replace(options, val_fraction=share)
        data = _load(options, progress)
    options = resolve(options, data)
    check_parts(options)
    args = tasks.get(options.task).model_args(data)
    torch.manual_seed(options.seed)
    model = build(options.model, **args)
    if options.weights:
        load_weights(model, options.weights, key=options.weights_key)
    _check_output(model, data, options)
    if world().is_main:
        warn_of_weights(model, data, options)
    plan = read_plan(options.plan) if options.plan else None
    options = _reachable(model, data, options, plan, progress)
    config = {
        **_config(options, data, args),
        "typed": typed,
        "plan": None if plan is None else plan.to_dict(),
    }
    world().wait()  # until every process has checked its options
    if world().is_main:
        tensors = {"baseline": model.state_dict()} if options.weights else None
        Run.create(out, config, force=force, tensors=tensors)
    world().wait()
    return Run.open(out), data, options


def _load(options: TrainPruneOptions, progress: ProgressCallback) -> DataBundle:
    """Load the data, whose targets must be of the kind that the task needs.

    Raises:
        DataError: see `load_data`. TrainError: the targets are of another kind; names the task that fits.
    """
    task = tasks.get(options.task)
    try:
        return load_data(
            options.data, root=options.data_root, download=options.download, image_size=options.image_size,
            val_fraction=options.val_fraction, seed=options.seed, kind=task.target_kind,
            in_memory=options.in_memory, workers=options.workers, progress=progress,
        )  # fmt: skip
    except OtherKind as error:
        suited = [name for name in tasks.names() if tasks.get(name).target_kind == error.actual]
        remedy = " or ".join(f"`task={name}`" for name in suited) or "another task"
        raise TrainError(
            f"{options.data} has {error.actual}, and the task {task.name} needs {task.target_kind}: say "
            f"{remedy}, or name other data"
        ) from error


def _data_of(run: Run, options: TrainPruneOptions) -> DataBundle:
    """Load the data of an earlier run, read as its options say."""
    return run.data(in_memory=options.in_memory, workers=options.workers)


def _check_machine(options: TrainPruneOptions) -> None:
    """Check what needs torch, but no data."""
    check_device_here(options.device)
    checkpoint_seconds()  # raises if the environment variable is not a number
    if ":" not in options.model:  # a factory may refuse an invented number of classes
        build(options.model, num_classes=10)


def _check_output(model: nn.Module, data: DataBundle, options: TrainPruneOptions) -> None:
    """Check that the model runs on the data's images, and returns what the task needs."""
    mode, images = model.training, 2
    with torch.no_grad():
        try:
            output = model.eval()(torch.zeros(images, *data.shape))
        except Exception as error:  # the user's own code
            why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ModelError(
                f"{options.model} does not run on images of shape {data.shape}: {why}"
            ) from error
    model.train(mode)
    tasks.get(options.task).check_output(output, data, images=images, model=options.model)


def _reachable(
    model: nn.Module,
    data: DataBundle,
    options: TrainPruneOptions,
    plan: KeepPlan | None,
    progress: ProgressCallback,
) -> TrainPruneOptions:
    """Try select and compact with invented scores, so that an unreachable target fails before hours of training.

    This also builds a device's latency table. With a plan, the returned options have its FLOPs as target.
    """
    example = torch.zeros(1, *data.shape)
    graph = chosen_method(options).prunable(model, example, options.opaque or ())
    budget = make_budget(model, graph, options, check=False, plan=plan, progress=progress)
    done = compact(graph, budget.select(graph, np.arange(graph.classes, dtype=float)))
    if plan is None:
        return options
    return replace(options, target=f"flops={graph.flops(done.plan.keep) / graph.flops():.6g}")


def _config(options: TrainPruneOptions, data: DataBundle, args: dict[str, Any]) -> dict[str, Any]:
    from importlib.metadata import version

    packages = ("edgeprune", "torch", "torchvision", "numpy")
    return {
        "options": asdict(options),
        "model": {"factory": options.model, "args": args},
        "data_spec": data.spec(),
        "input_shape": list(data.shape),
        "classes": list(data.classes),
        "mean": list(data.mean),
        "std": list(data.std),
        "weights_sha256": sha256(options.weights) if options.weights else None,
        "versions": {name: version(name) for name in packages} | {"python": platform.python_version()},
        "machine": {"cpu": platform.processor() or platform.machine(), "threads": torch.get_num_threads()},
    }


def _options_to_resume(run: Run) -> TrainPruneOptions:
    """Return the options of a run to resume; raises TrainError if its device is not available here."""
    stored = stored_options(run)
    check_device_here(stored.device, "the run was begun on one: resume it there, or start another run")
    return stored


@contextlib.contextmanager
def _scalar_writer(run: Run) -> Iterator[Callable[[str, float, int], None]]:
    """Yield a writer of TensorBoard events in the run; of steps that a resumed run repeats, viewers show the last."""
    if not world().is_main:
        yield lambda tag, value, step: None  # noqa: ARG005
        return
    from torch.utils.tensorboard import SummaryWriter

    folder = run.path / "tensorboard"

    def add(tag: str, value: float, step: int) -> None:
        with explained(folder):
            writer.add_scalar(tag, value, step)

    with _quiet_writer_thread():
        with explained(folder):
            writer = SummaryWriter(str(folder))
        try:
            yield add
        except BaseException:
            with contextlib.suppress(OSError):  # the first error says more
                writer.close()
            raise
        with explained(folder):
            writer.close()


@contextlib.contextmanager
def _quiet_writer_thread() -> Iterator[None]:
    """Let TensorBoard's thread end without a traceback when the disk refuses; `add_scalar` raises then."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if not (isinstance(arguments.exc_value, OSError) and "Writer" in type(arguments.thread).__name__):
            before(arguments)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before
