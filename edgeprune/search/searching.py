"""The steps of a search: baseline, groups, trials, the best plan, plots."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch

from edgeprune.comparison.source import check_begun_with, shared_training
from edgeprune.errors import RunError, SearchError
from edgeprune.files.locks import shared
from edgeprune.graph.classes import build_graph
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.search import SearchResult
from edgeprune.records.trust import vouch_for
from edgeprune.runs.folders import folder_aside
from edgeprune.search.clusters import check_clusters
from edgeprune.search.conclusion import conclude, write_best_plan
from edgeprune.search.context import SearchContext, projection_of, variables_of
from edgeprune.search.folder import SEARCH, SearchFolder
from edgeprune.search.objective import Objective
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.search.result import STAGE, best_of
from edgeprune.studies import HEARTBEAT_S
from edgeprune.studies.opening import check_storage
from edgeprune.studies.store import StudyStore
from edgeprune.studies.urls import redacted
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import begin, stored_options, train_baseline
from edgeprune.training import Interrupted


def search(
    out: str | Path,
    options: SearchOptions | None = None,
    *,
    storage: str | None = None,
    resume: bool = False,
    force: bool = False,
    heartbeat_s: float = HEARTBEAT_S,
    progress: ProgressCallback = no_progress,
) -> SearchResult:
    """Search how many channels each group keeps; writes a folder with the best plan.

    Args:
        out: the search's folder. Each participating machine has its own.
        options: of the search. With ``resume``, the folder's options apply.
        storage: URL of the study; workers with the same one share it. None for a file in the folder. Its
            password is not kept: with ``resume`` the URL is given again, and may be corrected while no policy
            is evaluated.
        resume: continue, or join another process that works in the same folder.
        force: replace a search of that name.
        heartbeat_s: floaterval at which this worker reports that it is alive to a shared database, in seconds.
        progress: called with (done, total, text).

    Returns:
        The result, as in result.json.

    Raises:
        EdgePruneError: a mistake in the options (nothing is written then).
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; ``resume`` continues.
    """
    if storage is not None:
        check_storage(storage)
    folder = SearchFolder.open(out) if resume else _begin(Path(out), options, storage, force, progress)
    options, stored = folder.read_options()
    url = _storage_of(folder, storage, stored)
    with shared(folder.path):
        return _finish(folder, options, url, heartbeat_s, progress)


def _finish(
    folder: SearchFolder, options: SearchOptions, url: str, heartbeat_s: float, progress: ProgressCallback
) -> SearchResult:
    """Complete a search, together with other workers, and return its result."""
    if not (folder.baseline / "baseline.safetensors").is_file():
        train_baseline(folder.baseline, progress, wait=True)
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
        return conclude(context, store.study, progress)


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


def _storage_of(folder: SearchFolder, storage: str | None, stored: str) -> str:
    """Return the URL of the study: the typed one, or else the stored one.

    Any storage other than the file in the folder has to be repeated: passwords are not stored, and a folder
    from elsewhere may name a storage whose content is unpickled. Before the first evaluation, a storage may
    be corrected.
    """
    if storage is None:
        if stored != folder.storage:
            raise SearchError(
                f"the storage {stored} is opened only if you repeat it: give `storage` again, in full"
            )
        return stored
    if redacted(storage) != stored:
        if folder.plan.exists():
            raise RunError(
                f"{folder.path} was begun with another storage, {stored}, and policies are in it: leave "
                "`storage` out, or begin another search"
            )
        folder.write_options(asdict(folder.read_options()[0]), redacted(storage))
    return storage


def _begin(
    out: Path, options: SearchOptions | None, storage: str | None, force: bool, progress: ProgressCallback
) -> SearchFolder:
    """Check the options, then create the folder."""
    if options is None:
        raise RunError("a new search needs its options")
    if storage is not None and options.sampler not in STUDIED:
        raise SearchError(f"`sampler={options.sampler}` uses a single worker: leave `storage` out")
    with folder_aside(out, SEARCH, force=force, inputs=options.inputs) as aside:
        options = replace(options, training=shared_training(options.source, options.training))
        training = TrainPruneOptions(**{**options.training, "method": "l1", "distill": False})
        folder = SearchFolder(aside)
        begin(folder.baseline, training, False, progress)
        folder.write_options(asdict(options), None if storage is None else redacted(storage))
        _check(folder, options, progress)
    return SearchFolder(out)


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
