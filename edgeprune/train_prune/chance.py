"""A note on a baseline that knows nothing of the data: weights may be of another data set, or order of classes."""

import functools
import logging
import math

from torch import nn

from edgeprune import tasks, training
from edgeprune.data import DataBundle
from edgeprune.tasks.classification import ACCURACY
from edgeprune.train_prune.options import TrainPruneOptions

IMAGES = 512  # training images on which weights are judged before the training
FEWEST = 100  # below, accuracy says too little
NEAR = 1.5  # of the accuracy by chance, at most
UNTRAINED = 0.25  # of the way from chance to no mistakes, up to which training has hardly begun
DEVIATIONS = 3.0  # of the share of guesses that are right, at most

_log = logging.getLogger(__name__)


def chance_note(options: TrainPruneOptions, data: DataBundle, accuracy: float, images: int) -> str | None:
    """Return a note where given weights are about as good as guesses, or a baseline trained here is little better.

    Args:
        options: of the run.
        data: of the run.
        accuracy: of the unpruned model, 0 to 1.
        images: on which it was found.
    """
    if not _can_judge(options, images):
        return None
    chance = 1 / max(1, len(data.classes))
    if options.weights is None:
        if accuracy > chance + UNTRAINED * (1 - chance):
            return None
        return (
            f"the baseline reaches {100 * accuracy:.1f} % on {options.data}, where guesses reach {100 * chance:.1f} %: "
            "train it for more --baseline-epochs, or at another --baseline-lr"
        )
    deviation = math.sqrt(chance * (1 - chance) / images)
    if accuracy > min(NEAR * chance, chance + DEVIATIONS * deviation):
        return None
    return (
        f"the given weights reach {100 * accuracy:.1f} % on {options.data}, about chance: are they of this data? name "
        "theirs by --data"
    )


def warn_of_weights(model: nn.Module, data: DataBundle, options: TrainPruneOptions) -> None:
    """Judge given weights on some training images, and warn where they know nothing of the data.

    Args:
        model: with the weights, on the CPU.
        data: of the run.
        options: resolved ones.
    """
    images = min(IMAGES, data.sizes["train"])
    if options.weights is None or not _can_judge(options, images):
        return
    batches = data.batches("train", limit=IMAGES, batch_size=64)
    accuracy = training.evaluate(
        model.to(options.device), batches, tasks.get(options.task), options.device, options.precision
    )[ACCURACY.name]
    model.cpu()
    if note := chance_note(options, data, accuracy, images):
        _warn_once(note)


def _can_judge(options: TrainPruneOptions, images: int) -> bool:
    """Return whether so many images can tell a trained network from guesses."""
    judged_by = tasks.get(options.task).metric.name
    return options.init != "random" and judged_by == ACCURACY.name and images >= FEWEST


@functools.cache
def _warn_once(note: str) -> None:
    """Warn; once for all rows of a comparison."""
    _log.warning("warning: %s", note)
