"""The plan of work: one row for each method, moment and seed."""

from dataclasses import dataclass
from typing import Any

from edgeprune.comparison.options import CompareOptions


@dataclass(frozen=True)
class PlannedRow:
    """One run of `train-prune`; ``moment`` belongs to the moment-of-pruning study."""

    method: str
    seed: int
    moment: str | None = None

    @property
    def name(self) -> str:
        """Name of its folder: 'l1-seed0', 'l1-epoch4-seed0'."""
        return "-".join([*self._parts(), f"seed{self.seed}"])

    @property
    def label(self) -> str:
        """Label that rows with other seeds share: 'l1', 'l1 at epoch 4'."""
        return self.method if self.moment is None else f"{self.method} at {self.moment.replace(':', ' ')}"

    def _parts(self) -> list[str]:
        return [self.method] if self.moment is None else [self.method, self.moment.replace(":", "")]

    def own_training(self) -> dict[str, Any]:
        """Return the options that distinguish the row from others, as fields of `TrainPruneOptions`.

        The study prunes once, at its moment, in a training from random weights (V. Martineau, "Applying
        Pruning Filters in Convolutional Neural Network"), which takes the same epochs in every row.
        """
        own: dict[str, Any] = {"method": self.method, "seed": self.seed}
        if self.moment is not None:
            own |= {"moment": self.moment, "init": "random", "prune_schedule": "one-shot"}
        return own


def planned_rows(options: CompareOptions) -> list[PlannedRow]:
    """Return the rows seed by seed, so that a comparison that is stopped early has every method."""
    return [
        PlannedRow(method, seed, moment)
        for seed in range(options.seeds)
        for method in options.methods
        for moment in options.moments or (None,)
    ]
