"""The common baseline of a comparison's rows, in its own run folder.

It is the first stage of `train-prune`; the folder is an unfinished run.
"""

from pathlib import Path
from typing import Any

from edgeprune.errors import DataError, EdgePruneError, RunError, StorageError, TargetError, WeightsError
from edgeprune.processes.progress import ProgressCallback
from edgeprune.train_prune import pipeline
from edgeprune.train_prune.options import TrainPruneOptions

# Errors that no choice of method can avoid.
SHARED = (DataError, RunError, StorageError, TargetError, WeightsError)


def begin_baseline(
    path: Path, training: dict[str, Any], methods: tuple[str, ...], progress: ProgressCallback
) -> None:
    """Check what all rows share (data, model, weights, target), then create the run folder.

    One method that can begin is enough: if another method refuses the options, its row fails.

    Args:
        path: of the run folder.
        training: fields of `TrainPruneOptions` that all rows share.
        methods: the methods of the comparison.
        progress: called with (done, total, text).

    Raises:
        EdgePruneError: a mistake in the input; nothing is written.
    """
    refusals = []
    for method in methods:
        try:
            pipeline.begin(path, TrainPruneOptions(**{**training, "method": method}), False, progress)
            return
        except SHARED:
            raise
        except EdgePruneError as error:
            refusals.append(error)
    raise refusals[0]


def weights_of(path: Path) -> Path | None:
    """Return the path of the baseline's weights, or None before they are trained."""
    weights = path / "baseline.safetensors"
    return weights.absolute() if weights.is_file() else None
