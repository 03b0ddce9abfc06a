"""What suits the data where a run is told nothing."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from edgeprune import tasks
from edgeprune.data import DataBundle
from edgeprune.errors import TrainError
from edgeprune.methods import Method, chosen_method
from edgeprune.methods.course import Course
from edgeprune.train_prune.checking import check_choices, on_device
from edgeprune.train_prune.options import LARGE, SMALL, SMALL_DATA, TrainPruneOptions
from edgeprune.training import best_precision

JUDGES = 1000  # held-out images by which networks are chosen: then half of the interval is some half a point
MOST_HELD_OUT = 0.3  # of all training images


def resolve(options: TrainPruneOptions, data: DataBundle) -> TrainPruneOptions:
    """Fill in what was left open.

    Raises:
        TrainError, TargetError: an option that makes no sense, with what to do.
    """
    defaults = {
        **(SMALL if data.sizes["train"] < SMALL_DATA else LARGE),
        **tasks.get(options.task).defaults,
    }
    if options.model == "resnet110":
        defaults["lr"] = 1e-3  # the source's rate for ResNet-110; 1e-2 is its rate for ResNet-56
    if options.init == "random":
        defaults["lr"], defaults["baseline_epochs"] = defaults["baseline_lr"], None
    if options.distill is None:
        trained = options.init == "baseline"
        defaults["distill"] = trained and tasks.get(options.task).distills_from(options.model)
    method = chosen_method(options)
    defaults |= method.training_defaults(_filled(options, defaults))
    options = replace(_filled(options, defaults), method=method.name)
    options = replace(options, **method.defaults(options))
    method = chosen_method(options)  # of a recipe: another than the one that was named
    if options.max_drop is not None and on_device(options) and options.target == TrainPruneOptions.target:
        options = replace(options, target="latency=0.5")
    device = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    precision = best_precision(device) if options.precision == "auto" else options.precision
    options = replace(options, device=device, precision=precision)
    check_choices(options)
    steps = data.steps(options.batch_size or 1) * (options.epochs or 1)
    if options.prune_iterations is None:
        options = replace(options, prune_iterations=max(1, method.phase_steps(steps)))
    _check_removals(method, options)
    if (options.prune_iterations or 0) > steps:
        raise TrainError(
            f"`prune_iterations={options.prune_iterations}` is more than the {steps} steps of "
            f"{options.epochs} epochs: raise `epochs`"
        )
    if options.max_drop is not None and data.sizes["val"] < 2:
        raise TrainError("`max_drop` compares networks on held-out images: raise `val_fraction`")
    course_of(options, data)  # raises where the moment and the phase do not fit into the epochs
    return options


def _filled(options: TrainPruneOptions, defaults: Mapping[str, Any]) -> TrainPruneOptions:
    """Return the options with defaults for those that are open."""
    return replace(
        options, **{name: value for name, value in defaults.items() if getattr(options, name) is None}
    )


def share_to_hold_out(options: TrainPruneOptions, data: DataBundle) -> float:
    """Return the share of the training images to hold out: more where networks are chosen by them.

    Args:
        options: of the run.
        data: with the share of the options held out.
    """
    untouched = options.val_fraction == TrainPruneOptions.val_fraction and options.weights is None
    if options.max_drop is None or not untouched:
        return options.val_fraction
    images = data.sizes["train"] + data.sizes["val"]
    return min(MOST_HELD_OUT, max(options.val_fraction, round(JUDGES / max(1, images), 3)))


def _check_removals(method: Method, options: TrainPruneOptions) -> None:
    """Raise TrainError where there are more removals than steps to make them in."""
    # The default fits a tiny run too.
    most = max(options.prune_iterations or 0, TrainPruneOptions.prune_steps)
    if "prune_steps" not in method.idle(options) and options.prune_steps > most:
        raise TrainError(
            f"`prune_steps={options.prune_steps}` is more than the {options.prune_iterations} steps of the "
            "pruning phase: lower it, or raise `prune_iterations`"
        )


def course_of(options: TrainPruneOptions, data: DataBundle) -> Course:
    """Return where the removals of a run fall; ``options`` are resolved ones."""
    per_epoch = data.steps(options.batch_size or 1)
    total = per_epoch * (options.epochs or 0)
    return chosen_method(options).course(options, per_epoch=per_epoch, total=total)
