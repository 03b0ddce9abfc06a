"""Find what makes no sense in a comparison before torch is imported and before anything is written."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.source import check_begun_with, shared_training
from edgeprune.errors import (
    DataError,
    EdgePruneError,
    RunError,
    StorageError,
    TargetError,
    TrainError,
    WeightsError,
)
from edgeprune.processes.distributed import world
from edgeprune.records.trust import vouch_for
from edgeprune.train_prune.checking import check_choices, check_named, on_device
from edgeprune.train_prune.options import TrainPruneOptions

# Errors that no choice of method can avoid.
SHARED = (DataError, RunError, StorageError, TargetError, WeightsError)


def check_before_torch(
    out: Path, options: CompareOptions, *, storage: str | None = None, force: bool = False
) -> CompareOptions:
    """Check what needs neither torch, which takes seconds to import, nor the data.

    Args:
        out: the comparison's folder.
        options: as typed.
        storage: URL of the study that shares the rows; None for none.
        force: whether a comparison of that name is replaced.

    Returns:
        The options with those of the source.

    Raises:
        EdgePruneError: something else is there, or an option makes no sense for every method.
    """
    if storage is not None:
        check_shareable(storage)
    elif options.study is not None:
        raise TrainError("`study` names the work in a shared `storage`: say that, too, or leave `study` out")
    ComparisonFolder.check_free(out, force=force, inputs=options.inputs)
    training = shared_training(options.source, options.training, needs_baseline=not options.moments)

    def check(row: TrainPruneOptions) -> None:
        check_choices(row)
        check_named(row)

    with_first_method(training, options.methods, check)
    return replace(options, training=training)


def planning_note(options: CompareOptions) -> str | None:
    """Return what to know of a comparison that measures although `latency` is off; None where it does not.

    Args:
        options: with those of the source.
    """
    training = TrainPruneOptions(**options.training)
    if options.latency or not on_device(training):
        return None
    return (
        f"--no-latency leaves out the measurement of finished rows alone: with the target {training.target} each row "
        "is still measured while it is planned; --target flops=0.5 measures nothing"
    )


def with_first_method(
    training: dict[str, Any], methods: Iterable[str], begin: Callable[[TrainPruneOptions], object]
) -> None:
    """Call a function with the options of the first method that it accepts them of.

    One method that can begin is enough: if another method refuses the options, its row fails.

    Args:
        training: fields of `TrainPruneOptions` that all rows share.
        methods: of the comparison.
        begin: raises an EdgePruneError for options that it refuses.

    Raises:
        EdgePruneError: it refuses them for all methods, or for what no method can avoid.
    """
    refusals = []
    for method in methods:
        try:
            begin(TrainPruneOptions(**{**training, "method": method}))
            return
        except SHARED:
            raise
        except EdgePruneError as error:
            refusals.append(error)
    raise refusals[0]


def check_shareable(storage: str) -> None:
    """Raise unless workers can share rows by a storage."""
    from edgeprune.studies.opening import check_storage

    if world().size > 1:
        raise TrainError("processes that train together make one row at a time: leave `storage` out")
    check_storage(storage)


def check_same_comparison(out: str | Path, typed: dict[str, Any]) -> None:
    """Check that options typed beside ``resume`` are those of the comparison.

    Args:
        out: the comparison's folder.
        typed: fields of `CompareOptions` and of `TrainPruneOptions` by name.

    Raises:
        RunError: one of them differs.
    """
    vouch_for(typed)
    check_begun_with("comparison", ComparisonFolder.open(out).read_options(), typed)
