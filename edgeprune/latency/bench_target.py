"""Where times are taken: one device under one set of conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeprune.backends import for_runtime
from edgeprune.backends.base import Backend
from edgeprune.backends.onnx import Onnx
from edgeprune.bench.hosts import Host
from edgeprune.bench.local import Transport
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.replies import call
from edgeprune.bench.run import reached
from edgeprune.bench.words import runtime_words
from edgeprune.devices import Device
from edgeprune.errors import LatencyError, known
from edgeprune.latency.table import ASSUMED_ON

LUTS = Path("luts")  # where tables are kept, beside runs/
PRECISIONS = ("fp32", "fp16")


@dataclass(frozen=True)
class BenchTarget:
    """A device that was reached.

    Attributes:
        transport: to the runner.
        device: its profile, with the runtime and precision that are used.
        batch: images per inference.
        threads: of the runtime.
        conditions: what times taken here hold for; see `edgeprune.latency.table.CONDITIONS`.
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
        precision: str | None = None,
        batch: int = 1,
        threads: int | None = None,
        assume_device: bool = False,
    ) -> "BenchTarget":
        """Look at the machine.

        Args:
            device: a profile's name; None for "cpu" here, and for what answers on a host.
            host: where it is; None for this machine.
            precision: of the numbers; None for the profile's.
            batch: images per inference.
            threads: of the runtime; None for all physical cores.
            assume_device: take the profile even if the machine contradicts it; its table says so.

        Raises:
            BenchError: it cannot be reached, is another device, or has no runtime.
            LatencyError: not in that precision.
        """
        transport, found = reached(device, host, assume=assume_device)
        words = runtime_words(transport, found.runtimes or [found.runtime])
        fingerprint = call(transport, "probe", ["--sensors", "none", *words])
        found = found.running_on(fingerprint["runtimes"])
        found = replace(found, precision=precision or found.precision, runtimes={})
        version = fingerprint["runtimes"].get(found.runtime)
        _check(found, version)
        threads = threads or fingerprint["cores_physical"]
        BenchOptions(found, batch=batch, threads=threads)  # raises for numbers that make no sense
        conditions = conditions_of(
            fingerprint, found.name, found.runtime, precision=found.precision, batch=batch, threads=threads
        )
        if found.assumed:
            conditions[ASSUMED_ON] = found.assumed
        return cls(transport, found, batch, threads, conditions, host.name if host else None)

    @property
    def backend(self) -> Backend:
        """The backend whose files the runtime loads there."""
        return file_backend(self.device, self.conditions.get("runtime_version"))

    @property
    def lut(self) -> Path:
        """The usual place of this site's table."""
        return lut_of(self.conditions)


def conditions_of(
    fingerprint: Mapping[str, Any], device: str, runtime: str, *, precision: str, batch: int, threads: int
) -> dict[str, Any]:
    """What times hold for, under the names of `edgeprune.latency.table.CONDITIONS`."""
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
    """The usual place of a table of these conditions."""
    one = conditions
    name = f"{one['device']}-{one['runtime']}-{one['precision']}-b{one['batch']}-t{one['threads']}"
    return LUTS / f"{name}.json"


def _check(device: Device, version: str | None) -> None:
    """Whether layers can be timed by themselves in the device's precision."""
    if device.precision not in PRECISIONS:
        raise LatencyError(
            f"{known('precision', device.precision, list(PRECISIONS))}; int8 needs scales, which layers that "
            "are timed by themselves do not have"
        )
    if device.precision == "fp32" or file_backend(device, version).name == Onnx.name:
        return
    if not _builds_engines(device):
        raise LatencyError(f"{device.runtime} on {device.title} computes in fp32: leave --precision out")
    raise LatencyError(
        f"{device.runtime} {version} takes the precision from the ONNX file, and layers are timed from fp32 files: use "
        "--precision fp32"
    )


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
