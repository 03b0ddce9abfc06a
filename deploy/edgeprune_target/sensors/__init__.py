"""The power sensors, by name. Each is one short file.

A sensor is made with ``(argument, root)``: the text after the colon in ``name:argument``, and the folder that
stands for ``/`` (tests give a made-up one). It has

    unit        "joules": ``read`` gives energy counted up since some moment;  "watts": power just now
    total_kind  "measured_input", "rail_sum" or "none": what the total of its rails stands for. Energies
                of different kinds must not be compared.
    period_s    how often to read it while measuring, seconds
    why_not()   None when it answers, else the reason, with what to do about it
    read()      {rail: number}, or an empty dict when this one reading failed
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeprune_target.errors import TargetError

# name -> (module, class)
SENSORS = {
    "none": ("edgeprune_target.sensors.none", "NoSensor"),
    "rapl": ("edgeprune_target.sensors.rapl", "Rapl"),
    "replay": ("edgeprune_target.sensors.replay", "Replay"),
}


def make_sensor(spec: str, root: str = "/") -> Any:
    """The sensor ``name`` or ``name:argument`` asks for, whether it answers or not.

    Raises:
        TargetError: no sensor has that name.
    """
    name, _, argument = spec.partition(":")
    if name not in SENSORS:
        raise TargetError(f"unknown sensor {name!r}: known are {', '.join(sorted(SENSORS))}")
    module, kind = SENSORS[name]
    return getattr(import_module(module), kind)(argument, root)


def first_that_answers(specs: list, root: str = "/") -> tuple:
    """``(sensor, reasons)``: the first of ``specs`` that answers, and why those before it did not.

    When none does, the sensor is ``none`` and the reasons name every one that was tried.
    """
    reasons: list = []
    for spec in specs:
        sensor = make_sensor(spec, root)
        reason = sensor.why_not()
        if reason is None:
            return sensor, reasons
        reasons.append(f"{spec}: {reason}")
    return make_sensor("none"), reasons or ["no power sensor was asked for"]
