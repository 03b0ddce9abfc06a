"""Bind the resource energy to a device: its latency table, the power of its layers, and the unpruned network's energy.

The energy of a layer is its time by the latency table, times the mean power while such layers run, by the power table
(power.py). The sum over a network is scaled so that the unpruned one takes what was measured of it. All energies
include the idle power of the device, as those of `edgeprune bench` do.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from edgeprune.budget import Target
from edgeprune.errors import LatencyError, TargetError
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.estimator import ByTable, LatencyEstimator
from edgeprune.latency.power import PowerTable, power_place
from edgeprune.latency.power_profiling import Power, PowerMeter, build_power
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import EnergySource
from edgeprune.resources import ENERGY
from edgeprune.resources.energy import Energy

ENERGY_PLAN_SECONDS = 600.0  # a plan takes one minute, two if it meets the target, more on a busy machine


class EnergyOn(ByTable, Energy):
    """Millijoules on one device, by its latency table and its power table.

    Args:
        estimator: predicts the energy of any plan: its table has mJ in place of ms.
        conditions: sensor, what it counts, the idle power, and the unpruned network's energy.
    """

    def __init__(self, estimator: LatencyEstimator, conditions: dict[str, Any]) -> None:
        super().__init__(estimator)
        self.conditions = conditions


def need_energy(targets: tuple[Target, ...]) -> bool:
    """Return whether one of the targets is an energy."""
    return any(target.kind == ENERGY for target in targets)


def refuse_energy(targets: tuple[Target, ...], why: str) -> None:
    """Raise TargetError if one of the targets is an energy.

    Args:
        targets: as parsed.
        why: it cannot be, and what to do.
    """
    for target in targets:
        if target.kind == ENERGY:
            raise TargetError(f"{target}: {why}")


def unpruned_power(timer: EndToEndTimer, progress: ProgressCallback = no_progress) -> Power:
    """Measure what the unpruned network takes; from then on the timer measures energies, too.

    This comes before anything else that takes time: a device without a sensor is known at once.

    Args:
        timer: of the device.
        progress: called with ``(done, total, text)``.

    Raises:
        LatencyError: no sensor answers; says which were asked.
        BenchError: the network could not be run.
    """
    device = timer.bench_target.device
    if not device.sensors:
        raise LatencyError(
            f"an energy target needs a power sensor, and {device.title} has none by its profile: name a device with "
            "one (see edgeprune devices)"
        )
    values = torch.zeros(2, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    power = Power(0.0, 0.0, None, EnergySource())
    if world().is_main:
        progress(0, 1, "energy of the unpruned network")
        meter = PowerMeter(timer.bench_target)
        try:
            power = meter.measure(timer.baseline_file, "the unpruned network", keep=True)
        except LatencyError as error:
            raise LatencyError(f"an energy target needs a power sensor on {device.title}: {error}") from error
        values.copy_(torch.tensor([power.mj, power.watts], dtype=torch.float64))
    mj, watts = world().broadcast(values).tolist()
    timer.energy_source = power.source
    return replace(power, mj=mj, watts=watts)


def energy_on(
    unpruned: Power,
    timer: EndToEndTimer,
    estimator: LatencyEstimator,
    lut: Path | None = None,
    progress: ProgressCallback = no_progress,
) -> EnergyOn:
    """Return the energy of plans on a timer's device; layers whose power is not known are measured first.

    Args:
        unpruned: what the unpruned network takes.
        timer: of the device.
        estimator: predicts latencies.
        lut: the latency table, beside which the power table is kept; None for the usual one.
        progress: called with ``(done, total, text)``.

    Raises:
        LatencyError: the power table is of another device or sensor, or the sensor stopped.
        ExportError, BenchError: a layer's file cannot be written or run.
        InUseError: another process builds the table.
    """
    where = timer.bench_target
    place = power_place(lut or where.lut)
    if world().is_main:
        build_power(estimator.model, estimator.table, PowerMeter(where), unpruned.source, place, progress)
    world().wait()
    power = PowerTable.load(place)
    in_mj = replace(estimator, table=power.energies(estimator.table, unpruned.watts), _last=None)
    by_table_mj = in_mj.on(estimator.original).ms()
    conditions = {
        **{name: power.conditions[name] for name in ("sensor", "total_kind", "total_rails", "idle")},
        "idle_w": unpruned.idle_w if unpruned.idle_w is not None else power.idle_w,
        "baseline_mj": unpruned.mj,
        "baseline_mj_by_table": by_table_mj,
    }
    return EnergyOn(replace(in_mj, correction=unpruned.mj / by_table_mj, _last=None), conditions)
