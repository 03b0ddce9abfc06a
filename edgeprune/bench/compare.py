"""Decide whether two energies may be compared."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec.structs import replace

from edgeprune.errors import BenchError
from edgeprune.records.bench import MeasuredModel


class Total(Protocol):
    """What an energy counts."""

    @property
    def total_kind(self) -> str:
        """An input, or a sum of rails."""

    @property
    def total_rails(self) -> Sequence[str]:
        """The rails in it."""


def why_not_comparable(first: Total, second: Total) -> str | None:
    """Return the reason why two energies cannot be compared; None when they count the same thing.

    Measured inputs are comparable whatever their rails are called. Sums of rails are comparable only over the same
    rails, since what is left out differs otherwise.
    """
    kinds = first.total_kind, second.total_kind
    if "none" in kinds:
        return "one of them has no total"
    if kinds[0] != kinds[1]:
        return f"one is a {kinds[0]} ({_rails(first)}), the other a {kinds[1]} ({_rails(second)})"
    if kinds[0] == "rail_sum" and set(first.total_rails) != set(second.total_rails):
        return f"one is the sum of {_rails(first)}, the other of {_rails(second)}"
    return None


def energy_ratio(first: MeasuredModel, second: MeasuredModel) -> float:
    """Return the energy per inference of ``first`` over that of ``second``; above 1, ``second`` saves.

    Args:
        first: one model of a result, as in ``result.models["baseline"]``.
        second: another, of the same result or of another device's.

    Raises:
        BenchError: either has no energy, or they do not count the same thing.
    """
    energies = []
    for model in (first, second):
        if model.energy_mj_per_inference is None:
            raise BenchError(f"{model.file} has no energy: {model.energy_reason}")
        energies.append(model.energy_mj_per_inference)
    reason = why_not_comparable(first.energy, second.energy)
    if reason is not None:
        raise BenchError(f"the energies of {first.file} and {second.file} cannot be compared: {reason}")
    return energies[0] / energies[1]


def without_mixed_energy(models: Mapping[str, MeasuredModel]) -> dict[str, MeasuredModel]:
    """Return the models of one result, without energies when those do not count the same thing."""
    with_energy = [model for model in models.values() if model.energy_mj_per_inference is not None]
    reasons = (why_not_comparable(with_energy[0].energy, model.energy) for model in with_energy[1:])
    reason = next((reason for reason in reasons if reason is not None), None)
    if reason is None:
        return {**models}
    return {
        name: model
        if model.energy_mj_per_inference is None
        else replace(
            model,
            energy_mj_per_inference=None,
            energy_net_mj_per_inference=None,
            energy_reason=f"the models' energies cannot be compared: {reason}",
        )
        for name, model in models.items()
    }


def _rails(energy: Total) -> str:
    return "+".join(energy.total_rails)
