"""The study of a search in a storage that many workers share, and the worker itself."""

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

HEARTBEAT_S = 15  # a worker's sign of life
AGED = 20  # times the median trial, at least a minute: where a storage has no heartbeats
WAIT_S = 0.5
TRIES, TOGETHER = 8, ("already exists", "locked", "unique", "duplicate")  # words for two at once
IDENTITY = "search"  # the study's attribute that says which search it is

Objective = Callable[[optuna.Trial], float]


@dataclass
class Ledger:
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
    ) -> "Ledger":
        """Join the study of that name, or begin it.

        Args:
            url: 'sqlite:///FILE', 'postgresql://...', 'mysql://...', 'redis://...', or 'journal:FILE' for a
                file on a disk that the workers share.
            name: of the study.
            identity: what makes the search what it is; another's study is refused.
            sampler: of new trials.
            heartbeat_s: how often a worker gives a sign of life.

        Raises:
            SearchError: the storage cannot be reached, or its study is of another search.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            study = _joined(url, name, sampler, heartbeat_s)
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
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """Evaluate policies, together with other workers, until ``trials`` are finished.

        A worker that was killed loses the trial it was at: another is begun in its place.

        Args:
            objective: evaluates one; what it raises ends this worker, and its trial counts as failed.
            trials: how many, by all workers.
            stop: asked between trials.
            told: called after each.
        """

        def wanted(trial: optuna.Trial) -> float:
            earlier = self._in(TrialState.COMPLETE, TrialState.RUNNING)
            if sum(one.number < trial.number for one in earlier) >= trials:
                raise optuna.TrialPruned  # two workers began the last one at once
            return objective(trial)

        while not stop():
            done, going = len(self._in(TrialState.COMPLETE)), self._alive()
            if done >= trials:
                return
            if done + going >= trials:
                time.sleep(WAIT_S)  # others are at the last ones
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                self.study.optimize(wanted, n_trials=1)
            told()

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn what a storage says while the study is read or written into a StorageError."""
        try:
            yield
        except (optuna.exceptions.StorageInternalError, SQLAlchemyError) as error:
            why = without_secrets((str(_first_cause(error)).splitlines() or [""])[0], self.url)
            raise StorageError(
                f"the storage {redacted(self.url)} failed ({why}): mend it, then go on with --resume"
            ) from error

    def _in(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states)

    def _alive(self) -> int:
        """Trials that some worker is at; those of dead workers are given up."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)  # does nothing where there are no heartbeats
        going = self._in(TrialState.RUNNING)
        if isinstance(self.study._storage, JournalStorage):
            for trial in going:
                if aged(trial, self._in(TrialState.COMPLETE)):
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            going = self._in(TrialState.RUNNING)
        return len(going)


def _first_cause(error: BaseException) -> BaseException:
    """Return the driver's own error, which says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _joined(url: str, name: str, sampler: BaseSampler | None, heartbeat_s: int) -> optuna.Study:
    """The study; workers that begin together may be in each other's way while they make its tables."""
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
            if tries == 1 or not any(word in str(error).lower() for word in TOGETHER):
                raise
            time.sleep(WAIT_S)
    raise AssertionError("the last try returns or raises")


def aged(trial: FrozenTrial, done: list[FrozenTrial]) -> bool:
    """Whether a trial goes on for so long that its worker must be dead."""
    seconds = [one.duration.total_seconds() for one in done if one.duration is not None]
    if not seconds or trial.datetime_start is None:
        return False
    age = (datetime.now() - trial.datetime_start).total_seconds()
    return age > max(60.0, AGED * float(np.median(seconds)))


def _check_same(stored: Any, identity: Mapping[str, Any], name: str, url: str) -> None:
    """Raise SearchError unless a study is of this very search."""
    where = f"the study {name!r} in {redacted(url)}"
    if not isinstance(stored, dict):
        raise SearchError(f"{where} is not a search of edgeprune's: choose another --study")
    for key, value in identity.items():
        if stored.get(key) != value:
            raise SearchError(
                f"{where} holds another search: its {key} is {stored.get(key)}, not {value}; "
                "choose another --study or --storage"
            )
