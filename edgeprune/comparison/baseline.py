"""The one baseline that all rows of a comparison start from, as a run folder of its own.

It is the first stage of `train-prune` and nothing more; the folder is an unfinished run.
"""

from pathlib import Path
from typing import Any

from edgeprune import pipeline
from edgeprune.errors import DataError, EdgePruneError, RunError, TargetError, WeightsError
from edgeprune.recipe import TrainPruneOptions
from edgeprune.runs import Run
from edgeprune.training import Progress

SHARED = (DataError, RunError, TargetError, WeightsError)  # mistakes that no choice of method can mend


def begin(path: Path, training: dict[str, Any], methods: tuple[str, ...], progress: Progress) -> None:
    """Check what all rows share (data, model, weights, target), then make the run folder.

    It is enough that one of the methods can begin: what another refuses is a matter of its row.

    Raises:
        EdgePruneError: a mistake in the input; nothing is written.
    """
    refusals = []
    for method in methods:
        try:
            pipeline._begin(path, TrainPruneOptions(**{**training, "method": method}), False, progress)
            return
        except SHARED:
            raise
        except EdgePruneError as error:
            refusals.append(error)
    raise refusals[0]


def finish(path: Path, progress: Progress) -> None:
    """Train the baseline, or copy the given weights; goes on where it was interrupted.

    Raises:
        TrainError: the loss is no longer a number. Interrupted: Ctrl-C; a checkpoint is left.
    """
    run = Run.open(path)
    run.sweep()
    options = pipeline._stored_options(run)
    with pipeline._scalar_writer(run) as scalars, pipeline.stop_on_interrupt() as stop:
        stages = pipeline.Pipeline(run, run.data(), options, progress, stop, scalars)
        if options.weights:
            stages._given_baseline()
        else:
            stages._baseline()
    run.drop_checkpoint()


def weights_of(path: Path) -> Path | None:
    """The baseline's weights, or None while there are none."""
    weights = path / "baseline.safetensors"
    return weights.absolute() if weights.is_file() else None
