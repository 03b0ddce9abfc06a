"""Find what makes no sense in a search before torch is imported and before anything is written."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.comparison.source import check_begun_with, shared_training
from edgeprune.errors import SearchError
from edgeprune.records.trust import vouch_for
from edgeprune.runs.folders import check_folder_free
from edgeprune.search.folder import SEARCH, SearchFolder
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.train_prune.checking import check_choices, check_named
from edgeprune.train_prune.options import TrainPruneOptions


def training_of(options: SearchOptions) -> TrainPruneOptions:
    """Return the options of the run that the baseline of a search belongs to.

    Args:
        options: of the search, with those of its source.
    """
    return TrainPruneOptions(**{**options.training, "method": "l1", "distill": False})


def check_before_torch(
    out: Path, options: SearchOptions, *, storage: str | None = None, force: bool = False
) -> SearchOptions:
    """Check what needs neither torch, which takes seconds to import, nor the data.

    Args:
        out: the search's folder.
        options: as typed.
        storage: URL of the study; None for a file in the folder.
        force: whether a search of that name is replaced.

    Returns:
        The options with those of the source.

    Raises:
        EdgePruneError: something else is there, or an option makes no sense.
    """
    if storage is not None:
        from edgeprune.studies.opening import check_storage

        if options.sampler not in STUDIED:
            raise SearchError(f"`sampler={options.sampler}` uses a single worker: leave `storage` out")
        check_storage(storage)
    check_folder_free(out, SEARCH, force=force, inputs=options.inputs)
    training = shared_training(options.source, options.training, same_split=True)
    options = replace(options, training=training)
    check_choices(training_of(options))
    check_named(training_of(options))
    return options


def check_same_search(out: str | Path, typed: Mapping[str, Any]) -> None:
    """Check that options typed beside ``resume`` are those of the search.

    Args:
        out: the search's folder.
        typed: options as they were typed, by name.

    Raises:
        RunError: one of them differs.
    """
    vouch_for(typed)
    check_begun_with("search", SearchFolder.open(out).read_options()[0], typed)
