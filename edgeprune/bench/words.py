"""Make the runner's arguments for runtimes and models."""

from collections.abc import Iterable

from edgeprune.backends import for_runtime, runtime_files
from edgeprune.bench.local import Transport
from edgeprune.devices import Device


def runtime_words(transport: Transport, runtimes: Iterable[str]) -> list[str]:
    """Send the files of runtimes that the runner lacks; return the arguments that name them.

    Args:
        transport: to the runner.
        runtimes: by name; the runner's own need no file.
    """
    files = [transport.send(file) for file in runtime_files(runtimes)]
    return [word for file in files for word in ("--runtime-file", file)]


def engine_words(device: Device) -> list[str]:
    """Return the arguments for a runtime that builds an engine from the model file."""
    backend = for_runtime(device.runtime, device.precision)
    return ["--precision", device.precision] if backend and backend.builds_on_target else []


def sensor_words(device: Device) -> list[str]:
    """Return the arguments of the runner that name a device's power sensors and its definitions of the total."""
    totals = [word for total in device.totals for word in ("--total", str(total))]
    return ["--sensors", ",".join(device.sensors) or "none", *totals]


def model_words(transport: Transport, device: Device, batch: int, threads: int) -> list[str]:
    """Return the arguments of the runner for every model it loads.

    Args:
        transport: to the runner.
        device: with the chosen runtime and precision.
        batch: images per inference.
        threads: of the runtime.
    """
    words = ["--runtime", device.runtime, "--batch", str(batch), "--threads", str(threads)]
    return [*words, *engine_words(device), *runtime_words(transport, [device.runtime])]
