"""Options of a device's budget, which every command that prunes for a device takes by `like`."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeprune.errors import EdgePruneError
from edgeprune.options.bounds import IMAGES_PER_BATCH, SECONDS, THREADS
from edgeprune.options.fields import option

OF_A_DEVICE = (
    "target_runtime", "target_precision", "target_batch", "target_threads", "lut", "plan_seconds", "assume_device",
)  # fmt: skip
_OF_MEASUREMENT = re.compile("`(?=(device|runtime|precision|batch|threads)[=`])")


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """On which device a budget holds, how that is reached, and under which conditions."""

    target_device: str | None = option(
        None,
        "Choose widths for this device, by its latency table.",
        "target",
        main=True,
        metavar="DEVICE",
        unset="cpu with a target of latency or energy",
    )
    host: dict[str, Any] | None = option(None, "Reach the device this way.", "target", typed=False)
    more_hosts: list[dict[str, Any]] | None = option(
        None, "Hold the target on these devices, too, reached this way.", "target", typed=False
    )
    assume_device: bool = option(
        False,
        "Use the device's profile even if the machine says it is another; every result then says so.",
        "target",
    )
    target_runtime: str | None = option(
        None,
        "Choose widths for this runtime on the device, as onnxruntime, litert, ncnn or openvino.",
        "target",
        metavar="NAME",
        unset="the first of the device's profile",
    )
    target_precision: str | None = option(
        None,
        "Choose widths for numbers of this precision on the device, as int8.",
        "target",
        metavar="NAME",
        unset="the runtime's usual one",
    )
    target_batch: int | None = option(
        None,
        "Budget for this many images per inference on the device.",
        "target",
        IMAGES_PER_BATCH,
        unset="1",
    )
    target_threads: int | None = option(
        None, "Budget for this many threads on the device.", "target", THREADS, unset="all its physical cores"
    )
    lut: str | None = option(
        None,
        "Read the device's latency table from this file.",
        "target",
        metavar="FILE",
        unset="its own under luts/, built where it is missing",
    )
    plan_seconds: float | None = option(
        None,
        "Measure and correct plans for at most this long, once the table is there; then the best so far counts.",
        "target",
        SECONDS,
        unset="120, 600 for an energy, 1800 for @sustained",
    )


def check_boards(options: Any, error: type[EdgePruneError]) -> None:
    """Raise ``error`` for an option of one device beside several.

    Args:
        options: a record that has the options of `DeviceOptions`.
        error: class of the error.
    """
    if options.more_hosts and options.lut is not None:
        raise error("`lut` is the table of one device: leave it out, and each board has its own under luts/")


def refuse_device_options(options: Any, error: type[EdgePruneError]) -> None:
    """Raise ``error`` for an option of a device's budget where no device is budgeted for.

    Args:
        options: a record that has these options.
        error: class of the error.
    """
    for name in OF_A_DEVICE:
        if getattr(options, name) not in (None, False):
            raise error(f"`{name}` is of a device's budget: say `target_device` too, or `target=latency=0.7`")


@contextlib.contextmanager
def naming_target() -> Iterator[None]:
    """Let errors about a device, which name the options of a measurement, name those of its budget."""
    try:
        yield
    except EdgePruneError as error:
        error.args = (_OF_MEASUREMENT.sub("`target_", str(error)),)
        raise
