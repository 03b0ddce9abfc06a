"""The study of a search in a storage that many workers share, and the loop of a worker."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from edgeprune.errors import SearchError, StorageError
from edgeprune.search.storage import open_storage, redacted, unusable, without_secrets

HEARTBEAT_S = 15  # interval at which a worker reports that it is alive
STALE = 20  # times the median trial, at least a minute: for storages without heartbeats
WAIT_S = 0.5
TRIES, CONFLICTS = 8, ("already exists", "locked", "unique", "duplicate")  # errors of concurrent creation
IDENTITY = "search"  # the study's attribute that identifies the search

Objective = Callable[[optuna.Trial], float]


@dataclass
class StudyStore:
    """A study that every worker of a search reads and writes.

    Attributes:
        study: Optuna's.
        url: of its storage.
    """

    study: optuna.Study
    url: str

    @classmethod
    def open(
        cls,
        url: str,
        name: str,
        identity: Mapping[str, Any],
        sampler: BaseSampler | None = None,
        *,
        heartbeat_s: int = HEARTBEAT_S,
    ) -> "StudyStore":
        """Join the study of that name, or create it.

        Args:
            url: 'sqlite:///FILE', 'postgresql://...', 'mysql://...', 'redis://...', or 'journal:FILE' for a
                file on a disk that the workers share.
            name: the study's name.
            identity: settings that identify the search; the study of another search is refused.
            sampler: proposes new trials.
            heartbeat_s: interval at which a worker reports that it is alive, in seconds.

        Raises:
            SearchError: the storage cannot be reached, or the study belongs to another search.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = _join(url, name, sampler, heartbeat_s)
            stored = study.user_attrs.get(IDENTITY)
            if stored is None and not study.get_trials(deepcopy=False):
                study.set_user_attr(IDENTITY, dict(identity))
                stored = dict(identity)
        except Exception as error:  # a driver's, of which each has its own
            raise unusable(url, error) from error
        _check_same(stored, identity, name, url)
        return cls(study, url)

    def work(
        self,
        objective: Objective,
        trials: int,
        *,
        stop: Callable[[], bool] = lambda: False,
        after_trial: Callable[[], None] = lambda: None,
    ) -> None:
        """Evaluate policies, together with other workers, until ``trials`` are finished.

        A killed worker loses its running trial; another trial replaces it.

        Args:
            objective: evaluates one policy; an exception ends this worker and marks the trial as failed.
            trials: number of trials of all workers together.
            stop: checked between trials.
            after_trial: called after each trial.
        """

        def if_needed(trial: optuna.Trial) -> float:
            earlier = self._in(TrialState.COMPLETE, TrialState.RUNNING)
            if sum(other.number < trial.number for other in earlier) >= trials:
                raise optuna.TrialPruned  # two workers began the last trial at the same time
            return objective(trial)

        while not stop():
            done, running = len(self._in(TrialState.COMPLETE)), self._alive()
            if done >= trials:
                return
            if done + running >= trials:
                time.sleep(WAIT_S)  # other workers evaluate the last trials
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.optimize(if_needed, n_trials=1)
            after_trial()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn a storage's errors while the study is read or written into a StorageError."""
        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            why = without_secrets((str(_first_cause(error)).splitlines() or [""])[0], self.url)
            raise StorageError(
                f"the storage {redacted(self.url)} failed ({why}): repair it, then continue with --resume"
            ) from error

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def _alive(self) -> int:
        """Count the running trials, after those of dead workers are marked as failed."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)  # does nothing where there are no heartbeats
        running = self._in(TrialState.RUNNING)
        if isinstance(self.study._storage, JournalStorage):
            for trial in running:
                if is_stale(trial, self._in(TrialState.COMPLETE)):
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            running = self._in(TrialState.RUNNING)
        return len(running)


def _first_cause(error: BaseException) -> BaseException:
    """Return the driver's own error, which has the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _join(url: str, name: str, sampler: BaseSampler | None, heartbeat_s: int) -> optuna.Study:
    """Open or create the study; retry where workers that start together conflict while they create its tables."""
    for tries in range(TRIES, 0, -1):
        try:
            return optuna.create_study(
                study_name=name,
                storage=open_storage(url, heartbeat_s),
                sampler=sampler,
                direction="maximize",
                load_if_exists=True,
            )
        except Exception as error:  # a driver's, of which each has its own
            if tries == 1 or not any(word in str(error).lower() for word in CONFLICTS):
                raise
            time.sleep(WAIT_S)
    raise AssertionError("the last try returns or raises")


def is_stale(trial: FrozenTrial, done: list[FrozenTrial]) -> bool:
    """Return whether a trial has run for so long that its worker must be dead."""
    seconds = [other.duration.total_seconds() for other in done if other.duration is not None]
    if not seconds or trial.datetime_start is None:
        return False
    age = (datetime.now() - trial.datetime_start).total_seconds()
    return age > max(60.0, STALE * float(np.median(seconds)))


def _check_same(stored: Any, identity: Mapping[str, Any], name: str, url: str) -> None:
    """Raise SearchError unless a study belongs to this search."""
    where = f"the study {name!r} in {redacted(url)}"
    if not isinstance(stored, dict):
        raise SearchError(f"{where} is not a search of edgeprune's: choose another `study`")
    for key, value in identity.items():
        if stored.get(key) != value:
            raise SearchError(
                f"{where} holds another search: its {key} is {stored.get(key)}, not {value}; "
                "choose another `study` or `storage`"
            )
