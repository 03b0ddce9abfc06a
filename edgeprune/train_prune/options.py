"""What `train-prune` may be told, what suits the data where it is told nothing, and what makes no sense."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgeprune import tasks
from edgeprune.budget import need_device, parse_targets
from edgeprune.data import DataBundle
from edgeprune.errors import TrainError, known
from edgeprune.importance.combine import NORMALISERS, REDUCTIONS
from edgeprune.methods import SCHEDULES, Method, MethodOptions, chosen_method, dashed
from edgeprune.methods.course import Course, check_moment
from edgeprune.options.bounds import QUANTITIES, check_count, check_quantity
from edgeprune.reconstruct import WAYS
from edgeprune.training import TrainOptions, best_precision

PRUNING_ITERATIONS = 4000  # the source's
FINE_SHARE = 0.6  # of all epochs, kept for fine-tuning when they are too few for 4,000 iterations


@dataclass(frozen=True, kw_only=True)
class TrainPruneOptions(MethodOptions):
    """What `train-prune` may be told; None means "what suits the data"."""

    model: str = "resnet20"
    data: str = "digits"
    task: str = "classification"
    weights: str | None = None
    weights_key: str | None = None
    init: str = "baseline"
    target: str = "flops=0.5"
    target_device: str | None = None
    assume_device: bool = False
    target_batch: int | None = None
    target_threads: int | None = None
    host: dict[str, Any] | None = None
    lut: str | None = None
    epochs: int | None = None
    baseline_epochs: int | None = None
    lr: float | None = None
    baseline_lr: float | None = None
    schedule: str | None = None
    batch_size: int | None = None
    weight_decay: float = 1e-4
    momentum: float = 0.9
    nesterov: bool = False
    distill: bool | None = None
    label_smoothing: float = 0.0
    ema: float = 0.0
    align: int = 1
    precision: str = "auto"
    device: str = "auto"
    image_size: int | None = None
    val_fraction: float = 0.05
    data_root: str | None = None
    download: bool = False
    seed: int = 0


# By data: epochs with pruning, epochs of the baseline, batch, learning rates.
_SMALL: dict[str, Any] = {
    "epochs": 18, "baseline_epochs": 10, "batch_size": 64,
    "lr": 0.02, "baseline_lr": 0.1, "schedule": "cosine",
}  # fmt: skip
_LARGE: dict[str, Any] = {
    "epochs": 100, "baseline_epochs": 160, "batch_size": 128,
    "lr": 0.01, "baseline_lr": 0.1, "schedule": "thesis",
}  # fmt: skip


def resolve(options: TrainPruneOptions, data: DataBundle) -> TrainPruneOptions:
    """Fill in what was left open.

    Raises:
        TrainError, TargetError: an option that makes no sense, with what to do.
    """
    defaults = dict(_SMALL if data.sizes["train"] < 5000 else _LARGE)
    if options.model == "resnet110":
        defaults["lr"] = 1e-3  # the source's rate for ResNet-110; 1e-2 is its rate for ResNet-56
    if options.init == "random":
        defaults["lr"], defaults["baseline_epochs"] = defaults["baseline_lr"], None
    given = {key: value for key, value in defaults.items() if getattr(options, key) is None}
    if options.distill is None:
        given["distill"] = options.init == "baseline" and tasks.get(options.task).distills
    method = chosen_method(options)
    options = replace(options, method=method.name)
    given |= method.defaults(options)
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    precision = best_precision(device) if options.precision == "auto" else options.precision
    options = replace(options, **given, device=device, precision=precision)
    check_choices(options)
    steps = data.steps(options.batch_size or 1) * (options.epochs or 1)
    if options.prune_iterations is None:
        wanted = min(PRUNING_ITERATIONS, round(steps * (1 - FINE_SHARE)))
        options = replace(options, prune_iterations=max(1, wanted))
    _check_removals(method, options)
    if (options.prune_iterations or 0) > steps:
        raise TrainError(
            f"--prune-iterations {options.prune_iterations} is more than the {steps} steps of "
            f"{options.epochs} epochs: raise --epochs"
        )
    course_of(options, data)  # raises where the moment and the phase do not fit into the epochs
    return options


def _check_removals(method: Method, options: TrainPruneOptions) -> None:
    """Raise TrainError where there are more removals than steps to make them in."""
    # The default fits a tiny run too.
    most = max(options.prune_iterations or 0, TrainPruneOptions.prune_steps)
    if "prune_steps" not in method.idle(options) and options.prune_steps > most:
        raise TrainError(
            f"--prune-steps {options.prune_steps} is more than the {options.prune_iterations} steps of the "
            "pruning phase: lower it, or raise --prune-iterations"
        )


def course_of(options: TrainPruneOptions, data: DataBundle) -> Course:
    """Return where the removals of a run fall; ``options`` are resolved ones."""
    per_epoch = data.steps(options.batch_size or 1)
    total = per_epoch * (options.epochs or 0)
    return chosen_method(options).course(options, per_epoch=per_epoch, total=total)


COUNTS = (
    "epochs", "prune_iterations", "baseline_epochs", "batch_size", "mask_images", "align", "floor",
    "prune_steps", "score_batches", "target_batch", "target_threads",
)  # fmt: skip
CHOICES: dict[str, Callable[[], tuple[str, ...]]] = {
    "prune_schedule": SCHEDULES.names,
    "optimizer_state": lambda: ("reset", "slice"),
    "init": lambda: ("baseline", "random"),
    "reduction": lambda: tuple(REDUCTIONS),
    "normalise": lambda: tuple(NORMALISERS),
    "reconstruct": lambda: WAYS,
}
RANGES = (
    ("momentum", 1.0),
    ("weight_decay", math.inf),
    ("offset", math.inf),
    ("seed", 2**31),
    ("switch", 1 + 1e-9),
    ("shrink", math.inf),
    ("label_smoothing", 1.0),
    ("ema", 1.0),
)


def check_choices(options: TrainPruneOptions) -> None:
    """Every option that is given, by itself; raises for what makes no sense."""
    method, task = chosen_method(options), tasks.get(options.task)
    if options.distill and not task.distills:
        raise TrainError(f"--task {task.name} has nothing to distil: leave --distill out")
    _check_target(options)
    for name, value in vars(options).items():
        if isinstance(value, str) and not value.strip():
            raise TrainError(f"--{dashed(name)} is empty: give a value, or leave it out")
    if any(not name.strip() for name in options.opaque or ()):
        raise TrainError("--opaque has an empty name: give that of a module, or of its class")
    for name in COUNTS:
        if (value := getattr(options, name)) is not None:
            check_count(name, value, TrainError)
    for name in ("lr", "baseline_lr"):
        if (value := getattr(options, name)) is not None:
            if isinstance(value, float | int) and not 0 < value < math.inf:
                raise TrainError(f"--{dashed(name)} must be above 0, not {value}")
            check_quantity(name, value, TrainError)
    for name, end in RANGES:
        value = getattr(options, name)
        if isinstance(value, float | int) and not 0 <= value < end:
            raise TrainError(f"--{dashed(name)} must be at least 0 and below {end:g}, not {value}")
        if name in QUANTITIES:
            check_quantity(name, value, TrainError)
        else:
            check_count(name, value, TrainError)
    for name, names in CHOICES.items():
        if (value := getattr(options, name)) is not None and value not in names():
            raise TrainError(known(dashed(name), value, list(names())))
    check_moment(options.moment)
    _check_start(method, options)
    if options.precision != "auto":
        TrainOptions(precision=options.precision)  # raises for unknown names, as the next line does
    TrainOptions(schedule="thesis" if options.schedule is None else options.schedule)
    _check_device(options.device)


def on_device(options: TrainPruneOptions) -> bool:
    """Whether widths are chosen for a device, by its latency table."""
    return (
        need_device(parse_targets(options.target))
        or options.target_device is not None
        or options.host is not None
    )


def _check_target(options: TrainPruneOptions) -> None:
    if on_device(options):
        return
    for name in ("target_batch", "target_threads", "lut", "assume_device"):
        if getattr(options, name) not in (None, False):
            raise TrainError(
                f"--{dashed(name)} is of a device's budget: say --target-device too, or --target latency=..."
            )


def _check_start(method: Method, options: TrainPruneOptions) -> None:
    """Options that this method, or this start, has no use for are an error, not silence."""
    method.check(options, pretrained=options.init != "random")
    if options.init == "random" and options.plan is None:
        for name in ("weights", "baseline_epochs"):
            if getattr(options, name) is not None:
                raise TrainError(
                    f"--init random and --{dashed(name)} exclude each other: there is no baseline"
                )
        if options.distill:
            raise TrainError("--init random has no baseline to distil from: leave --distill out")


def _check_device(name: str) -> None:
    if not re.fullmatch(r"auto|cpu(:0)?|cuda(:[0-9]{1,4})?", name):
        raise TrainError(known("device", name, ["auto", "cpu", "cuda"]))


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
    if not torch.cuda.is_available():
        raise TrainError(f"--device {name}: torch finds no CUDA device here; {advice}")
    if number and int(number) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise TrainError(f"--device {name}: there are {count} CUDA devices, numbered from 0; {advice}")
