"""Decide whether two energies may be compared."""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import BenchError


def why_not_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """Return the reason why two energies cannot be compared; None when they count the same thing.

    Each has ``total_kind`` and ``total_rails``. Measured inputs are comparable whatever their rails are
    called. Sums of rails are comparable only over the same rails, since what is left out differs otherwise.
    """
    kinds = first["total_kind"], second["total_kind"]
    if "none" in kinds:
        return "one of them has no total"
    if kinds[0] != kinds[1]:
        return f"one is a {kinds[0]} ({_rails(first)}), the other a {kinds[1]} ({_rails(second)})"
    if kinds[0] == "rail_sum" and set(first["total_rails"]) != set(second["total_rails"]):
        return f"one is the sum of {_rails(first)}, the other of {_rails(second)}"
    return None


def energy_ratio(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Return the energy per inference of ``first`` over that of ``second``; above 1, ``second`` saves.

    Args:
        first: one model of a result, as in ``result["models"]["baseline"]``.
        second: another, of the same result or of another device's.

    Raises:
        BenchError: either has no energy, or they do not count the same thing.
    """
    for model in (first, second):
        if model["energy_mj_per_inference"] is None:
            raise BenchError(f"{model['file']} has no energy: {model['energy_reason']}")
    reason = why_not_comparable(first["energy"], second["energy"])
    if reason is not None:
        raise BenchError(f"the energies of {first['file']} and {second['file']} cannot be compared: {reason}")
    return float(first["energy_mj_per_inference"] / second["energy_mj_per_inference"])


def refuse_mixed_energy(models: dict[str, dict[str, Any]]) -> None:
    """Remove the energies from ``models``, of one result, when they do not count the same thing."""
    with_energy = [model for model in models.values() if model["energy_mj_per_inference"] is not None]
    for model in with_energy[1:]:
        reason = why_not_comparable(with_energy[0]["energy"], model["energy"])
        if reason is not None:
            for affected in with_energy:
                affected["energy_mj_per_inference"] = affected["energy_net_mj_per_inference"] = None
                affected["energy_reason"] = f"the models' energies cannot be compared: {reason}"
            return


def _rails(energy: Mapping[str, Any]) -> str:
    return "+".join(energy["total_rails"])
