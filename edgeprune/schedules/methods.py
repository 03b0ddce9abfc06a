"""Every way of pruning by name: its criterion, and the schedule its source prunes by."""

from dataclasses import dataclass

from edgeprune.importance import CRITERIA

SCHEDULES = ("one-shot", "iterative", "soft", "regularised")


@dataclass(frozen=True)
class Method:
    """A criterion and what its source does around it; each may be chosen otherwise.

    Args:
        criterion: scores the channels.
        schedule: one of `SCHEDULES`.
        reconstruct: how the next layers' weights are fitted anew: none, scale or kernel.
        later: the criterion after the switching point, where it changes.
    """

    criterion: str
    schedule: str = "one-shot"
    reconstruct: str = "none"
    later: str | None = None

    @property
    def criteria(self) -> tuple[str, ...]:
        """All that it scores by."""
        return (self.criterion,) if self.later is None else (self.criterion, self.later)


# The learned criterion has a phase of its own and no entry in CRITERIA; nor has sss, whose scores are what
# its training leaves. Sources: methods.md section 5, one by one; section 2 for saliency, then similarity.
METHODS: dict[str, Method | None] = {
    "learned": None,
    **{name: Method(name) for name in CRITERIA},
    "l2": Method("l2", "soft"),
    "fpgm": Method("fpgm", "soft"),
    "taylor": Method("taylor", "iterative"),
    "bn-scale": Method("bn-scale", "regularised"),
    "ssl": Method("ssl", "regularised"),
    "sss": Method("sss", "regularised"),
    "thinet": Method("thinet", reconstruct="scale"),
    "lasso": Method("lasso", reconstruct="kernel"),
    "saliency-similarity": Method("l1", "iterative", later="similarity"),
}

PLAN = "plan"  # as a method: what goes is written in a file, and nothing is scored


def method_of(name: str) -> Method | None:
    """The method of that name; None for the learned one."""
    return Method(PLAN) if name == PLAN else METHODS[name]
