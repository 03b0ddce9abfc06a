"""What makes no sense in the options of a run, found before anything is read or written."""

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

from edgeprune import tasks
from edgeprune.backends.onnx import Onnx
from edgeprune.budget import need_device, parse_targets
from edgeprune.data import check_data
from edgeprune.errors import PlanError, TrainError
from edgeprune.methods import Method, chosen_method
from edgeprune.models import check_name, check_weights_file
from edgeprune.options.device import check_boards, refuse_device_options
from edgeprune.options.fields import check_fields
from edgeprune.processes.distributed import world
from edgeprune.records.checking import read_value
from edgeprune.records.runs import KeepPlan
from edgeprune.records.trust import vouch_for
from edgeprune.runs.run import Run
from edgeprune.tasks import Task
from edgeprune.train_prune.options import TrainPruneOptions


def check_before_torch(out: Path, options: TrainPruneOptions, *, force: bool) -> None:
    """Check what needs neither torch, which takes seconds to import, nor the data.

    Args:
        out: the run folder.
        options: as typed.
        force: whether a run of that name is replaced.

    Raises:
        RunError: something else is there. TrainError, TargetError: an option that makes no sense; also see
            `check_named`.
    """
    vouch_for(asdict(options))
    if world().is_main:
        Run.check_free(out, force=force, inputs=(options.weights, options.plan, options.lut, options.data))
    check_choices(options)
    check_named(options)


def check_named(options: TrainPruneOptions) -> None:
    """Check that what options name may be there: model, data, files, and the device with its runtime; none is read.

    Raises:
        ModelError, DataError, WeightsError, PlanError, BenchError: it is not, or has another name.
        TrainError: weights, and how to train what they are of.
    """
    check_name(options.model)
    check_data(options.data)
    if options.weights is not None:
        check_weights_file(Path(options.weights))
        for name in ("baseline_epochs", "baseline_lr"):
            if getattr(options, name) is not None:
                raise TrainError(f"`{name}` and `weights` exclude each other: the weights are the baseline")
    if options.plan is not None:
        read_plan(options.plan)
    if on_device(options):
        from edgeprune.latency.bench_target import check_device_names

        check_device_names(options)


def read_plan(path: str) -> KeepPlan:
    """Return the keep-plan in a file; raises PlanError where there is none."""
    return KeepPlan.from_dict(read_value(Path(path), error=PlanError), f"{path} is not a keep-plan")


def check_choices(options: TrainPruneOptions) -> None:
    """Check every option by itself and beside the others.

    Raises:
        TrainError, TargetError: an option that makes no sense; names the field and says what to do.
    """
    method, task = chosen_method(options), tasks.get(options.task)
    check_fields(options, TrainError)
    _check_task(task, options)
    _check_target(options)
    _check_start(method, options)
    _check_quantize(task, options)
    if options.precisions is not None:
        _check_precisions(task, options.precisions, options)
    if options.max_drop is not None:
        _check_max_drop(options)


def _check_precisions(task: Task, precisions: str, options: TrainPruneOptions) -> None:
    """Check that precisions can be chosen: by the time of ONNX Runtime's files, of a trained baseline."""
    from edgeprune.latency.mixed import parse_precisions

    parse_precisions(precisions, TrainError)
    if not need_device(parse_targets(options.target)):
        raise TrainError("`precisions` are chosen by the time that they take: say `target=latency=0.35`")
    if options.target_runtime not in (None, Onnx.runtime):
        raise TrainError(
            f"`precisions` are chosen for files of ONNX Runtime, which have several: {options.target_runtime}'s have "
            "one, by `target_precision`"
        )
    for name, why in (
        ("target_precision", "it is one for all layers"),
        ("lut", "each precision has a table of its own under luts/"),
        ("plan", "its widths are chosen already"),
        ("max_drop", "find the network first, then its precisions by its `target`"),
    ):
        if getattr(options, name) is not None:
            raise TrainError(f"`precisions` and `{name}` exclude each other: {why}")
    if options.more_hosts:
        raise TrainError("`precisions` are chosen for one device: name one `host`")
    if any(target.sustained for target in parse_targets(options.target)):
        raise TrainError("`precisions` are chosen on a cool device: leave @sustained out")
    if options.init == "random":
        raise TrainError("`precisions` follow a trained baseline's errors, which `init=random` has not")
    if task.loss_in_model or len(task.output_names) > 1:
        raise TrainError(f"`task={task.name}` has no single output to compare precisions by: leave them out")


def _check_quantize(task: Task, options: TrainPruneOptions) -> None:
    """Check that quantisation-aware training has a loss of the file's outputs, and one network to train."""
    if options.quantize is None:
        return
    if task.loss_in_model or len(task.output_names) > 1:
        raise TrainError(
            f"`task={task.name}` computes its loss inside of the model, which the int8 file has not: leave `quantize` "
            "out, and let `export` calibrate"
        )
    if options.max_drop is not None:
        raise TrainError(
            "`max_drop` and `quantize` exclude each other: find the network first, then train it with its `target`"
        )


def _check_max_drop(options: TrainPruneOptions) -> None:
    """Check what a search for the largest allowed drop needs: a baseline, and one share to begin with."""
    if options.init == "random":
        raise TrainError(
            "`max_drop` and `init=random` exclude each other: there is no baseline to compare with"
        )
    if options.plan is not None:
        raise TrainError("`max_drop` and `plan` exclude each other: a plan's size is fixed")
    targets = parse_targets(options.target)
    if len(targets) > 1 or targets[0].fraction is None:
        raise TrainError(
            f"`max_drop` begins with one share, such as `target={targets[0].kind}=0.5`, and finds the others itself"
        )


def _check_task(task: Task, options: TrainPruneOptions) -> None:
    missing = [package for package in task.requires if find_spec(package) is None]
    if missing:
        requirement = f"edgeprune[{task.extra}]" if task.extra else missing[0]
        raise TrainError(
            f"`task={task.name}` needs the Python package {missing[0]}, which is not installed: pip install "
            f"'{requirement}'"
        )
    task.check_model(options.model)
    if options.distill and not task.distills:
        raise TrainError(f"`task={task.name}` has nothing to distil: leave `distill` out")
    if options.distill and not task.distills_from(options.model):
        raise TrainError(
            f"{options.model} proposes places of its own, which are not its teacher's: leave `distill` out"
        )
    if options.label_smoothing and not task.smooths_labels:
        raise TrainError(f"`task={task.name}` has no labels to smooth: leave `label_smoothing` out")


def on_device(options: TrainPruneOptions) -> bool:
    """Return whether widths are chosen for a device, by its latency table."""
    return (
        need_device(parse_targets(options.target))
        or options.target_device is not None
        or options.host is not None
    )


def _check_target(options: TrainPruneOptions) -> None:
    check_boards(options, TrainError)
    if not on_device(options):
        refuse_device_options(options, TrainError)


def _check_start(method: Method, options: TrainPruneOptions) -> None:
    """Options that this method, or this start, has no use for are an error, not silence."""
    method.check(options, pretrained=options.init != "random")
    if options.init == "random" and options.plan is None:
        for name in ("weights", "baseline_epochs"):
            if getattr(options, name) is not None:
                raise TrainError(f"`init=random` and `{name}` exclude each other: there is no baseline")
        if options.distill:
            raise TrainError("`init=random` has no baseline to distil from: leave `distill` out")


def check_parts(options: TrainPruneOptions) -> None:
    """Check that each part of a batch has the images that masks are learned from: the step is then that of the batch.

    Args:
        options: resolved ones.

    Raises:
        TrainError: it has fewer.
    """
    if options.accumulate == 1 or chosen_method(options).name != "learned" or options.plan is not None:
        return
    assert options.batch_size is not None
    images = options.batch_size // (world().size * options.accumulate)
    if images < options.mask_images:
        raise TrainError(
            f"`accumulate={options.accumulate}` leaves {images} images to a part of `batch_size={options.batch_size}`, "
            f"and masks are learned from `mask_images={options.mask_images}`: lower one of them, or raise `batch_size`"
        )


def check_device_here(name: str, advice: str = "leave the option out") -> None:
    """Check that this machine has the device a run is to be trained on.

    Args:
        name: auto, cpu, cuda or cuda:N.
        advice: what to do where it is missing.

    Raises:
        TrainError: torch finds no such device.
    """
    kind, _, number = name.partition(":")
    if kind != "cuda":
        return
    import torch

    if not torch.cuda.is_available():
        raise TrainError(f"`device={name}`: torch finds no CUDA device here; {advice}")
    if number and int(number) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise TrainError(f"`device={name}`: there are {count} CUDA devices, numbered from 0; {advice}")
