"""What a device is: its runtime, its alignment, its power sensors; read from profiles/*.toml."""

import sys
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from edgeprune.errors import BenchError, known

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class Device:
    """One profile.

    Attributes:
        name: of the profile, as in ``--device NAME``.
        title: for people.
        runtime: of the target-side runner.
        precision: of the numbers, by default.
        batch: images per inference, by default.
        alignment: precision -> the multiple that channel counts are best kept at.
        sensors: of power, in the order they are tried; each is a sensor name of the runner.
        total_kind: "measured_input", "rail_sum" or "none": what the sum of the rails stands for.
    """

    name: str
    title: str
    runtime: str
    precision: str = "fp32"
    batch: int = 1
    alignment: dict[str, int] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()
    total_kind: str = "none"


def device_names() -> list[str]:
    """Names of all profiles, sorted."""
    folder = files("edgeprune.profiles")
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def load_device(name: str) -> Device:
    """The profile ``name``.

    Raises:
        BenchError: there is none of that name; the message lists those there are.
    """
    if name not in device_names():
        raise BenchError(known("device", name, device_names()))
    text = (files("edgeprune.profiles") / f"{name}.toml").read_text(encoding="utf-8")
    return parse_device(name, tomllib.loads(text))


def parse_device(name: str, profile: dict[str, Any]) -> Device:
    """A profile's TOML as a ``Device``; an unknown key is an error, so that no typing slip goes unseen."""
    content = dict(profile)
    power = dict(content.pop("power", {}))
    try:
        return Device(name=name, **content, sensors=tuple(power.pop("sensors", ())), **power)
    except TypeError as error:
        raise BenchError(f"profile {name}.toml is not right: {error}") from error
