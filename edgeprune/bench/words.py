"""What the runner is told of runtimes and models."""

from collections.abc import Iterable

from edgeprune.backends import for_runtime, runtime_files
from edgeprune.bench.local import Transport
from edgeprune.devices import Device


def runtime_words(transport: Transport, runtimes: Iterable[str]) -> list[str]:
    """Send the files of runtimes that the runner lacks, and return what tells it of them.

    Args:
        transport: to the runner.
        runtimes: by name; those of the runner itself need no file.
    """
    files = [transport.send(file) for file in runtime_files(runtimes)]
    return [word for file in files for word in ("--runtime-file", file)]


def engine_words(device: Device) -> list[str]:
    """Return what a runtime is told that builds an engine from the file it is given."""
    backend = for_runtime(device.runtime, device.precision)
    return ["--precision", device.precision] if backend and backend.builds_on_target else []


def model_words(transport: Transport, device: Device, batch: int, threads: int) -> list[str]:
    """Return what the runner is told with every model it loads.

    Args:
        transport: to the runner.
        device: with the runtime and precision that are used.
        batch: images per inference.
        threads: of the runtime.
    """
    words = ["--runtime", device.runtime, "--batch", str(batch), "--threads", str(threads)]
    return [*words, *engine_words(device), *runtime_words(transport, [device.runtime])]
