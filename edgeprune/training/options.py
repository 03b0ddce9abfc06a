"""How to train: the options of the loop. Nothing heavy is imported, so that the command line can read them."""

from dataclasses import dataclass

from edgeprune.errors import TrainError
from edgeprune.options.bounds import IMAGES_PER_BATCH, RATE, SEED, SHARE_BELOW_ONE
from edgeprune.options.checks import Choice, Pattern, Quantity
from edgeprune.options.fields import check_fields, option
from edgeprune.training.rates import SCHEDULES

DEVICE = Pattern(r"auto|cpu(:0)?|cuda(:[0-9]{1,4})?", ("auto", "cpu", "cuda"))


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train one stage.

    ``schedule`` names a factor on ``lr`` over the share of training done. ``ema`` is the decay of a running average of
    the weights, which is what a stage ends with (0: none).

    Raises:
        TrainError: a value that makes no sense; names the field.
    """

    batch_size: int = option(128, "Set the images per step.", "training", IMAGES_PER_BATCH, metavar="N")
    accumulate: int = option(
        1,
        "Compute each batch in this many parts, one after the other, to take less memory for the same step.",
        "training",
        IMAGES_PER_BATCH,
        metavar="N",
    )
    lr: float = option(0.01, "Set the learning rate of pruning and fine-tuning.", "training", RATE)
    momentum: float = option(0.9, "Set the momentum of SGD.", "training", SHARE_BELOW_ONE)
    nesterov: bool = option(False, "Use Nesterov's momentum.", "training")
    weight_decay: float = option(1e-4, "Set the weight decay.", "training", Quantity(0, 100))
    schedule: str = option(
        "thesis",
        "Set the learning-rate schedule: {choices}.",
        "training",
        Choice(tuple(SCHEDULES)),
        metavar="NAME",
    )
    label_smoothing: float = option(0.0, "Smooth the labels by this share.", "training", SHARE_BELOW_ONE)
    ema: float = option(
        0.0,
        "Average the fine-tuned weights with this decay; 0 averages nothing.",
        "training",
        SHARE_BELOW_ONE,
    )
    precision: str = option(
        "fp32", "Compute in {choices}.", "training", Choice(("fp32", "bf16", "fp16")), metavar="NAME"
    )
    compile: bool = option(
        False,
        "Compile baseline training and fine-tuning by torch.compile: faster steps, after a minute or two.",
        "training",
    )
    device: str = option("cpu", "Train on {choices}.", "training", DEVICE)
    seed: int = option(0, "Seed every random choice.", "run", SEED)

    def __post_init__(self) -> None:
        check_fields(self, TrainError)

    def rate_at(self, step: int, total: int) -> float:
        """Return the learning rate at one of ``total`` steps."""
        return self.lr * SCHEDULES[self.schedule](step / max(1, total))
