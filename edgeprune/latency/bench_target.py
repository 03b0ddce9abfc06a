"""Describe where latencies are measured: one device under one set of conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.backends import for_runtime, target_packages
from edgeprune.backends.base import Backend
from edgeprune.backends.onnx import Onnx
from edgeprune.bench.files import measuring_with
from edgeprune.bench.hosts import Host
from edgeprune.bench.local import Transport
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.replies import call
from edgeprune.bench.run import reached
from edgeprune.bench.words import runtime_words
from edgeprune.devices import AUTO, CPU, JETSON, Device, load_device
from edgeprune.errors import LatencyError
from edgeprune.latency.table import ASSUMED_ON
from edgeprune.options.device import naming_target

LUTS = Path("luts")  # where tables are kept, beside runs/


@dataclass(frozen=True)
class BenchTarget:
    """A device that is connected, with a runtime and its settings.

    Attributes:
        transport: to the runner.
        device: its profile, with the runtime and precision that are used.
        batch: images per inference.
        threads: of the runtime.
        conditions: for which measured times are valid; see `edgeprune.latency.table.CONDITIONS`.
        host: how it is reached, None for this machine.
    """

    transport: Transport
    device: Device
    batch: int
    threads: int
    conditions: Mapping[str, Any]
    host: str | None = None

    @classmethod
    def reach(
        cls,
        device: str | None = None,
        host: Host | None = None,
        *,
        runtime: str | None = None,
        precision: str | None = None,
        batch: int = 1,
        threads: int | None = None,
        assume_device: bool = False,
    ) -> "BenchTarget":
        """Connect to the machine and probe it.

        Args:
            device: a profile's name; None for "cpu" here, and for what answers on a host.
            host: where it is; None for this machine.
            runtime: of the runner; None for the first of the profile's that the device has.
            precision: of the numbers; None for the runtime's usual one.
            batch: images per inference.
            threads: of the runtime; None for all physical cores.
            assume_device: use the profile even if the machine contradicts it; its table says so.

        Raises:
            BenchError: it cannot be reached, is another device, has no such runtime, or that no such precision.
            LatencyError: layers cannot be timed in that precision, or their files not be written on this machine.
        """
        transport, profile = reached(device, host, assume=assume_device)
        profile = measuring_with(profile, runtime, precision)
        if runtime is not None:  # what is missing here is known before a device is asked what it has
            _check_written(profile, None)
        runtime_arguments = runtime_words(transport, profile.runtimes or [profile.runtime])
        fingerprint = call(transport, "probe", ["--sensors", "none", *runtime_arguments])
        profile = replace(
            profile.running_on(
                fingerprint["runtimes"], target_packages(), fingerprint.get("runtime_reasons")
            ),
            runtimes={},
        )
        version = fingerprint["runtimes"].get(profile.runtime)
        _check(profile, version)
        threads = threads or fingerprint["cores_physical"]
        BenchOptions(profile, batch=batch, threads=threads)  # raises for numbers that make no sense
        conditions = conditions_of(
            fingerprint,
            profile.name,
            profile.runtime,
            precision=profile.precision,
            batch=batch,
            threads=threads,
        )
        if profile.assumed:
            conditions[ASSUMED_ON] = profile.assumed
        return cls(transport, profile, batch, threads, conditions, host.name if host else None)

    @property
    def backend(self) -> Backend:
        """The backend whose files the runtime loads there."""
        return file_backend(self.device, self.conditions.get("runtime_version"))

    @property
    def lut(self) -> Path:
        """The usual path of the table of these conditions."""
        return lut_of(self.conditions)


def check_device_names(options: Any) -> None:
    """Refuse an unknown device, runtime or precision before a device is reached; what is known only there passes.

    Args:
        options: a record that has the options of `edgeprune.options.device.DeviceOptions`.

    Raises:
        BenchError: there is none of that name; says which there are.
    """
    name, runtime = options.target_device, options.target_runtime
    is_found_out = name in (AUTO, JETSON) or (name is None and options.host is not None)
    if is_found_out and runtime is None:
        return
    with naming_target():
        profile = load_device(CPU if is_found_out else name or CPU)
        measuring_with(profile, runtime, options.target_precision)


def conditions_of(
    fingerprint: Mapping[str, Any], device: str, runtime: str, *, precision: str, batch: int, threads: int
) -> dict[str, Any]:
    """Return the conditions of a table, by the names in `edgeprune.latency.table.CONDITIONS`.

    Args:
        fingerprint: of the machine, as the runner's ``probe`` gives it.
        device: name of the profile.
        runtime: of the runner.
        precision: of the numbers.
        batch: images per inference.
        threads: of the runtime.
    """
    return {
        "device": device,
        "processor": fingerprint["board"]["model"] or fingerprint.get("cpu_model"),
        "runtime": runtime,
        "runtime_version": fingerprint["runtimes"].get(runtime),
        "precision": precision,
        "batch": batch,
        "threads": threads,
    }


def lut_of(conditions: Mapping[str, Any]) -> Path:
    """Return the usual path of a table of these conditions."""
    name = "{device}-{runtime}-{precision}-b{batch}-t{threads}".format_map(conditions)
    return LUTS / f"{name}.json"


def _check(device: Device, version: str | None) -> None:
    """Raise LatencyError unless layers can be timed by themselves in the device's precision."""
    backend = _check_written(device, version)
    if not _builds_engines(device):
        return
    if device.precision == "int8":
        raise LatencyError(
            f"{device.runtime} finds the scales of int8 on images, which layers that are timed by themselves do not "
            "have: use `precision=fp16` or fp32"
        )
    if backend.name != Onnx.name:
        raise LatencyError(
            f"{device.runtime} {version} takes the precision from the ONNX file, and layers are timed from fp32 "
            "files: use `precision=fp32`"
        )


def _check_written(device: Device, version: str | None) -> Backend:
    """Return the backend whose files a runtime loads; raise LatencyError where this machine lacks its packages."""
    backend = file_backend(device, version)
    if reason := backend.why_skipped():
        raise LatencyError(f"{device.runtime}'s files cannot be written here: {reason}")
    return backend


def file_backend(device: Device, version: str | None) -> Backend:
    """Return the backend whose files a device's runtime loads; ONNX for a stand-in.

    Args:
        device: with the runtime and precision that are used.
        version: of the runtime.
    """
    backend = for_runtime(device.runtime, device.precision)
    return backend.measured_file(version) if backend else Onnx()


def _builds_engines(device: Device) -> bool:
    backend = for_runtime(device.runtime, device.precision)
    return backend is not None and backend.builds_on_target
