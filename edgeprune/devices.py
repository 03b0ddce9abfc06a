"""Device profiles: runtimes, alignment and power sensors of each device, read from profiles/*.toml."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from edgeprune.errors import BenchError, known, one_line
from edgeprune.files.reading import parse_toml, read_bytes
from edgeprune.records import check
from edgeprune.records.profiles import ProfileRecord
from edgeprune.registry import ObjectRegistry

KINDS = ("measured_input", "rail_sum")
JETSON = "jetson"  # as a name: the Jetson that is detected
AUTO = "auto"  # as a name: the device that is detected
X86_NVIDIA, PHONE, CPU, BROWSER = "x86-nvidia", "android-phone", "cpu", "browser"


@dataclass(frozen=True)
class Total:
    """A definition of a device's total power.

    Attributes:
        kind: "measured_input" (one sensor in the supply line) or "rail_sum" (sum of rails).
        rails: the rails to add; "*" is every rail.
    """

    kind: str
    rails: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not self.rails:
            raise ValueError(f"a total needs a kind ({' or '.join(KINDS)}) and rails")

    def __str__(self) -> str:
        """Return the form that the runner parses: ``rail_sum=GPU+CPU``."""
        return f"{self.kind}={'+'.join(self.rails)}"


@dataclass(frozen=True)
class Device:
    """A device profile.

    Attributes:
        name: of the profile, as in ``--device NAME``.
        title: full name, for messages.
        runtime: of the target-side runner: the preferred one, or the one chosen by ``running_on``.
        precision: default precision of that runtime.
        runtimes: runtime -> its default precision, in order of preference; empty if there is no choice.
        batch: default number of images per inference.
        alignment: precision -> the multiple to which channel counts should be aligned.
        sensors: names of the runner's power sensors, in the order in which they are tried.
        rails: known power rails of the board.
        totals: definitions of the total power; the first whose rails all answer is used.
        soc: the chip, such as "tegra234".
        compute: the GPU's CUDA compute capability.
        memory_gb: memory sizes on the market, the most common first.
        jetpack: JetPack version -> TensorRT version.
        parts: words of the device tree's ``compatible`` that identify exactly this board.
        models: words of the device tree's ``model`` that identify it.
        assumed: the actual machine, if the user insisted on this profile; None in a profile.
    """

    name: str
    title: str
    runtime: str
    precision: str = "fp32"
    runtimes: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1
    alignment: Mapping[str, int] = field(default_factory=dict)
    sensors: tuple[str, ...] = ()
    rails: tuple[str, ...] = ()
    totals: tuple[Total, ...] = ()
    soc: str | None = None
    compute: str | None = None
    memory_gb: tuple[int, ...] = ()
    jetpack: Mapping[str, str] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    assumed: str | None = None

    @property
    def recognisable(self) -> bool:
        """Whether a machine can be recognised as this device."""
        return bool(self.parts or self.models or self.soc) or self.name in (X86_NVIDIA, PHONE)

    @property
    def is_jetson(self) -> bool:
        """Whether NVIDIA's tools for Jetson are expected."""
        return (self.soc or "").startswith("tegra")

    def running_on(
        self,
        versions: Mapping[str, str | None],
        packages: Mapping[str, str] | None = None,
        reasons: Mapping[str, str] | None = None,
    ) -> "Device":
        """Return this device with the first of its runtimes that is installed.

        Args:
            versions: runtime -> its version on the machine, None if it is not installed.
            packages: runtime -> its name for pip, where that is another.
            reasons: runtime -> why the machine has it not, where it says so.

        Raises:
            BenchError: none of them is installed.
        """
        if not self.runtimes:
            return self
        for runtime, precision in self.runtimes.items():
            if versions.get(runtime):
                return replace(self, runtime=runtime, precision=precision)
        names = list(self.runtimes)
        if reason := (reasons or {}).get(names[-1]):
            raise BenchError(f"{self.title} has no {names[-1]}: {reason}")
        raise BenchError(
            f"{self.title} has no {' or '.join(names)}: install one there, as in: pip install "
            f"{(packages or {}).get(names[-1], names[-1])}"
        )


@cache
def _registry() -> ObjectRegistry[Device]:
    """Return the registry of profiles; those of edgeprune are read once."""
    registry = ObjectRegistry("device", "edgeprune.profiles", BenchError, Device)
    for entry in sorted(files("edgeprune.profiles").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            text = entry.read_text(encoding="utf-8")
            registry.add(parse_device(entry.name.removesuffix(".toml"), parse_toml(text)))
    return registry


def register(profile: Device | str | Path, *, replace: bool = False) -> Device:
    """Add a device for `bench`, latency tables and targets, and return it.

    Args:
        profile: a `Device`, or the path of a TOML file like those in profiles/, whose stem is the name.
        replace: whether it may replace another of its name.

    Raises:
        BenchError: the file cannot be read or is not a profile, or the name is taken.
    """
    device = profile if isinstance(profile, Device) else _read_profile(Path(profile))
    return _registry().add(device, replace=replace)


def unregister(name: str) -> None:
    """Remove a device that `register` added; do nothing if there is none of that name."""
    _registry().unregister(name)


def device_names() -> list[str]:
    """Return the names of all profiles, sorted."""
    return sorted(_registry().names())


def load_device(name: str) -> Device:
    """Return the profile ``name``, or the profile in a user's file such as ``my-board.toml``.

    Raises:
        BenchError: no profile has that name (the message lists all), or the file is not a profile.
    """
    if name.endswith(".toml"):
        return _read_profile(Path(name))
    if name not in _registry():
        raise BenchError(known("device", name, [*device_names(), JETSON, AUTO]))
    return _registry()[name]


def all_devices() -> list[Device]:
    """Return every profile, by name."""
    return [load_device(name) for name in device_names()]


def _read_profile(path: Path) -> Device:
    try:
        content = parse_toml(read_bytes(path).decode())
    except OSError as error:
        raise BenchError(f"cannot read the profile {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise BenchError(
            f"{path} is not a profile in TOML ({one_line(error)}): compare it with one in profiles/"
        ) from error
    return parse_device(path.stem, content)


def parse_device(name: str, profile: Mapping[str, Any]) -> Device:
    """Make a ``Device`` of a profile's TOML.

    Raises:
        BenchError: a value is missing or invalid, or a key is unknown (it may be mistyped).
    """
    check(
        profile, ProfileRecord, f"profile {name}.toml is not right", error=BenchError, hint="mend the profile"
    )
    content: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in profile.items()
    }
    try:
        runtimes = content.pop("runtimes")
        runtime, precision = next(iter(runtimes.items()))
        power = content.pop("power", {})
        totals = tuple(Total(**_frozen(total)) for total in power.pop("totals", ()))
        parts = {**content.pop("board", {}), **content.pop("detect", {}), **power}
        return Device(
            name=name,
            runtime=runtime,
            precision=precision,
            runtimes=runtimes,
            totals=totals,
            **_frozen(parts),
            **content,
        )
    except KeyError as error:
        raise BenchError(f"profile {name}.toml is not right: it has no {error.args[0]}") from error
    except (TypeError, ValueError, StopIteration, AttributeError) as error:
        raise BenchError(f"profile {name}.toml is not right: {error}") from error


def detect(board: Mapping[str, Any]) -> Device | None:
    """Return the profile of the machine that the runner describes by ``board`` (see ``edgeprune_target.board``).

    An exact part number has priority over a model name, which counts only on the right chip. The result is None for
    a Jetson, a Raspberry Pi or another board without a profile. Other machines are "cpu", or "x86-nvidia" if NVML
    lists a card.
    """
    devices = all_devices()
    for device in devices:
        if any(part in name for part in device.parts for name in board["compatible"]):
            return device
    for device in devices:
        right_chip = not board["soc"] or not device.soc or device.soc == board["soc"]
        if right_chip and any(word in (board["model"] or "") for word in device.models):
            return device
    if board["android"]:
        return load_device(PHONE)
    if board["soc"] or board["model"] or board["l4t"]:
        return None
    return load_device(X86_NVIDIA if board["gpus"] else CPU)


def contradiction(device: Device, board: Mapping[str, Any]) -> str | None:
    """Return the name of the machine that ``board`` describes if it is not ``device``; None if it may be the device.

    Any machine has a processor to measure, so "cpu" is never contradicted. A Jetson without a profile may be measured
    with any profile of its chip.
    """
    if not device.recognisable:
        return None
    detected = detect(board)
    if detected is not None:
        return None if detected.name == device.name else f"{_machine_name(board)} ({detected.title})"
    if device.is_jetson and (board["soc"] == device.soc or (board["l4t"] and not board["soc"])):
        return None
    return _machine_name(board)


def confirm(device: Device, board: Mapping[str, Any], *, assume: bool = False) -> Device:
    """Return ``device`` if the machine may be that device, or if the user insists.

    Args:
        device: the profile that the user chose.
        board: the runner's description of the machine.
        assume: return the profile even if the machine contradicts it, with the actual machine as ``assumed``.

    Raises:
        BenchError: the machine is another one, and ``assume`` is off.
    """
    machine = contradiction(device, board)
    if machine is None:
        return replace(device, assumed=None)
    if assume:
        return replace(device, assumed=machine)
    detected = detect(board)
    hint = f"name what it is, as in `device={detected.name if detected else CPU}`"
    raise BenchError(
        f"`device={device.name}` is not what this is: {machine}; {hint}, or insist with `assume_device`"
    )


def _machine_name(board: Mapping[str, Any]) -> str:
    return board["model"] or "a machine without a device tree"


def resolve(name: str, board: Mapping[str, Any], *, assume: bool = False) -> Device:
    """Return the profile for ``--device``: "jetson" is the detected Jetson, "auto" the detected device.

    Args:
        name: of a profile, or "jetson" or "auto".
        board: the runner's description of the machine.
        assume: use a profile that the machine contradicts; see `confirm`.

    Raises:
        BenchError: it is not a Jetson, has no profile, or contradicts the profile.
    """
    if name not in (JETSON, AUTO):
        return confirm(load_device(name), board, assume=assume)
    detected = detect(board)
    if detected is not None and (name == AUTO or detected.is_jetson):
        return detected
    machine = _machine_name(board)
    jetsons = [device.name for device in all_devices() if device.is_jetson]
    if detected is None and (board["soc"] or board["l4t"]):
        raise BenchError(f"no profile is for {machine}: name the nearest of {', '.join(jetsons)}")
    if detected is None:
        raise BenchError(
            f"no profile is for {machine}: measure its processor with `device={CPU}`, or give the nearest of "
            f"{', '.join(device_names())} with `assume_device`"
        )
    elsewhere = ", or reach the board by `host=user@board`" if detected.name in (CPU, X86_NVIDIA) else ""
    raise BenchError(
        f"this is not a Jetson but {machine} ({detected.title}): name it, as in `device={detected.name}`{elsewhere}"
    )


def device_rows() -> list[dict[str, Any]]:
    """Return a row per profile for a list, as plain JSON values; unknown values are None."""
    return [
        {
            "name": device.name,
            "title": device.title,
            "runtimes": dict(device.runtimes),
            "batch": device.batch,
            "alignment": dict(device.alignment),
            "memory_gb": list(device.memory_gb),
            "soc": device.soc,
            "compute": device.compute,
            "jetpack": dict(device.jetpack),
            "sensors": list(device.sensors),
            "rails": list(device.rails),
            "totals": [str(total) for total in device.totals],
        }
        for device in all_devices()
    ]


def _frozen(table: Mapping[str, Any]) -> dict[str, Any]:
    """Convert lists to tuples, for a frozen dataclass."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
