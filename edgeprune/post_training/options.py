"""Options of `prune`: definitions, defaults and validation."""

import re
from dataclasses import dataclass
from typing import Any

from edgeprune.budget import need_device, parse_targets
from edgeprune.errors import DataError, TargetError
from edgeprune.methods import criterion_names
from edgeprune.options.bounds import (
    CHANNELS,
    IMAGES,
    IMAGES_PER_BATCH,
    PIXELS,
    RATE,
    SEED,
    SHARE_BELOW_ONE,
)
from edgeprune.options.checks import Choice, Count
from edgeprune.options.device import DeviceOptions, check_boards, refuse_device_options
from edgeprune.options.fields import check_fields, like, option
from edgeprune.training.options import TrainOptions

LAYOUTS = ("nchw", "nhwc")
COLORS = ("rgb", "bgr", "gray")
FITS = ("sequential", "kernel", "none")
AUGMENTS = ("none", "shift", "flip")
# What is done in seconds, in minutes and in hours, unless another option says otherwise.
EFFORTS: dict[str, dict[str, Any]] = {
    "seconds": {"criterion": "l2", "refit": "kernel", "sensitivity": False},
    "minutes": {"criterion": "thinet", "refit": "sequential", "sensitivity": True},
    "hours": {"criterion": "thinet", "refit": "sequential", "sensitivity": True},
}
LONG_EPOCHS, LONG_STEPS = 10, 4000  # of learning, at least, where hours may pass
_NUMBER = re.compile(r"\s*([-+.0-9eE]+)\s*(?:/\s*([-+.0-9eE]+)\s*)?")


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """What is asked of `prune`; images are described by all of ``scale``, ``mean``, ``std`` and ``color``.

    Raises:
        TargetError: a value is out of bounds, or neither a target nor a largest change is given.
    """

    target: str | None = option(
        None,
        "Remaining cost, such as flops=0.5, params=0.3 or memory=20MB; several are separated by commas.",
        "target",
        main=True,
        metavar="KIND=X",
    )
    max_change: float | None = option(
        None,
        "Prune as far as the held-out inputs allow: at most this fraction of them changes its class, or this is the "
        "relative error of the outputs.",
        "target",
        SHARE_BELOW_ONE,
        main=True,
        metavar="X",
    )
    curve: bool = option(
        False,
        "Show how far the network can go instead: agreement with the original against FLOPs, and latency on a device.",
        "target",
        main=True,
    )
    target_device: str | None = like(DeviceOptions, "target_device", None)
    host: dict[str, Any] | None = like(DeviceOptions, "host", None)
    more_hosts: list[dict[str, Any]] | None = like(DeviceOptions, "more_hosts", None)
    assume_device: bool = like(DeviceOptions, "assume_device", False)
    target_runtime: str | None = like(DeviceOptions, "target_runtime", None)
    target_precision: str | None = like(DeviceOptions, "target_precision", None)
    target_batch: int | None = like(
        DeviceOptions, "target_batch", None, help="Budget for this many inputs per inference on the device."
    )
    target_threads: int | None = like(DeviceOptions, "target_threads", None)
    lut: str | None = like(DeviceOptions, "lut", None)
    plan_seconds: float | None = like(DeviceOptions, "plan_seconds", None)
    align: int | None = option(
        None, "Round widths to multiples of this; 1 for any width.", "target", CHANNELS,
        unset="those that are fast on the target's device; without one 8, or less in narrow layers",
    )  # fmt: skip
    floor: int = option(2, "Keep at least this many channels in each layer.", "target", CHANNELS)
    scale: str | None = option(
        None, "Multiply pixels of 0 to 255 by this, such as 1/255.", "data", main=True, metavar="X"
    )
    mean: str | None = option(
        None,
        "Subtract this from scaled pixels: a number, or one for each color.",
        "data",
        main=True,
        metavar="X,X,X",
    )
    std: str | None = option(
        None, "Divide by this then: a number, or one for each color.", "data", main=True, metavar="X,X,X"
    )
    color: str | None = option(None, "Order of colors: {choices}.", "data", Choice(COLORS), main=True)
    layout: str | None = option(
        None,
        "Order of the input's axes: {choices}.",
        "data",
        Choice(LAYOUTS),
        main=True,
        unset="as its shape shows",
    )
    size: int | None = option(
        None,
        "Side of the images in pixels, where the network takes any.",
        "data",
        PIXELS,
        unset="the network's",
    )
    labels: str | None = option(
        None,
        "Also report the accuracy on these images, in a folder for each class.",
        "data",
        metavar="DIR",
    )
    limit: int = option(1000, "Use at most this many inputs.", "data", IMAGES)
    held_out: float = option(
        0.2, "Keep this fraction of the inputs to compare outputs on.", "data", SHARE_BELOW_ONE
    )
    augment: str | None = option(
        None,
        "Also fit on changed copies of images: {choices}. Flipped ones are shifted, too.",
        "data",
        Choice(AUGMENTS),
        unset="shift for a folder of images, else none",
    )
    effort: str = option(
        "minutes",
        "Take {choices}: weights alone and one fit; the effect of each layer on the outputs and fits in sequence; "
        "learning from the original beside.",
        "method",
        Choice(tuple(EFFORTS)),
        main=True,
        metavar="TIME",
    )
    criterion: str | None = option(
        None,
        "Order the channels of a layer by this criterion.",
        "method",
        Choice(criterion_names),
        unset="thinet; l2 for effort=seconds",
    )
    refit: str | None = option(
        None,
        "Fit the layers that lose inputs: {choices}.",
        "method",
        Choice(FITS),
        unset="sequential; kernel for effort=seconds",
    )
    sensitivity: bool | None = option(
        None,
        "Choose each layer's width by the effect on the outputs, not by the criterion.",
        "method",
        unset="yes; no for effort=seconds",
    )
    distill_epochs: int | None = option(
        None,
        "Then let the pruned network learn the original's outputs on the inputs, for this many epochs.",
        "training",
        Count(0, 100_000),
        main=True,
        metavar="N",
        unset=f"0; for effort=hours {LONG_EPOCHS}, or as many as make {LONG_STEPS} steps",
    )
    distill_limit: int = option(1_000_000, "Learn from at most this many inputs.", "training", IMAGES)
    distill_lr: float = option(
        0.003,
        "Change weights by this share of their size in a step; it falls along a cosine.",
        "training",
        RATE,
    )
    distill_precision: str = option(
        "auto",
        "Compute in {choices} while the network learns; auto is bf16 where the processor multiplies in it.",
        "training",
        Choice(("auto", "fp32", "bf16")),
        metavar="NAME",
    )
    distill_batch: int = option(128, "Set the inputs per step.", "training", IMAGES_PER_BATCH)
    seed: int = option(0, "Seed of the order of inputs and of their changes.", "run", SEED)

    def __post_init__(self) -> None:
        check_fields(self, TargetError)
        for name, value in EFFORTS[self.effort].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if self.curve and (self.target is not None or self.max_change is not None or self.distills):
            raise TargetError(
                "`curve` prunes nothing: leave `target`, `max_change`, `distill_epochs` and `effort=hours` out"
            )
        if self.target is None and self.max_change is None and not self.curve:
            raise TargetError("say how far to prune: `target=flops=0.5`, or `max_change=0.02`")
        if self.target is None and self.on_device and not self.curve:
            raise TargetError(
                "a device's budget needs a target: `target=latency=0.7`; leave `max_change` out"
            )
        if self.target is not None:
            parse_targets(self.target)
        check_boards(self, TargetError)
        if not self.on_device:
            refuse_device_options(self, TargetError)

    @property
    def on_device(self) -> bool:
        """Whether widths are chosen for a device, by its latency table."""
        named = self.target_device is not None or self.host is not None
        return named or (self.target is not None and need_device(parse_targets(self.target)))

    @property
    def distills(self) -> bool:
        """Whether the pruned network learns the original's outputs."""
        return self.effort == "hours" if self.distill_epochs is None else self.distill_epochs > 0

    def epochs(self, steps: int) -> int:
        """Return how many epochs it learns.

        Args:
            steps: of an epoch.
        """
        if self.distill_epochs is None:
            return max(LONG_EPOCHS, -(-LONG_STEPS // max(1, steps))) if self.distills else 0
        return self.distill_epochs

    def changes(self, images: bool) -> str:
        """Return how inputs are changed while the network learns; see `edgeprune.post_training.changes`.

        Args:
            images: whether they are images that may be moved.
        """
        return self.augment or ("shift" if images else "mix")

    def training(self, batch_size: int) -> TrainOptions:
        """Return how the network learns, in batches of this size."""
        from edgeprune.training.precision import best_precision

        return TrainOptions(
            batch_size=batch_size, lr=self.distill_lr, nesterov=True, weight_decay=0.0, schedule="cosine",
            seed=self.seed,
            precision=best_precision("cpu") if self.distill_precision == "auto" else self.distill_precision,
        )  # fmt: skip

    def numbers(self, name: str, count: int) -> list[float]:
        """Return the numbers of an option, one for each color.

        Args:
            name: scale, mean or std.
            count: number of colors.

        Raises:
            DataError: it is not given, or not as many numbers as there are colors.
        """
        text = getattr(self, name)
        numbers = [_number(part, name) for part in str(text).split(",")]
        if len(numbers) not in (1, count) or (name == "scale" and len(numbers) > 1):
            raise DataError(
                f"`{name}` has {len(numbers)} numbers; 1{f' or {count}' if count > 1 else ''} are wanted"
            )
        return numbers * count if len(numbers) == 1 else numbers


def _number(text: str, name: str) -> float:
    match = _NUMBER.fullmatch(text)
    try:
        assert match is not None
        value = float(match[1]) / float(match[2] or 1)
    except (AssertionError, ValueError, ZeroDivisionError):
        raise DataError(f"`{name}` is {text!r}: a number is wanted, such as 0.5 or 1/255") from None
    if name in ("scale", "std") and value == 0:
        raise DataError(f"`{name}` is 0: a number that is not 0 is wanted")
    return value
