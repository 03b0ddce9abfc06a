"""One training loop for baseline, pruning and fine-tuning alike."""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.training.callbacks import Callback, Plateau
    from edgeprune.training.checkpoints import checkpoint_seconds
    from edgeprune.training.evaluation import (
        evaluate,
        recalibrate,
        recalibrate_on,
        recalibrated_if_better,
        score_of,
    )
    from edgeprune.training.interruption import Interrupted
    from edgeprune.training.loop import Stage
    from edgeprune.training.narrow_maps import narrow_maps_in_fp32
    from edgeprune.training.options import TrainOptions
    from edgeprune.training.pairs import PairedScores, evaluate_pair
    from edgeprune.training.precision import PRECISIONS, best_precision, computing_in
    from edgeprune.training.rates import SCHEDULES

__all__ = [
    "PRECISIONS",
    "SCHEDULES",
    "Callback",
    "Interrupted",
    "PairedScores",
    "Plateau",
    "Stage",
    "TrainOptions",
    "best_precision",
    "checkpoint_seconds",
    "computing_in",
    "evaluate",
    "evaluate_pair",
    "narrow_maps_in_fp32",
    "recalibrate",
    "recalibrate_on",
    "recalibrated_if_better",
    "score_of",
]

__getattr__ = import_on_first_use(
    __name__,
    {
        "evaluation": ("evaluate", "recalibrate", "recalibrate_on", "recalibrated_if_better", "score_of"),
        "callbacks": ("Callback", "Plateau"),
        "checkpoints": ("checkpoint_seconds",),
        "interruption": ("Interrupted",),
        "loop": ("Stage",),
        "narrow_maps": ("narrow_maps_in_fp32",),
        "options": ("TrainOptions",),
        "pairs": ("PairedScores", "evaluate_pair"),
        "precision": ("PRECISIONS", "best_precision", "computing_in"),
        "rates": ("SCHEDULES",),
    },
)
