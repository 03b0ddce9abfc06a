"""What `train-prune` may be told. Nothing heavy is imported, so that the command line can be made from it.

The records are flat: `TrainPruneOptions` inherits the groups instead of holding them. So a run's config.json stays as
it was, ``replace(options, epochs=3)`` works, and a function that needs only a group says so by its type.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeprune.methods.options import MethodOptions
from edgeprune.options.bounds import (
    CHANNELS,
    EPOCHS,
    PIXELS,
    RATE,
    SHARE_BELOW_ONE,
    WORKERS,
)
from edgeprune.options.checks import Choice, ChoiceOrOwn, Count, Quantity, Text
from edgeprune.options.device import DeviceOptions
from edgeprune.options.fields import like, option
from edgeprune.training.options import TrainOptions

# What suits the data where it is not given: epochs with pruning, epochs of the baseline, batch, learning rates.
SMALL_DATA = 5000  # training images
SMALL: dict[str, Any] = {
    "epochs": 18, "baseline_epochs": 10, "batch_size": 64,
    "lr": 0.02, "baseline_lr": 0.1, "schedule": "cosine",
}  # fmt: skip
LARGE: dict[str, Any] = {
    "epochs": 100, "baseline_epochs": 160, "batch_size": 128,
    "lr": 0.01, "baseline_lr": 0.1, "schedule": "thesis",
}  # fmt: skip


def _by_size(name: str) -> str:
    """Return what the help says of a default that follows the data."""
    return f"{SMALL[name]} for fewer than {SMALL_DATA} images, else {LARGE[name]}"


def _tasks() -> Sequence[str]:
    from edgeprune import tasks

    return tasks.names()


class _Examples(Text):
    """Text that is one of the targets there are; how one is written is known without the budgets."""

    @property
    def text(self) -> str:
        """Return an example of each."""
        from edgeprune.resources import RESOURCES

        return ", ".join(RESOURCES[name].example for name in RESOURCES.registered())


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which network, and where its weights come from."""

    model: str = option(
        "resnet20",
        "Prune this model: a name of the zoo or of torchvision, or package.module:factory.",
        "model",
        main=True,
        metavar="NAME",
    )
    weights: str | None = option(
        None,
        "Start from these trained weights (.safetensors, .pt, .ckpt ...); without them the baseline is trained first.",
        "model",
        main=True,
        metavar="FILE",
    )
    weights_key: str | None = option(
        None,
        "Load this set of weights of a file that holds several, as state_dict_ema.",
        "model",
        metavar="KEY",
    )
    task: str = option(
        "classification",
        "Train for this task: {choices}, or package.module:Task for your own.",
        "model",
        ChoiceOrOwn(_tasks),
        main=True,
        metavar="NAME",
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images, and how they are read."""

    data: str = option(
        "digits",
        "Train on digits, cifar10, cifar100, a folder of images, shards as train-*.tar, or hf:NAME_OR_DIR.",
        "data",
        main=True,
        metavar="NAME_OR_DIR",
    )
    image_size: int | None = option(
        None, "Resize images to this side in pixels.", "data", PIXELS, unset="the images' own, else 224"
    )
    val_fraction: float = option(
        0.05,
        "Hold out this share of the training images; more if `max_drop` chooses by few of them.",
        "data",
        SHARE_BELOW_ONE,
    )
    data_root: str | None = option(
        None,
        "Keep torchvision's data sets in this folder.",
        "data",
        metavar="DIR",
        unset="~/.cache/edgeprune",
    )
    download: bool = option(False, "Let torchvision download the data set.", "data")
    workers: int | None = option(
        None,
        "Read images from files in this many processes; 0 reads in threads. The batches are the same.",
        "data",
        WORKERS,
        metavar="N",
        unset="one for each CPU, or threads for few images",
    )
    in_memory: bool | None = option(
        None,
        "Hold small images of one size decoded in memory. The batches are the same.",
        "data",
        unset="where they take less than half of what is free",
    )


@dataclass(frozen=True, kw_only=True)
class TargetOptions:
    """How much may remain, and on which device that is judged."""

    target: str = option(
        "flops=0.5",
        "Keep this much, 0 < F <= 1: {choices}; several with commas between; latency=F@sustained under lasting load.",
        "target",
        _Examples(),
        main=True,
        metavar="TARGET",
    )
    target_device: str | None = like(DeviceOptions, "target_device", None)
    host: dict[str, Any] | None = like(
        DeviceOptions, "host", None, help="Reach the device this way; the fields of a Host."
    )
    more_hosts: list[dict[str, Any]] | None = like(DeviceOptions, "more_hosts", None)
    assume_device: bool = like(DeviceOptions, "assume_device", False)
    target_runtime: str | None = like(DeviceOptions, "target_runtime", None)
    target_precision: str | None = like(DeviceOptions, "target_precision", None)
    target_batch: int | None = like(DeviceOptions, "target_batch", None)
    target_threads: int | None = like(DeviceOptions, "target_threads", None)
    lut: str | None = like(DeviceOptions, "lut", None)
    plan_seconds: float | None = like(DeviceOptions, "plan_seconds", None)
    align: int | None = option(
        None, "Round widths to multiples of this; 1 for any width.", "target", CHANNELS,
        unset="those that are fast on the target's device; without one 8, or less in narrow layers",
    )  # fmt: skip
    max_drop: float | None = option(
        None,
        "Find the smallest network, or on a device the fastest, that loses at most this many points of the task's "
        "metric on held-out images; `target` is the first that is tried.",
        "target",
        Quantity(0, 1e6, open_low=True),
        main=True,
        metavar="POINTS",
        unset="`target` alone",
    )
    drop_by: str | None = option(
        None,
        "Hold this against `max_drop`: {choices}; the interval's upper end proves the limit.",
        "target",
        Choice(("interval", "estimate")),
        metavar="NAME",
        unset="interval, or estimate where the held-out images are too few",
    )
    points: int = option(5, "Try at most this many networks for `max_drop`.", "target", Count(1, 100))


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How to train before, during and after pruning; None means "what suits the data"."""

    epochs: int | None = option(
        None,
        "Prune and fine-tune for this many epochs together.",
        "training",
        EPOCHS,
        main=True,
        unset=_by_size("epochs"),
    )
    baseline_epochs: int | None = option(
        None,
        "Train the baseline for this many epochs, if it is trained here.",
        "training",
        EPOCHS,
        unset=_by_size("baseline_epochs"),
    )
    lr: float | None = like(TrainOptions, "lr", None, main=True, unset=_by_size("lr"))
    baseline_lr: float | None = option(
        None, "Set the learning rate of the baseline.", "training", RATE, unset=f"{LARGE['baseline_lr']}"
    )
    schedule: str | None = like(TrainOptions, "schedule", None, unset=_by_size("schedule"))
    batch_size: int | None = like(TrainOptions, "batch_size", None, main=True, unset=_by_size("batch_size"))
    accumulate: int = like(TrainOptions, "accumulate", TrainOptions.accumulate)
    weight_decay: float = like(TrainOptions, "weight_decay", TrainOptions.weight_decay)
    momentum: float = like(TrainOptions, "momentum", TrainOptions.momentum)
    nesterov: bool = like(TrainOptions, "nesterov", TrainOptions.nesterov)
    init: str = option(
        "baseline",
        "Prune the trained baseline, or a random network during its first training: {choices}.",
        "training",
        Choice(("baseline", "random")),
        metavar="NAME",
    )
    distill: bool | None = option(
        None,
        "Distill from the unpruned baseline while fine-tuning.",
        "training",
        unset="yes, from a trained one",
    )
    compensate: bool = option(
        False,
        "While fine-tuning, let the filters that stay take from those removed, as through a 1x1 convolution that is "
        "folded into them afterwards.",
        "training",
    )
    label_smoothing: float = like(TrainOptions, "label_smoothing", TrainOptions.label_smoothing)
    ema: float = like(TrainOptions, "ema", TrainOptions.ema)
    precisions: str | None = option(
        None,
        "Choose the precision of each layer together with the widths, as fp32,int8, within a latency target; `export "
        "--precision int8` then writes them.",
        "target",
        metavar="NAMES",
        unset="the target's own everywhere",
    )
    quantize: str | None = option(
        None,
        "Go on with quantisation-aware training after fine-tuning, for `export --precision`: {choices}.",
        "training",
        Choice(("int8",)),
        metavar="NAME",
        unset="no",
    )
    quantize_epochs: int | None = option(
        None,
        "Train for this many epochs with int8's rounding.",
        "training",
        EPOCHS,
        unset="15 % of `epochs`, at least 1",
    )
    precision: str = like(TrainOptions, "precision", "auto", check=Choice(("auto", "fp32", "bf16", "fp16")))
    compile: bool = like(TrainOptions, "compile", TrainOptions.compile)
    device: str = like(TrainOptions, "device", "auto", main=True, metavar="DEVICE")
    seed: int = like(TrainOptions, "seed", TrainOptions.seed)


@dataclass(frozen=True, kw_only=True)
class TrainPruneOptions(TrainingOptions, MethodOptions, TargetOptions, DataOptions, ModelOptions):
    """All options of `train-prune`."""
