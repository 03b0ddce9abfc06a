"""What a user may choose about pruning itself; a method says which of it it has a use for."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """How channels are chosen and when they go; None means "as the method's source has it".

    Attributes:
        method: a name in `edgeprune.methods.names`.
        plan: a file that says what goes, in the place of a method.
        opaque: modules that are kept whole.
        prune_schedule: a name in `edgeprune.methods.SCHEDULES`.
        prune_iterations: steps of the pruning phase, for a schedule that takes time.
        prune_steps: removals of an iterative schedule.
        moment: when pruning begins: 'start', 'epoch:N', 'plateau' or 'end'.
        switch: share of the removals that are made by a method's first criterion, where it has two.
        shrink: share of its size that a penalty takes off a scale the loss does not defend.
        reduction: of a criterion over coupled layers.
        normalise: of a criterion between layers.
        score_batches: batches of images that a criterion looks at.
        reconstruct: how the next layers are fitted after a removal.
        optimizer_state: 'reset', or 'slice' to cut it with the channels.
        mask_images: images of a batch that the learned method's pruning-models see.
        offset: of the learned method's continuous mask.
        floor: no layer keeps fewer channels.
    """

    method: str = "learned"
    plan: str | None = None
    opaque: list[str] | None = None
    prune_schedule: str | None = None
    prune_iterations: int | None = None
    prune_steps: int = 5
    moment: str = "start"
    switch: float = 0.5
    shrink: float = 0.66
    reduction: str | None = None
    normalise: str | None = None
    score_batches: int = 10
    reconstruct: str | None = None
    optimizer_state: str = "reset"
    mask_images: int = 8
    offset: float = 1.15
    floor: int = 2


def dashed(name: str) -> str:
    """An option as it is typed."""
    return name.replace("_", "-")
