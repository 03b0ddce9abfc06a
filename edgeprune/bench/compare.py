"""Whether two energies may be set side by side."""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import BenchError


def why_not_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> str | None:
    """None when two energies count the same thing, else the reason.

    Each has ``total_kind`` and ``total_rails``. A measured input is a measured input, whatever its rail is
    called. Sums of rails are alike only when they are of the same rails: what is left out differs otherwise.
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
    """How many times the energy per inference of ``second`` that of ``first`` is: above 1, ``second`` saves.

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
    """Take the energies out of ``models``, of one result, when they do not count the same thing."""
    with_energy = [model for model in models.values() if model["energy_mj_per_inference"] is not None]
    for model in with_energy[1:]:
        reason = why_not_comparable(with_energy[0]["energy"], model["energy"])
        if reason is not None:
            for one in with_energy:
                one["energy_mj_per_inference"] = one["energy_net_mj_per_inference"] = None
                one["energy_reason"] = f"the models' energies cannot be compared: {reason}"
            return


def _rails(energy: Mapping[str, Any]) -> str:
    return "+".join(energy["total_rails"])
