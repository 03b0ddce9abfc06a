"""The course of a pruning: at which steps how much goes, and by which criterion."""

import re
from dataclasses import dataclass

from edgeprune.errors import TrainError
from edgeprune.schedules.methods import Method

MOMENT = re.compile(r"start|plateau|end|epoch:[0-9]{1,6}")
PLATEAU_SHARE = 0.8  # of all steps, by which a loss that never levels off is taken to have done so


@dataclass(frozen=True)
class Removal:
    """One removal: after ``step`` training steps, ``way`` of what is to go is gone (0: nothing goes)."""

    step: int
    way: float
    criterion: str


@dataclass(frozen=True)
class Course:
    """Where the removals of a method fall among the steps of a run.

    Args:
        method: what prunes.
        schedule: one of `SCHEDULES`.
        moment: 'start', 'epoch:N', 'plateau' (once the loss levels off) or 'end'.
        per_epoch: steps of an epoch.
        whole: steps of the whole run, fine-tuning included.
        window: steps from the moment to the end of pruning, for a schedule that takes time.
        count: removals of an iterative schedule.
        switch: share of the removals that are made by the method's first criterion, where it has two.
    """

    method: Method
    schedule: str
    moment: str
    per_epoch: int
    whole: int
    window: int
    count: int
    switch: float

    def __post_init__(self) -> None:
        needs = self.window if self.schedule != "one-shot" else 0
        latest = self.moment_step
        if latest is not None and latest + needs > self.whole:
            what = f"--moment {self.moment}" + (f" and --prune-iterations {needs}" if needs else "")
            raise TrainError(
                f"{what}: that is beyond the {self.whole} steps of this run ({self.per_epoch} an epoch); "
                "raise --epochs, or prune earlier"
            )

    @property
    def moment_step(self) -> int | None:
        """Training steps before pruning begins; None where the loss says so."""
        if self.moment == "plateau":
            return None
        if self.moment.startswith("epoch:"):
            return int(self.moment.removeprefix("epoch:")) * self.per_epoch
        return {"start": 0, "end": self.whole}[self.moment]

    @property
    def longest_lead(self) -> int:
        """Steps by which a plateau is taken as reached."""
        needs = self.window if self.schedule != "one-shot" else 0
        return max(0, min(round(PLATEAU_SHARE * self.whole), self.whole - needs))

    def removals(self, moment: int) -> list[Removal]:
        """Every removal, when pruning begins after ``moment`` steps."""
        if self.schedule != "iterative":
            step = moment if self.schedule == "one-shot" else moment + self.window
            return [Removal(step, 1.0, self.method.later or self.method.criterion)]
        return [
            Removal(
                moment + round(self.window * number / self.count),
                (number + 1) / self.count,
                self._criterion(number),
            )
            for number in range(self.count)
        ]

    def _criterion(self, number: int) -> str:
        first = self.method.later is None or number < round(self.switch * self.count)
        return self.method.criterion if first else str(self.method.later)


def check_moment(moment: str) -> None:
    """Raise TrainError unless ``moment`` is one of those `Course` knows."""
    if not MOMENT.fullmatch(moment):
        raise TrainError(f"--moment {moment!r}: write start, epoch:N, plateau or end")
