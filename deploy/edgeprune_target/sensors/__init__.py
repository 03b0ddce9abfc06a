"""The power sensors, by name. Each is one short file.

A sensor is a ``Sensor`` (base.py), made with ``(argument, root, clock)``. It has

    unit        "joules": ``read`` returns accumulated energy;  "watts": current power
    total_kind  meaning of the sum of all its rails, if no profile defines a total: "measured_input",
                "rail_sum", or "none". Energies of different kinds must not be compared.
    period_s    how often to read it while measuring, seconds
    why_not()   None if it is available, else the reason and the remedy
    read()      {rail: number}, or an empty dict if this reading failed
    take()      [(time_ns, {rail: number})] since the last call
    close()     ends what it started
"""

from __future__ import annotations

from importlib import import_module
from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.errors import TargetError

# name -> (module, class)
SENSORS = {
    "ina238": ("edgeprune_target.sensors.ina238", "Ina238"),
    "ina3221": ("edgeprune_target.sensors.ina3221", "Ina3221"),
    "ina3221x": ("edgeprune_target.sensors.ina3221x", "Ina3221x"),
    "none": ("edgeprune_target.sensors.none", "NoSensor"),
    "nvml": ("edgeprune_target.sensors.nvml", "NvmlSensor"),
    "rapl": ("edgeprune_target.sensors.rapl", "Rapl"),
    "replay": ("edgeprune_target.sensors.replay", "ReplaySensor"),
    "rpi5": ("edgeprune_target.sensors.rpi5", "RaspberryPi5"),
    "tegrastats": ("edgeprune_target.sensors.tegrastats", "Tegrastats"),
}


def make_sensor(spec: str, root: str = "/", clock: Callable[[], int] = perf_counter_ns) -> Any:
    """Make the sensor of ``name``, ``name:argument`` or ``name+name``, whether it is available or not.

    Args:
        spec: that text.
        root: the folder used in place of ``/``.
        clock: returns ns, for the times of readings.

    Raises:
        TargetError: no sensor has that name.
    """
    parts = spec.split("+")
    if len(parts) > 1 and all(part.partition(":")[0] in SENSORS for part in parts):
        from edgeprune_target.sensors.joined import Joined

        joined = Joined([make_sensor(part, root, clock) for part in parts])
        joined.name = "+".join(part.name for part in joined.parts)
        return joined
    name, _, argument = spec.partition(":")
    if name not in SENSORS:
        raise TargetError(f"unknown sensor {name!r}: known are {', '.join(sorted(SENSORS))}")
    module, kind = SENSORS[name]
    sensor = getattr(import_module(module), kind)(argument, root, clock)
    sensor.name = name
    return sensor


def first_available(specs: list, root: str = "/", clock: Callable[[], int] = perf_counter_ns) -> tuple:
    """Return ``(sensor, reasons)``: the first available one of ``specs``, and why those before it are not.

    If none is available, the sensor is ``none`` and the reasons name every sensor that was tried.

    Args:
        specs: as for `make_sensor`, in order of preference.
        root: the folder used in place of ``/``.
        clock: returns ns, for the times of readings.
    """
    reasons: list = []
    for spec in specs:
        sensor = make_sensor(spec, root, clock)
        reason = sensor.why_not()
        if reason is None:
            return sensor, reasons
        sensor.close()
        reasons.append(f"{spec}: {reason}")
    return make_sensor("none", root, clock), reasons or ["no power sensor was asked for"]


def probe_all(specs: list, root: str = "/") -> list:
    """Probe each of ``specs``, in order: ``[{"sensor", "answers", "reason", "unit", "rails"}]``.

    ``rails`` is one reading; for a counter, whose value is meaningless by itself, only the names, with None.
    """
    probes = []
    for spec in specs:
        sensor = make_sensor(spec, root)
        reason = sensor.why_not()
        rails = sensor.read() if reason is None else {}
        sensor.close()
        if sensor.unit == "joules":
            rails = dict.fromkeys(rails)
        probes.append(
            {
                "sensor": spec,
                "answers": reason is None,
                "reason": reason,
                "unit": sensor.unit,
                "rails": rails,
            }
        )
    return probes
