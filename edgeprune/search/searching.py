"""The order of a search: the baseline, its groups, trial after trial, the best plan, the pictures."""

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
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.trust import vouch_for
from edgeprune.runs.folders import folder_aside
from edgeprune.search.clusters import check_clusters
from edgeprune.search.folder import SEARCH, Folder
from edgeprune.search.ledger import HEARTBEAT_S, Ledger
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.search.problem import Problem, variables_of, wall_of
from edgeprune.search.result import STAGE, best_of
from edgeprune.search.storage import check_storage, redacted
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import begin, stored_options, train_baseline
from edgeprune.training import Interrupted, Progress


def search(
    out: str | Path,
    options: SearchOptions | None = None,
    *,
    storage: str | None = None,
    resume: bool = False,
    force: bool = False,
    heartbeat_s: int = HEARTBEAT_S,
    progress: Progress = lambda done, total, text: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Find how much each group of channels may lose; leaves a folder with the best plan.

    Args:
        out: the search's folder. Each machine that takes part has one of its own.
        options: what to search for. With ``resume``, the folder's own stand.
        storage: URL of the study; workers with the same one share it. None for a file in the folder. Its
            password is not kept: with ``resume`` the URL is given again, and may be corrected while no policy
            is evaluated.
        resume: go on; or take part, while another process is at work in the same folder.
        force: replace a search of that name.
        heartbeat_s: how often this worker gives a sign of life in a shared database.
        progress: called with (done, total, text).

    Returns:
        The result, as in result.json.

    Raises:
        EdgePruneError: a mistake in what was asked (nothing is written then). Interrupted: Ctrl-C, SIGTERM or
            SIGHUP; ``resume`` goes on.
    """
    if storage is not None:
        check_storage(storage)
    folder = Folder.open(out) if resume else _begin(Path(out), options, storage, force, progress)
    options, stored = folder.asked()
    url = _storage_of(folder, storage, stored)
    with shared(folder.path):
        return _finished(folder, options, url, heartbeat_s, progress)


def _finished(
    folder: Folder, options: SearchOptions, url: str, heartbeat_s: int, progress: Progress
) -> dict[str, Any]:
    """Do what is left of a search, together with other workers; its result."""
    if not (folder.baseline / "baseline.safetensors").is_file():
        train_baseline(folder.baseline, progress, wait=True)
    problem = Problem.of(folder, options, progress)
    ledger = Ledger.open(
        url,
        options.study or problem.study_name,
        problem.identity,
        problem.sampler,
        heartbeat_s=heartbeat_s,
    )
    with stop_on_interrupt() as stop, ledger.explained():
        _work(ledger, problem, progress, stop)
        if stop():
            raise Interrupted
    with ledger.explained():
        return problem.concluded(ledger.study, progress)


def check_same_options(out: str | Path, given: Mapping[str, Any]) -> None:
    """With ``resume``, options that were given must be those the search was begun with.

    Raises:
        RunError: one of them differs.
    """
    vouch_for(given)
    check_begun_with("search", Folder.open(out).asked()[0], given)


def _storage_of(folder: Folder, storage: str | None, stored: str) -> str:
    """Return the URL of the study: the one that was given, or the one that is kept.

    Any but the file in the folder is given again: passwords are not kept, and the folder of someone else may
    name a storage whose content is unpickled. While nothing is evaluated, a storage may be corrected.
    """
    if storage is None:
        if stored != folder.storage:
            raise SearchError(
                f"the storage {stored} is opened only when it is given: repeat --storage, in full"
            )
        return stored
    if redacted(storage) != stored:
        if folder.plan.exists():
            raise RunError(
                f"{folder.path} was begun with another storage, {stored}, and policies are in it: leave "
                "--storage out, or begin another search"
            )
        folder.keep(asdict(folder.asked()[0]), redacted(storage))
    return storage


def _begin(
    out: Path, options: SearchOptions | None, storage: str | None, force: bool, progress: Progress
) -> Folder:
    """Check everything, then make the folder."""
    if options is None:
        raise RunError("a new search needs its options")
    if storage is not None and options.sampler not in STUDIED:
        raise SearchError(f"--sampler {options.sampler} is one worker's work: leave --storage out")
    with folder_aside(out, SEARCH, force=force, inputs=options.inputs) as aside:
        options = replace(options, training=shared_training(options.source, options.training))
        training = TrainPruneOptions(**{**options.training, "method": "l1", "distill": False})
        folder = Folder(aside)
        begin(folder.baseline, training, False, progress)
        folder.keep(asdict(options), None if storage is None else redacted(storage))
        _check(folder, options, progress)
    return Folder(out)


def _check(folder: Folder, options: SearchOptions, progress: Progress) -> None:
    """What can be known to be wrong before a baseline is trained."""
    run = folder.run()
    training = stored_options(run)
    if not training.val_fraction:
        raise SearchError("there are no images to judge policies on: raise --val-fraction above 0")
    model = run.build()
    graph = build_graph(model, torch.zeros(1, *run.config["input_shape"]), opaque=training.opaque or ())
    budget = make_budget(model, graph, training, check=False, progress=progress)
    variables = variables_of(graph, np.zeros(graph.classes), options, training, budget)
    if not len(variables):
        raise SearchError(f"{training.model} has no channels that may go: there is nothing to search")
    wall_of(variables, budget, options).check()
    if options.clustered:
        check_clusters(options.clusters, len(variables))


def _work(ledger: Ledger, problem: Problem, progress: Progress, stop: Callable[[], bool]) -> None:
    """Trials until there are enough, with the best so far in the bar."""

    def told() -> None:
        done = ledger.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        best = best_of(ledger.study)
        shown = "" if best is None else f", best {100 * (best.value or 0.0):.2f} %"
        if best is not None and best.number == done[-1].number:
            problem.keep_plan(ledger.study)
        stage = "" if not done else f" ({done[-1].user_attrs[STAGE]})"
        progress(min(len(done), problem.trials), problem.trials, f"trials {len(done)}{stage}{shown}")

    ledger.work(problem.objective, problem.trials, stop=stop, told=told)
