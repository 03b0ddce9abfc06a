"""The targets of a budget that are measured on its device: of several, the one furthest from its goal decides."""

from collections.abc import Mapping
from dataclasses import dataclass

from edgeprune.budget import Budget, Target
from edgeprune.latency.calibrate import Interval, Measured
from edgeprune.resources import ENERGY


@dataclass(frozen=True)
class DeviceGoals:
    """The goals of latency and energy of one budget; shares are on the scale of the first of them.

    Attributes:
        budget: with at least one target that needs a device.
    """

    budget: Budget

    @property
    def targets(self) -> list[Target]:
        """The targets that are measured on the device."""
        return [target for target in self.budget.targets if target.resource.needs_device]

    @property
    def shares(self) -> dict[str, float]:
        """The goal of each as a fraction of what the unpruned model takes."""
        goals, originals = self.budget.goals, self.budget.originals
        return {target.kind: goals[target.kind] / originals[target.kind] for target in self.targets}

    @property
    def first_share(self) -> float:
        """The goal of the first as a fraction."""
        return self.shares[self.targets[0].kind]

    def at(self, share: float) -> dict[str, float]:
        """Return the goals if that of the first were ``share``, and the others as much tighter or looser."""
        tighter = share / self.first_share
        return {kind: tighter * own * self.budget.originals[kind] for kind, own in self.shares.items()}

    def predicted(self, shares: Mapping[str, float]) -> float:
        """Return the share of a plan that takes these shares, by kind: that of the one furthest from its goal."""
        return self.first_share * max(shares[kind] / own for kind, own in self.shares.items())

    def ratio(self, measured: Measured) -> float:
        """Return the measured amount over the target, of the target that is furthest from being met."""
        return max(self.ratios(measured).values())

    def interval(self, measured: Measured) -> Interval:
        """Return the ratio of the baseline and the plan, with its ends, of the target that decides."""
        ratios = self.ratios(measured)
        return measured.of(max(ratios, key=lambda kind: ratios[kind]))[1]

    def worst_share(self, measured: Measured) -> float:
        """Return the share of the baseline that a plan takes, of the resource that it saves least of."""
        return max(1 / measured.of(target.kind)[1][0] for target in self.targets)

    def ratios(self, measured: Measured) -> dict[str, float]:
        """Return the measured amount over the target, by the kind of target."""
        ratios = {}
        for target in self.targets:
            amount, (value, _, _) = measured.of(target.kind)
            if target.amount is not None:
                ratios[target.kind] = amount / target.amount
            else:
                ratios[target.kind] = 1 / value / self.shares[target.kind]
        return ratios


def energy_note(measured: Measured, predicted: float, source: Mapping[str, object]) -> str:
    """Describe measured energies in words.

    Args:
        measured: with energies.
        predicted: share of the baseline's energy by the table.
        source: the sensor, and what it counts.
    """
    energy = measured.energy
    assert energy is not None
    value, low, high = energy.ratio
    rails = source["total_rails"]
    counted = "+".join(map(str, rails)) if isinstance(rails, list | tuple) else ""
    return (
        f"energy of an inference: {energy.pruned_mj:.4g} mJ of {energy.baseline_mj:.4g} mJ, {value:.3f} times less "
        f"({low:.3f} to {high:.3f}), by {source['sensor']} ({source['total_kind']} of {counted}, idle power included); "
        f"the table said {1 / predicted:.3f}"
    )


def energy_record(measured: Measured, predicted: float) -> dict[str, object]:
    """Return what the record of an attempt has of its energy; nothing where that is not a target.

    Args:
        measured: of the attempt.
        predicted: share of the baseline's energy by the table.
    """
    if measured.energy is None:
        return {}
    share = 1 / measured.energy.ratio[0]
    own = {"predicted_fraction": predicted, "table_error": predicted / share - 1}
    return {ENERGY: {**measured.energy.to_dict(), **own}}
