"""The search for one target: its folder with a baseline, its trials, its conclusion."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
import torch

from edgeprune.errors import SearchError
from edgeprune.graph.classes import build_graph
from edgeprune.processes.progress import ProgressCallback
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.search import SearchResult
from edgeprune.runs.folders import folder_aside
from edgeprune.search.checking import training_of
from edgeprune.search.clusters import check_clusters
from edgeprune.search.conclusion import conclude, write_best_plan
from edgeprune.search.context import SearchContext, projection_of, variables_of
from edgeprune.search.folder import SEARCH, SearchFolder
from edgeprune.search.objective import Objective
from edgeprune.search.options import SearchOptions
from edgeprune.search.result import STAGE, best_of
from edgeprune.studies.store import StudyStore
from edgeprune.studies.urls import redacted
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.pipeline import begin, train_baseline
from edgeprune.train_prune.stored import stored_options
from edgeprune.training import Interrupted


class Finished(NamedTuple):
    """A search that is finished.

    Attributes:
        context: of the search.
        store: of its policies.
        result: as in result.json.
    """

    context: SearchContext
    store: StudyStore
    result: SearchResult


def create(
    out: Path, options: SearchOptions, storage: str | None, *, force: bool, progress: ProgressCallback
) -> SearchFolder:
    """Check the options, then create the folder.

    Args:
        out: of the search.
        options: of the search, with those of its source.
        storage: URL of the study; None for a file in the folder.
        force: replace a search of that name.
        progress: called with (done, total, text).

    Raises:
        EdgePruneError: a mistake in the options; nothing is written then.
    """
    with folder_aside(out, SEARCH, force=force, inputs=options.inputs) as aside:
        folder = SearchFolder(aside)
        begin(folder.baseline, training_of(options), False, progress)
        folder.write_options(asdict(options), None if storage is None else redacted(storage))
        _check(folder, options, progress)
    return SearchFolder(out)


def ensure_baseline(folder: SearchFolder, progress: ProgressCallback) -> None:
    """Train the baseline of a search, if it has none; wait for another worker that trains it.

    Args:
        folder: that `create` made.
        progress: called with (done, total, text).
    """
    if not (folder.baseline / "baseline.safetensors").is_file():
        train_baseline(folder.baseline, progress, wait=True)


def finish(
    folder: SearchFolder, options: SearchOptions, url: str, heartbeat_s: float, progress: ProgressCallback
) -> Finished:
    """Complete a search, together with other workers.

    Args:
        folder: that `create` made.
        options: of the search.
        url: of the study.
        heartbeat_s: interval at which this worker reports that it is alive, in seconds.
        progress: called with (done, total, text).

    Raises:
        SearchError: no policy could be evaluated. StorageError: the storage fails.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP.
    """
    ensure_baseline(folder, progress)
    context = SearchContext.of(folder, options, progress)
    store = StudyStore.open(
        url,
        options.study or context.study_name,
        context.identity,
        context.sampler,
        heartbeat_s=heartbeat_s,
        check=context.check_trial,
    )
    with stop_on_interrupt() as stop, store.explained():
        _work(store, context, progress, stop)
        if stop():
            raise Interrupted
    with store.explained():
        return Finished(context, store, conclude(context, store.study, progress))


def _check(folder: SearchFolder, options: SearchOptions, progress: ProgressCallback) -> None:
    """Find mistakes that can be found before a baseline is trained."""
    run = folder.run()
    training = stored_options(run)
    if not training.val_fraction:
        raise SearchError("there are no images to evaluate policies on: raise `val_fraction` above 0")
    model = run.build()
    graph = build_graph(model, torch.zeros(1, *run.config["input_shape"]), opaque=training.opaque or ())
    budget = make_budget(model, graph, training, check=False, progress=progress)
    variables = variables_of(graph, np.zeros(graph.classes), options, training, budget)
    if not len(variables):
        raise SearchError(f"{training.model} has no prunable channels: there is nothing to search")
    projection_of(variables, budget, options).check()
    if options.clustered:
        check_clusters(options.clusters, len(variables))


def _work(
    store: StudyStore, context: SearchContext, progress: ProgressCallback, stop: Callable[[], bool]
) -> None:
    """Evaluate trials until there are enough; the progress bar shows the best one so far."""

    def report() -> None:
        done = store.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        best = best_of(store.study)
        shown = "" if best is None else f", best {100 * (best.value or 0.0):.2f} %"
        if best is not None and best.number == done[-1].number:
            write_best_plan(context, store.study)
        stage = "" if not done else f" ({done[-1].user_attrs[STAGE]})"
        progress(min(len(done), context.trials), context.trials, f"trials {len(done)}{stage}{shown}")

    def waiting(line: str) -> None:
        progress(0, context.trials, f"trials: {line}")

    store.work(Objective(context), context.trials, stop=stop, after_trial=report, waiting=waiting)
