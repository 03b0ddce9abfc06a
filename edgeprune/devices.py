"""What a device is: its runtimes, its alignment, its power sensors; read from profiles/*.toml."""

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
JETSON = "jetson"  # as a name: whichever Jetson this is
AUTO = "auto"  # as a name: whatever this machine is
X86_NVIDIA, PHONE, CPU = "x86-nvidia", "android-phone", "cpu"


@dataclass(frozen=True)
class Total:
    """What stands for the whole of a device's power.

    Attributes:
        kind: "measured_input" (one sensor in the supply line) or "rail_sum" (parts added up).
        rails: that are added; "*" is every rail there is.
    """

    kind: str
    rails: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.kind not in KINDS or not self.rails:
            raise ValueError(f"a total needs a kind ({' or '.join(KINDS)}) and rails")

    def __str__(self) -> str:
        """As the runner takes it: ``rail_sum=GPU+CPU``."""
        return f"{self.kind}={'+'.join(self.rails)}"


@dataclass(frozen=True)
class Device:
    """One profile.

    Attributes:
        name: of the profile, as in ``--device NAME``.
        title: for people.
        runtime: of the target-side runner: the one preferred, or the one chosen by ``running_on``.
        precision: of the numbers, by default.
        runtimes: runtime -> its default precision, in order of preference; empty where there is no choice.
        batch: images per inference, by default.
        alignment: precision -> the multiple that channel counts are best kept at.
        sensors: of power, in the order they are tried; each is a sensor of the runner.
        rails: of power that the board has, as far as is known.
        totals: what stands for the whole; the first all of whose rails answer.
        soc: the chip, as in "tegra234".
        compute: the GPU's CUDA compute capability.
        memory_gb: sizes it is sold with, the commonest first.
        jetpack: JetPack -> TensorRT.
        parts: words of the device tree's ``compatible`` that name exactly this board.
        models: words of the device tree's ``model`` that name it.
        assumed: what the machine is instead, where its user insisted on this profile; None in a profile.
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
        """Whether a machine can say that it is this device, or another."""
        return bool(self.parts or self.models or self.soc) or self.name in (X86_NVIDIA, PHONE)

    @property
    def is_jetson(self) -> bool:
        """Whether NVIDIA's tools for Jetson are to be expected."""
        return (self.soc or "").startswith("tegra")

    def running_on(self, there: Mapping[str, str | None]) -> "Device":
        """This device with the first of its runtimes that ``there`` (library -> version or None) has.

        Raises:
            BenchError: it has none of them.
        """
        if not self.runtimes:
            return self
        for runtime, precision in self.runtimes.items():
            if there.get(runtime):
                return replace(self, runtime=runtime, precision=precision)
        names = list(self.runtimes)
        raise BenchError(
            f"{self.title} has no {' or '.join(names)}: install one there, as in: pip install {names[-1]}"
        )


@cache
def _registry() -> ObjectRegistry[Device]:
    """Return the table of profiles: those of edgeprune first, which are read once."""
    registry = ObjectRegistry("device", "edgeprune.profiles", BenchError, Device)
    for entry in sorted(files("edgeprune.profiles").iterdir(), key=lambda entry: entry.name):
        if entry.name.endswith(".toml"):
            text = entry.read_text(encoding="utf-8")
            registry.add(parse_device(entry.name.removesuffix(".toml"), parse_toml(text)))
    return registry


def register(profile: Device | str | Path, *, replace: bool = False) -> Device:
    """Add a device, by which `bench`, latency tables and targets can then be asked for, and return it.

    Args:
        profile: a `Device`, or the path of a TOML file like those in profiles/, whose stem is the name.
        replace: whether it may take the place of another.

    Raises:
        BenchError: the file cannot be read or is not a profile, or the name is taken.
    """
    device = profile if isinstance(profile, Device) else _read_profile(Path(profile))
    return _registry().add(device, replace=replace)


def unregister(name: str) -> None:
    """Take out what `register` added; nothing where it is not there."""
    _registry().unregister(name)


def device_names() -> list[str]:
    """Return the names of all profiles, sorted."""
    return sorted(_registry().names())


def load_device(name: str) -> Device:
    """Return the profile ``name``, or the one in a file of the user's own, as in ``my-board.toml``.

    Raises:
        BenchError: there is none of that name; the message lists those there are. The file is not a profile.
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
    """Return a profile's TOML as a ``Device``; an unknown key is an error, so that no typing slip goes unseen."""
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

    An exact part number counts before a name, and a name only on the right chip. None: a Jetson, a
    Raspberry Pi or another board that no profile is for; a machine that is no board is "cpu", or
    "x86-nvidia" where NVML lists a card.
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
    """What the machine described by ``board`` is, if that is not ``device``; None if it may be the device.

    Any machine has a processor to measure, so "cpu" is never contradicted. A Jetson that no profile is for
    may be measured with any profile of its chip.
    """
    if not device.recognisable:
        return None
    detected = detect(board)
    if detected is not None:
        return None if detected.name == device.name else f"{_seen(board)} ({detected.title})"
    if device.is_jetson and (board["soc"] == device.soc or (board["l4t"] and not board["soc"])):
        return None
    return _seen(board)


def confirm(device: Device, board: Mapping[str, Any], *, assume: bool = False) -> Device:
    """Return ``device`` if the machine may be it; if it is not, only for a user who insists.

    Args:
        device: the profile that was asked for.
        board: what the machine says of itself.
        assume: return it all the same, with what the machine is as its ``assumed``.

    Raises:
        BenchError: the machine is another one, and ``assume`` is off.
    """
    machine = contradiction(device, board)
    if machine is None:
        return replace(device, assumed=None)
    if assume:
        return replace(device, assumed=machine)
    detected = detect(board)
    hint = f"name what it is, as in --device {detected.name if detected else CPU}"
    raise BenchError(
        f"--device {device.name} is not what this is: {machine}; {hint}, or insist with --assume-device"
    )


def _seen(board: Mapping[str, Any]) -> str:
    return board["model"] or "a machine without a device tree"


def resolve(name: str, board: Mapping[str, Any], *, assume: bool = False) -> Device:
    """Return the profile for ``--device``: "jetson" is the Jetson that was found, "auto" whatever was found.

    Args:
        name: of a profile, or "jetson" or "auto".
        board: what the machine says of itself.
        assume: take a profile that the machine contradicts; see `confirm`.

    Raises:
        BenchError: it is no Jetson, no profile is for it, or it contradicts the profile.
    """
    if name not in (JETSON, AUTO):
        return confirm(load_device(name), board, assume=assume)
    found = detect(board)
    if found is not None and (name == AUTO or found.is_jetson):
        return found
    seen = _seen(board)
    jetsons = [device.name for device in all_devices() if device.is_jetson]
    if found is None and (board["soc"] or board["l4t"]):
        raise BenchError(f"no profile is for {seen}: name the nearest of {', '.join(jetsons)}")
    if found is None:
        raise BenchError(
            f"no profile is for {seen}: measure its processor with --device {CPU}, or give the nearest of "
            f"{', '.join(device_names())} with --assume-device"
        )
    raise BenchError(f"this is no Jetson but {seen} ({found.title}): name it, as in --device {found.name}")


def device_rows() -> list[dict[str, Any]]:
    """One row per profile, for a list: plain values, None where there is nothing to say."""
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
    """Lists as tuples, as a frozen dataclass wants them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}
