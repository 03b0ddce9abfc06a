"""The course of a pruning: at which steps channels are removed, how many, and by which criterion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeprune.errors import TrainError

if TYPE_CHECKING:
    from edgeprune.methods.schedules import Schedule

PLATEAU_SHARE = 0.8  # of all steps, after which pruning begins even if the loss has not levelled off


@dataclass(frozen=True)
class Removal:
    """One removal: after ``step`` steps, ``progress`` (0..1) of the pruning is done (0: nothing is removed)."""

    step: int
    progress: float
    criterion: str


@dataclass(frozen=True)
class Course:
    """The steps of a run at which a method's removals happen.

    Args:
        criteria: names of the criteria that score channels; the second of two is used after the switch.
        schedule: distributes the removals over the window.
        moment: 'start', 'epoch:N', 'plateau' (once the loss levels off) or 'end'.
        per_epoch: steps of an epoch.
        total: steps of the run, fine-tuning included.
        window: steps from the moment to the last removal, for a schedule that takes time.
        count: removals of an iterative schedule.
        switch: share of the removals that use the first of two criteria.
    """

    criteria: tuple[str, ...]
    schedule: "Schedule"
    moment: str
    per_epoch: int
    total: int
    window: int
    count: int
    switch: float

    def __post_init__(self) -> None:
        needs = self._needs
        latest = self.moment_step
        if latest is not None and latest + needs > self.total:
            what = f"`moment={self.moment}`" + (f" and `prune_iterations={needs}`" if needs else "")
            raise TrainError(
                f"{what}: that is beyond the {self.total} steps of this run ({self.per_epoch} an epoch); "
                "raise `epochs`, or prune earlier"
            )

    @property
    def _needs(self) -> int:
        """Steps from the moment to the last removal."""
        return self.window if self.schedule.takes_time else 0

    @property
    def moment_step(self) -> int | None:
        """Training steps before pruning begins; None if it depends on the loss."""
        if self.moment == "plateau":
            return None
        if self.moment.startswith("epoch:"):
            return int(self.moment.removeprefix("epoch:")) * self.per_epoch
        return {"start": 0, "end": self.total}[self.moment]

    @property
    def longest_lead(self) -> int:
        """Steps after which pruning begins even without a plateau."""
        return max(0, min(round(PLATEAU_SHARE * self.total), self.total - self._needs))

    @property
    def lead(self) -> Removal:
        """Training up to a plateau, as a removal of no channels."""
        return Removal(self.longest_lead, 0.0, self.criteria[0])

    def removals(self, moment: int) -> list[Removal]:
        """Return every removal of a pruning that begins after ``moment`` steps."""
        return self.schedule.removals(self, moment)

    def criterion(self, number: int) -> str:
        """Return the criterion of one of `count` removals, numbered from 0."""
        first = len(self.criteria) == 1 or number < round(self.switch * self.count)
        return self.criteria[0 if first else -1]

    def next_after(self, steps: Sequence[int]) -> Removal | None:
        """Return the next removal, None after the last. The lead-in to a plateau counts as a removal of no channels.

        Args:
            steps: training steps before each removal so far.
        """
        done, moment = len(steps), self.moment_step
        if moment is None:
            if done == 0:
                return self.lead
            moment, done = steps[0], done - 1
        removals = self.removals(moment)
        return removals[done] if done < len(removals) else None
