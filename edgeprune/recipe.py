"""What `train-prune` may be told, what suits the data where it is told nothing, and what makes no sense."""

import inspect
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import torch

from edgeprune.bounds import QUANTITIES, check_count, check_quantity
from edgeprune.budget import asks_time, parse_targets
from edgeprune.data import DataBundle
from edgeprune.errors import TrainError, known
from edgeprune.importance import CRITERIA
from edgeprune.importance.combine import NORMALISERS, REDUCTIONS
from edgeprune.reconstruct import WAYS
from edgeprune.schedules import methods
from edgeprune.schedules.course import Course, check_moment
from edgeprune.training import TrainOptions, best_precision

METHODS = tuple(methods.METHODS)
PRUNING_ITERATIONS = 4000  # the source's
FINE_SHARE = 0.6  # of all epochs, kept for fine-tuning when they are too few for 4,000 iterations


@dataclass(frozen=True, kw_only=True)
class TrainPruneOptions:
    """What `train-prune` may be told; None means "what suits the data"."""

    model: str = "resnet20"
    data: str = "digits"
    weights: str | None = None
    weights_key: str | None = None
    opaque: list[str] | None = None
    method: str = "learned"
    plan: str | None = None
    prune_schedule: str | None = None
    prune_steps: int = 5
    moment: str = "start"
    switch: float = 0.5
    shrink: float = 0.66
    reduction: str | None = None
    normalise: str | None = None
    score_batches: int = 10
    reconstruct: str | None = None
    optimizer_state: str = "reset"
    init: str = "baseline"
    target: str = "flops=0.5"
    target_device: str | None = None
    assume_device: bool = False
    target_batch: int | None = None
    target_threads: int | None = None
    host: dict[str, Any] | None = None
    lut: str | None = None
    epochs: int | None = None
    prune_iterations: int | None = None
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
    mask_images: int = 8
    offset: float = 1.15
    align: int = 1
    floor: int = 2
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
        given["distill"] = options.init == "baseline"
    if options.plan is not None:
        options = replace(options, method=methods.PLAN)
    method = methods.method_of(options.method) if options.method in (*METHODS, methods.PLAN) else None
    if method is not None:
        given["prune_schedule"] = options.prune_schedule or method.schedule
        given["reconstruct"] = options.reconstruct or method.reconstruct
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    precision = best_precision(device) if options.precision == "auto" else options.precision
    options = replace(options, **given, device=device, precision=precision)
    check_choices(options)
    steps = data.steps(options.batch_size or 1) * (options.epochs or 1)
    if options.prune_iterations is None:
        wanted = min(PRUNING_ITERATIONS, round(steps * (1 - FINE_SHARE)))
        options = replace(options, prune_iterations=max(1, wanted))
    schedule = options.prune_schedule or (method.schedule if method is not None else None)
    most = max(
        options.prune_iterations or 0, TrainPruneOptions.prune_steps
    )  # the default fits a tiny run too
    if schedule == "iterative" and options.prune_steps > most:
        raise TrainError(
            f"--prune-steps {options.prune_steps} is more than the {options.prune_iterations} steps of the "
            "pruning phase: lower it, or raise --prune-iterations"
        )
    if (options.prune_iterations or 0) > steps:
        raise TrainError(
            f"--prune-iterations {options.prune_iterations} is more than the {steps} steps of "
            f"{options.epochs} epochs: raise --epochs"
        )
    course_of(options, data)  # raises where the moment and the phase do not fit into the epochs
    return options


def course_of(options: TrainPruneOptions, data: DataBundle) -> Course | None:
    """Where the removals of a criterion's run fall; None for the learned method, which has a phase instead.

    ``options`` are resolved ones.
    """
    method = methods.method_of(options.method)
    if method is None:
        return None
    per_epoch = data.steps(options.batch_size or 1)
    return Course(
        method=method,
        schedule=options.prune_schedule or method.schedule,
        moment=options.moment,
        per_epoch=per_epoch,
        whole=per_epoch * (options.epochs or 0),
        window=options.prune_iterations or 1,
        count=options.prune_steps,
        switch=options.switch,
    )


COUNTS = (
    "epochs", "prune_iterations", "baseline_epochs", "batch_size", "mask_images", "align", "floor",
    "prune_steps", "score_batches", "target_batch", "target_threads",
)  # fmt: skip
CHOICES = {
    "prune_schedule": methods.SCHEDULES,
    "optimizer_state": ("reset", "slice"),
    "init": ("baseline", "random"),
    "reduction": tuple(REDUCTIONS),
    "normalise": tuple(NORMALISERS),
    "reconstruct": WAYS,
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
    if options.method not in METHODS and not (options.plan and options.method == methods.PLAN):
        raise TrainError(known("method", options.method, list(METHODS)))
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
        if (value := getattr(options, name)) is not None and value not in names:
            raise TrainError(known(dashed(name), value, list(names)))
    check_moment(options.moment)
    _check_method(options)
    if options.precision != "auto":
        TrainOptions(precision=options.precision)  # raises for unknown names, as the next line does
    TrainOptions(schedule="thesis" if options.schedule is None else options.schedule)
    _check_device(options.device)


def on_device(options: TrainPruneOptions) -> bool:
    """Whether widths are chosen for a device, by its latency table."""
    return (
        asks_time(parse_targets(options.target))
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


# What only a criterion's run, and only some schedule of it, looks at.
_CRITERIA_ONLY = {
    "prune_schedule": None, "reconstruct": None, "reduction": None, "normalise": None,
    "moment": "start", "optimizer_state": "reset",
}  # fmt: skip


def _check_method(options: TrainPruneOptions) -> None:
    """Options that this method has no use for are an error, not silence."""
    if options.plan is not None:
        _check_plan(options)
        return
    method = methods.method_of(options.method)
    if method is None:
        for name, default in _CRITERIA_ONLY.items():
            if getattr(options, name) != default:
                raise TrainError(
                    f"--{dashed(name)} is for criteria; the learned method has a phase of its own: leave it "
                    "out, or choose another --method"
                )
        if options.init == "random":
            raise TrainError("--init random is for criteria: the learned method prunes a trained network")
    elif options.method == "sss" and options.prune_schedule not in (None, "regularised"):
        raise TrainError("sss scores by the factors its training leaves: it has no schedule but regularised")
    elif options.moment == "end" and (options.prune_schedule or method.schedule) != "one-shot":
        raise TrainError(
            f"--moment end leaves no steps for the schedule {options.prune_schedule or method.schedule}: "
            "add --prune-schedule one-shot"
        )
    for name in ("reduction", "normalise"):
        for criterion in () if method is None else method.criteria:
            if getattr(options, name) is not None and not _takes(criterion, name):
                raise TrainError(f"{criterion} takes no --{name}: leave it out")
    if options.init == "random":
        for name in ("weights", "baseline_epochs"):
            if getattr(options, name) is not None:
                raise TrainError(
                    f"--init random and --{dashed(name)} exclude each other: there is no baseline"
                )
        if options.distill:
            raise TrainError("--init random has no baseline to distil from: leave --distill out")


def _check_plan(options: TrainPruneOptions) -> None:
    """A plan leaves nothing to choose."""
    if options.method not in ("learned", methods.PLAN):
        raise TrainError(f"--plan says what goes: leave --method {options.method} out")
    if options.prune_schedule not in (None, "one-shot"):
        raise TrainError(
            f"--plan is carried out at once: leave --prune-schedule {options.prune_schedule} out"
        )
    for name in ("reduction", "normalise", "target_device", "host"):
        if getattr(options, name) is not None:
            raise TrainError(f"--plan says what goes: leave --{dashed(name)} out")


def _takes(criterion: str, option: str) -> bool:
    return criterion in CRITERIA and option in inspect.signature(CRITERIA[criterion]).parameters


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


def dashed(name: str) -> str:
    """An option as it is typed."""
    return name.replace("_", "-")
