"""One training loop for baseline, pruning and fine-tuning alike."""

from edgeprune.training.evaluation import (
    evaluate,
    recalibrate,
    recalibrate_on,
    recalibrated_if_better,
    score_of,
)
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
    "best_precision",
    "checkpoint_seconds",
    "computing_in",
    "evaluate",
    "recalibrate",
    "recalibrate_on",
    "recalibrated_if_better",
    "score_of",
]
