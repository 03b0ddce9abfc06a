"""What a user may choose about pruning itself; a method says which of it has an effect."""

from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.options.bounds import BATCHES, CHANNELS, IMAGES_PER_BATCH, SHARE, STEPS
from edgeprune.options.checks import Choice, Count, Pattern, Quantity
from edgeprune.options.fields import option

IN_SEQUENCE = ("sequential", "merge")  # fits that need many images, and those at once
SENSITIVITY, MASKS = "sensitivity", "masks"
MOMENT = r"start|plateau|end|epoch:[0-9]{1,6}"


def _schedules() -> Sequence[str]:
    from edgeprune.methods.schedules import SCHEDULES

    return SCHEDULES.names()


def _own_schedules() -> Sequence[str]:
    from edgeprune.methods.schedules import SCHEDULES

    return SCHEDULES.registered()


def _reductions() -> Sequence[str]:
    from edgeprune.importance.combine import REDUCTIONS

    return tuple(REDUCTIONS)


def _normalisers() -> Sequence[str]:
    from edgeprune.importance.combine import NORMALISERS

    return tuple(NORMALISERS)


def _fits() -> Sequence[str]:
    from edgeprune.reconstruct import WAYS

    return WAYS


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How channels are chosen and when they are pruned; None means "as the method's source has it"."""

    method: str = option(
        "learned",
        "Choose channels by this method; list them with --methods.",
        "method",
        main=True,
        metavar="NAME",
    )
    plan: str | None = option(
        None,
        "Prune what this file says, as 'edgeprune search' or Plan.to_dict wrote it, instead of choosing.",
        "method",
        metavar="FILE",
    )
    opaque: list[str] | None = option(
        None,
        "Keep this module whole, whatever its code does; name it or its class. May be repeated.",
        "model",
        metavar="NAME",
    )
    prune_schedule: str | None = option(
        None,
        "Remove channels by this schedule, with a criterion: {choices}.",
        "method",
        Choice(_schedules, _own_schedules),
        metavar="NAME",
        unset="the method's own",
    )
    prune_iterations: int | None = option(
        None,
        "Set the steps of the pruning phase.",
        "method",
        STEPS,
        unset="4000, or 40 % of all; learned: 10 %, or 400",
    )
    prune_steps: int = option(
        5, "Set the number of removals of an iterative schedule.", "method", Count(1, 1_000)
    )
    moment: str = option(
        "start",
        "Prune with a criterion at this moment: {choices}.",
        "method",
        Pattern(MOMENT, ("start", "epoch:N", "plateau", "end")),
        metavar="WHEN",
    )
    switch: float = option(
        0.5,
        "Set the share of removals by saliency before saliency-similarity turns to similarity.",
        "method",
        SHARE,
    )
    shrink: float = option(
        0.66,
        "Set the fraction by which the penalty shrinks a weight that has no loss gradient.",
        "method",
        Quantity(0, 100),
    )
    reduction: str | None = option(
        None,
        "Combine a criterion's scores over coupled layers by {choices}.",
        "method",
        Choice(_reductions, lambda: ("mean", "sum", "max", "product")),
        metavar="NAME",
        unset="the method's own",
    )
    normalise: str | None = option(
        None,
        "Normalise each layer's scores by {choices}.",
        "method",
        Choice(_normalisers, lambda: ("mean", "max", "sum", "l2", "none")),
        metavar="NAME",
        unset="the method's own",
    )
    score_batches: int = option(10, "Score a criterion on this many batches of 64 images.", "method", BATCHES)
    reconstruct: str | None = option(
        None,
        "Fit the next layers by least squares after a removal: {choices}.",
        "method",
        Choice(_fits, lambda: ("none", "scale", "fold", "kernel", "sequential", "merge")),
        metavar="NAME",
        unset="the method's own",
    )
    optimizer_state: str = option(
        "reset",
        "Handle the optimizer's state after a removal: {choices} it with the channels.",
        "method",
        Choice(("reset", "slice")),
        metavar="NAME",
    )
    mask_images: int = option(
        8, "Show the pruning-models this many images of each batch.", "method", IMAGES_PER_BATCH
    )
    allocation: str | None = option(
        None,
        "Decide what each layer loses, with the learned method, by {choices}.",
        "method",
        Choice((SENSITIVITY, MASKS)),
        metavar="NAME",
        unset="sensitivity, where there are images and outputs to compare",
    )
    offset: float = option(1.15, "Set the offset of the continuous mask.", "method", Quantity(0, 1_000))
    floor: int = option(2, "Keep at least this many channels in every layer.", "target", CHANNELS)
