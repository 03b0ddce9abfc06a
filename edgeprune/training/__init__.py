"""One training loop for baseline, pruning and fine-tuning alike."""

from edgeprune.training.evaluation import accuracy, recalibrate, recalibrate_on, recalibrated_if_better
from edgeprune.training.extras import Extra, Plateau
from edgeprune.training.loop import Interrupted, Progress, Stage, checkpoint_seconds
from edgeprune.training.options import PRECISIONS, TrainOptions, best_precision, computing_in
from edgeprune.training.rates import SCHEDULES

__all__ = [
    "PRECISIONS",
    "SCHEDULES",
    "Extra",
    "Interrupted",
    "Plateau",
    "Progress",
    "Stage",
    "TrainOptions",
    "accuracy",
    "best_precision",
    "checkpoint_seconds",
    "computing_in",
    "recalibrate",
    "recalibrate_on",
    "recalibrated_if_better",
]
