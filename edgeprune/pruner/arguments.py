"""Arguments of a pruner, checked before anything is done."""

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeprune.errors import PlanError, TrainError, known
from edgeprune.files.reading import read_json
from edgeprune.graph.arguments import kind_of
from edgeprune.methods import Method, MethodOptions, chosen_method
from edgeprune.methods.course import Course
from edgeprune.methods.options import SENSITIVITY
from edgeprune.options.bounds import STEPS
from edgeprune.options.fields import check_fields
from edgeprune.processes.distributed import world
from edgeprune.records.runs import KeepPlan

UNKNOWN_LENGTH = 10**9  # steps of a loop that does not say how many it takes
DECIDED = ("method", "plan", "opaque", "prune_iterations", "optimizer_state")  # arguments of their own


def method_options(
    method: str, steps: int, *, has_plan: bool, opaque: tuple[Any, ...], more: Mapping[str, Any]
) -> MethodOptions:
    """Return the options of a method, with what its source says where nothing else is said.

    Args:
        method: a name in `edgeprune.methods.names()`.
        steps: of the pruning phase.
        has_plan: whether a keep-plan takes the method's place.
        opaque: modules that are kept whole.
        more: other fields of `MethodOptions`.

    Raises:
        TrainError: an unknown option or method, or a value that makes no sense.
    """
    names = [field.name for field in fields(MethodOptions) if field.name not in DECIDED]
    for name in more:
        if name not in names:
            raise TrainError(known("option of a pruner", name, names))
    if not isinstance(method, str):
        raise TrainError(f"a name is wanted as method, not {kind_of(method)}: see edgeprune.methods.names()")
    options = MethodOptions(
        method=method,
        plan="plan" if has_plan else None,
        opaque=list(opaque) or None,
        prune_iterations=steps,
        **more,
    )
    check_fields(replace(options, opaque=None), TrainError)
    chosen = chosen_method(options)
    options = replace(options, **chosen.defaults(options))
    chosen.check(options)
    return options


def check_counts(**counts: int | None) -> None:
    """Refuse numbers of steps that are none; raises TrainError."""
    for name, count in counts.items():
        if count is not None:
            STEPS(f"`{name}`", count, TrainError)


def method_of(options: MethodOptions, batches: Any, optimizer: Any) -> Method:
    """Return the method that options name, if it has what it needs.

    Args:
        options: of the pruner.
        batches: images to score by; None for none.
        optimizer: the loop's; None where it is not known.

    Raises:
        TrainError: names the argument that is missing.
    """
    method, has_batches = chosen_method(options), batches is not None
    if not has_batches and method.needs_data:
        raise TrainError(
            f"{method.name} scores channels by images: give batches=, a loader or a list of (x, y)"
        )
    if not has_batches and (options.reconstruct or "none") != "none":
        raise TrainError(
            f"{method.name} fits the next layers on images: give batches=, or reconstruct='none'"
        )
    if not has_batches and options.allocation == SENSITIVITY:
        raise TrainError(
            "allocation='sensitivity' compares outputs on images: give batches=, or leave it out"
        )
    if optimizer is None and options.prune_schedule == "regularised":
        raise TrainError(f"{method.name} adds a penalty to gradients: give optimizer=")
    return method


def course_of(method: Method, options: MethodOptions, per_epoch: int | None, total: int | None) -> Course:
    """Return where the removals fall in a loop.

    Args:
        method: that prunes.
        options: its own.
        per_epoch: steps of an epoch; None where the loop does not say.
        total: steps of the loop; None where it does not say.

    Raises:
        TrainError: the moment or the schedule counts what the loop does not say, or goes beyond its end.
    """
    moment, soft = options.moment, options.prune_schedule == "soft"
    if moment in ("end", "plateau") and total is None:
        raise TrainError(f"moment={moment!r} counts from the end of the loop: give total_steps=")
    if per_epoch is None and (soft or moment == "plateau" or moment.startswith("epoch")):
        what = "the soft schedule" if soft else f"moment={moment!r}"
        raise TrainError(f"{what} counts epochs: give steps_per_epoch=")
    steps = options.prune_iterations or 1
    return method.course(options, per_epoch=per_epoch or steps, total=total or UNKNOWN_LENGTH)


def checked_loss(loss: Any, step: int, *, followed: bool, needed: bool) -> float:
    """Return the loss of a step as a number; nan where the loop does not give it.

    Args:
        loss: a number, a tensor or None.
        step: number of it, from 1.
        followed: whether the loss decides when channels go: it is then the mean of all processes.
        needed: whether there is still something to decide.

    Raises:
        TrainError: it is not finite, or None where it is needed.
    """
    if loss is None:
        if followed and needed:
            raise TrainError("moment='plateau' follows the loss: call step(loss)")
        return math.nan
    value = _number(loss)
    if not math.isfinite(value):
        raise TrainError(f"the loss became {value} in step {step}: lower the learning rate")
    if not followed:
        return value
    mean = torch.tensor([value])
    world().average([mean])
    return float(mean)


def _number(loss: Any) -> float:
    """Return a loss as a number; raises TrainError where it is not one number."""
    if isinstance(loss, Tensor) and loss.numel() != 1:
        raise TrainError(f"a loss of shape {tuple(loss.shape)} was given to step(): give its mean or sum")
    if not hasattr(loss, "__float__"):
        raise TrainError(
            f"a number is wanted as loss, not {kind_of(loss)}: give step() what backward() is called of"
        )
    return float(loss.detach() if isinstance(loss, Tensor) else loss)


def read_plan(plan: Any) -> KeepPlan | None:
    """Return a keep-plan that was given as such, in its JSON form, or as the path of its file.

    Raises:
        PlanError: it is something else, or cannot be read.
    """
    if plan is None or isinstance(plan, KeepPlan):
        return plan
    if isinstance(plan, Mapping):
        return KeepPlan.from_dict(dict(plan))
    if not isinstance(plan, (str, Path)):
        raise PlanError(f"a keep-plan or the path of its file is wanted as plan, not {kind_of(plan)}")
    try:
        content = read_json(Path(plan))
    except OSError as error:
        raise PlanError(f"cannot read the plan {plan}: {error.strerror or error}") from error
    if not isinstance(content, dict):
        raise PlanError(f"{plan} is not a keep-plan: give a file of Plan.to_dict or 'edgeprune search'")
    return KeepPlan.from_dict(content, f"{plan} is not a keep-plan")
