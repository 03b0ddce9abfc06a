"""The common baseline of a comparison's rows, in its own run folder.

It is the first stage of `train-prune`; the folder is an unfinished run.
"""

from pathlib import Path
from typing import Any

from edgeprune.comparison.checking import with_first_method
from edgeprune.processes.progress import ProgressCallback
from edgeprune.train_prune import pipeline


def begin_baseline(
    path: Path, training: dict[str, Any], methods: tuple[str, ...], progress: ProgressCallback
) -> None:
    """Check what all rows share (data, model, weights, target), then create the run folder.

    Args:
        path: of the run folder.
        training: fields of `TrainPruneOptions` that all rows share.
        methods: the methods of the comparison.
        progress: called with (done, total, text).

    Raises:
        EdgePruneError: a mistake in the input; nothing is written.
    """
    with_first_method(training, methods, lambda options: pipeline.begin(path, options, False, progress))


def weights_of(path: Path) -> Path | None:
    """Return the path of the baseline's weights, or None before they are trained."""
    weights = path / "baseline.safetensors"
    return weights.absolute() if weights.is_file() else None
