"""One training loop for baseline, pruning and fine-tuning alike."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.training.callbacks import Callback, Plateau
    from edgeprune.training.evaluation import (
        evaluate,
        recalibrate,
        recalibrate_on,
        recalibrated_if_better,
        score_of,
    )
    from edgeprune.training.loop import Interrupted, Stage, checkpoint_seconds
    from edgeprune.training.options import TrainOptions
    from edgeprune.training.precision import PRECISIONS, best_precision, computing_in
    from edgeprune.training.rates import SCHEDULES

__all__ = [
    "PRECISIONS",
    "SCHEDULES",
    "Callback",
    "Interrupted",
    "Plateau",
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

_MODULES = {
    "evaluation": ("evaluate", "recalibrate", "recalibrate_on", "recalibrated_if_better", "score_of"),
    "callbacks": ("Callback", "Plateau"),
    "loop": ("Interrupted", "Stage", "checkpoint_seconds"),
    "options": ("TrainOptions",),
    "precision": ("PRECISIONS", "best_precision", "computing_in"),
    "rates": ("SCHEDULES",),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used: the options alone need no torch."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
