"""Detect what a machine is: its profile, and which of its sensors answer."""

from collections.abc import Mapping
from typing import Any

from edgeprune_target.machine_warnings import machine_warnings
from edgeprune_target.totals import choose_total

from edgeprune.bench.local import LocalTransport, Transport
from edgeprune.bench.replies import call
from edgeprune.devices import AUTO, JETSON, Device, detect, load_device, resolve
from edgeprune.errors import BenchError

SCHEMA = 1


def find_device(name: str, transport: Transport | None = None, *, assume: bool = False) -> Device:
    """Return the profile that ``--device NAME`` means on the machine, which is probed where needed.

    Args:
        name: of a profile, or "jetson" or "auto".
        transport: to the machine; None for this one.
        assume: take the profile even if the machine contradicts it; ``Device.assumed`` then says so.

    Raises:
        BenchError: no such profile, or the machine is not what it was called.
    """
    if name not in (JETSON, AUTO) and not (device := load_device(name)).recognisable:
        return device
    fingerprint = call(transport or LocalTransport(), "probe", ["--sensors", "none"])
    return resolve(name, fingerprint["board"], assume=assume)


def detect_report(transport: Transport | None = None) -> dict[str, Any]:
    """Return what this machine is, as JSON, for ``edgeprune devices --detect``.

    ``device`` is the profile's name, or None with a ``reason``; ``runtime`` the one that a measurement would
    use; ``sensors`` the answer of each of the profile's sensors, in the order in which they are tried;
    ``total_kind`` and ``total_rails`` say what a measured energy would cover.
    """
    transport = transport or LocalTransport()
    fingerprint = call(transport, "probe", ["--sensors", "none"])
    board, state = fingerprint["board"], fingerprint["state"]
    device = detect(board)
    runtime, no_runtime = _runtime(device, fingerprint)
    sensors = _probe_all(device, transport)
    kind, rails = _total(device, sensors)
    nothing_seen: dict[str, Any] = {"gpu_hz": [], "warmest_c": {}}
    return {
        "schema": SCHEMA,
        "device": device.name if device else None,
        "title": device.title if device else None,
        "reason": None if device else _why_unknown(board),
        "board": board,
        "runtime": runtime,
        "runtime_reason": no_runtime,
        "sensors": sensors,
        "total_kind": kind,
        "total_rails": rails,
        "state": state,
        "warnings": machine_warnings(state, state, nothing_seen, [], uses_gpu=False),
        "fingerprint": fingerprint,
    }


def _probe_all(device: Device | None, transport: Transport) -> list[dict[str, Any]]:
    if device is None or not device.sensors:
        return []
    sensors: list[dict[str, Any]] = call(transport, "sensors", ["--sensors", ",".join(device.sensors)])
    return sensors


def _runtime(device: Device | None, fingerprint: Mapping[str, Any]) -> tuple[str | None, str | None]:
    if device is None:
        return None, "the machine is unknown"
    try:
        return device.running_on(fingerprint["runtimes"]).runtime, None
    except BenchError as error:
        return None, str(error)


def _total(device: Device | None, sensors: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """Return the total of the first sensor that answers, as a measurement would use it."""
    rails = next((list(sensor["rails"]) for sensor in sensors if sensor["answers"]), [])
    totals = [(total.kind, list(total.rails)) for total in device.totals] if device else []
    kind, names = choose_total(totals, rails)
    return kind, names


def _why_unknown(board: Mapping[str, Any]) -> str:
    seen = board["model"] or "this machine"
    chip = f" ({board['soc']})" if board["soc"] else ""
    return f"no profile is for {seen}{chip}: name the nearest one with --device"
