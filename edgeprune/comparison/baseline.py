"""The one baseline that all rows of a comparison start from, as a run folder of its own.

It is the first stage of `train-prune` and nothing more; the folder is an unfinished run.
"""

from pathlib import Path
from typing import Any

from edgeprune.errors import DataError, EdgePruneError, RunError, StorageError, TargetError, WeightsError
from edgeprune.train_prune import pipeline
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.training import Progress

# What no choice of method can mend.
SHARED = (DataError, RunError, StorageError, TargetError, WeightsError)


def begin(path: Path, training: dict[str, Any], methods: tuple[str, ...], progress: Progress) -> None:
    """Check what all rows share (data, model, weights, target), then make the run folder.

    It is enough that one of the methods can begin: what another refuses is a matter of its row.

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
    """The baseline's weights, or None while there are none."""
    weights = path / "baseline.safetensors"
    return weights.absolute() if weights.is_file() else None
