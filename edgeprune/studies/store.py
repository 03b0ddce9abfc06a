"""A study in a storage that many workers share, and the loop of a worker."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from edgeprune.errors import StorageError
from edgeprune.studies import HEARTBEAT_S
from edgeprune.studies.heartbeats import Watch, beating
from edgeprune.studies.opening import WAIT_S, open_storage, unless_in_conflict
from edgeprune.studies.patience import PatientStorage, Stopped, first_cause, is_of_a_driver
from edgeprune.studies.urls import reason_of, redacted, unusable

# What a study may hold, which is also its attribute that identifies the work: more than one would be a mixture.
KINDS = ("search", "comparison")

Objective = Callable[[optuna.Trial], float]


@dataclass
class StudyStore:
    """A study that every worker reads and writes.

    Attributes:
        study: Optuna's.
        storage: of the study.
        heartbeat_s: interval at which a worker reports that it is alive, in seconds.
        check: called once with each trial; raises StorageError for what edgeprune did not write.
    """

    study: optuna.Study
    storage: PatientStorage
    heartbeat_s: float = HEARTBEAT_S
    check: Callable[[FrozenTrial], None] = lambda _: None
    _watch: Watch = field(init=False, repr=False)
    _checked: set[int] = field(init=False, repr=False, default_factory=set)

    def __post_init__(self) -> None:
        self._watch = Watch(self.heartbeat_s)

    @classmethod
    def open(
        cls,
        url: str,
        name: str,
        identity: Mapping[str, Any],
        sampler: BaseSampler | None = None,
        *,
        kind: str = "search",
        heartbeat_s: float = HEARTBEAT_S,
        check: Callable[[FrozenTrial], None] = lambda _: None,
    ) -> "StudyStore":
        """Join the study of that name, or create it.

        Args:
            url: 'sqlite:///FILE', 'postgresql://...', 'mysql://...', 'redis://...', or 'journal:FILE' for a
                file on a disk that the workers share.
            name: the study's name.
            identity: settings that identify the work; the study of other work is refused.
            sampler: proposes new trials.
            kind: of the work, one of `KINDS`.
            heartbeat_s: interval at which a worker reports that it is alive, in seconds.
            check: called once with each trial; raises StorageError for what edgeprune did not write.

        Raises:
            StorageError: the storage cannot be reached, or the study belongs to other work.
        """
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            storage = PatientStorage(open_storage(url), url)
            study = unless_in_conflict(
                lambda: optuna.create_study(
                    study_name=name,
                    storage=storage,
                    sampler=sampler,
                    direction="maximize",
                    load_if_exists=True,
                )
            )
            is_new = not study.get_trials(deepcopy=False)  # before the attributes: others write those first
            stored = {key: value for key, value in study.user_attrs.items() if key in KINDS}
            if is_new and not stored:
                stored[kind] = dict(identity)
                study.set_user_attr(kind, stored[kind])
        except StorageError:
            raise
        except Exception as error:  # a driver's, of which each has its own
            raise unusable(url, error) from error
        _check_same(stored, kind, identity, f"the study {name!r} in {redacted(url)}")
        storage.be_patient()
        return cls(study, storage, heartbeat_s, check)

    def work(
        self,
        objective: Objective,
        trials: int,
        *,
        stop: Callable[[], bool] = lambda: False,
        after_trial: Callable[[], None] = lambda: None,
        waiting: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Evaluate policies, together with other workers, until ``trials`` are finished.

        A worker that is killed loses its running trial; another trial replaces it. A worker that was silent for so
        long that the others replaced its trial drops what it evaluated.

        Args:
            objective: evaluates one policy; an exception ends this worker and marks the trial as failed.
            trials: number of trials of all workers together.
            stop: checked between trials, and while the server is away.
            after_trial: called after each trial.
            waiting: called with one line while the server is away.
        """

        def if_needed(trial: optuna.Trial) -> float:
            earlier = self.trials(TrialState.COMPLETE, TrialState.RUNNING)
            if sum(other.number < trial.number for other in earlier) >= trials:
                raise optuna.TrialPruned  # two workers began the last trial at the same time
            return objective(trial)

        with self.patient(stop, waiting):
            while not stop():
                done, running = len(self.trials(TrialState.COMPLETE)), self.running()
                if done >= trials:
                    return
                if done + running >= trials:
                    time.sleep(WAIT_S)  # other workers evaluate the last trials
                    continue
                self.evaluate(self.study.ask(), if_needed)
                after_trial()

    def evaluate(self, trial: optuna.Trial, objective: Objective) -> bool:
        """Evaluate a trial that this worker holds, and end it; return whether its value counts.

        Args:
            trial: running.
            objective: returns its value, or raises: ``optuna.TrialPruned`` for a trial that is not needed.
        """
        try:
            with beating(self.storage.storage, trial._trial_id, self.heartbeat_s):
                value = objective(trial)
            return self._end(trial, value)
        except optuna.TrialPruned:
            return self._end(trial, state=TrialState.PRUNED)
        except UpdateFinishedTrialError:
            return False  # this worker was silent for too long: another trial replaces this one
        except (StorageError, Stopped):
            self.storage.limit_s = (
                0.0  # this worker ends: others need not wait for its trial if they can be told
            )
            with suppress(Exception):
                self._end(trial, state=TrialState.FAIL)
            raise
        except BaseException:
            self._end(trial, state=TrialState.FAIL)
            raise

    def _end(self, trial: optuna.Trial, value: float | None = None, state: TrialState | None = None) -> bool:
        try:
            ended = self.study.tell(trial, value, state=state, skip_if_finished=True)
        except UpdateFinishedTrialError:  # between tell's own look at the trial and its end
            return False
        return ended.state == TrialState.COMPLETE and ended.value == value

    @contextmanager
    def patient(self, stop: Callable[[], bool], waiting: Callable[[str], None]) -> Iterator[None]:
        """Wait during the block while the server is away; the block ends early where the worker is asked to stop.

        Args:
            stop: whether the worker was asked to stop.
            waiting: called with one line while the server is away.
        """
        before = self.storage.stop, self.storage.waiting
        self.storage.stop, self.storage.waiting = stop, waiting
        try:
            yield
        except Stopped:
            return
        finally:
            self.storage.stop, self.storage.waiting = before

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn a storage's errors while the study is read or written into a StorageError."""
        try:
            yield
        except Exception as error:
            if not is_of_a_driver(error):
                raise
            reason = reason_of(first_cause(error), self.storage.url)
            raise StorageError(
                f"the storage {redacted(self.storage.url)} failed ({reason}): repair it, then continue with --resume"
            ) from error

    def agreed(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a value that every worker of the study has to take alike: that of the first who noted one.

        It is an attribute of a trial that counts as none: a storage numbers trials in the order in which they come.

        Args:
            name: of the value.
            compute: returns this worker's, as JSON has it; called if none is noted yet.
        """
        with self.explained():
            if (known := self._noted(name)) is not None:
                return known
            note = optuna.create_trial(state=TrialState.PRUNED, user_attrs={name: compute()})
            self.study.add_trial(note)
            return self._noted(name)

    def _noted(self, name: str) -> Any:
        notes = self.study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
        return next((note.user_attrs[name] for note in notes if name in note.user_attrs), None)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """Return the trials in some states, checked."""
        trials = self.study.get_trials(deepcopy=False, states=states)
        for trial in trials:
            if trial.number not in self._checked:
                self.check(trial)
                if trial.state.is_finished():
                    self._checked.add(trial.number)
        return trials

    def running(self) -> int:
        """Count the running trials, after those of dead workers are marked as failed."""
        running = self.trials(TrialState.RUNNING)
        dead = self._watch.dead(running)
        for trial in dead:
            self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return len(running) - len(dead)


def _check_same(stored: Mapping[str, Any], kind: str, identity: Mapping[str, Any], where: str) -> None:
    """Raise StorageError unless a study belongs to this work."""
    own = stored.get(kind)
    if not isinstance(own, dict) or len(stored) > 1:
        raise StorageError(f"{where} is not a {kind} of edgeprune's: choose another `study`")
    for key, value in identity.items():
        if own.get(key) != value:
            raise StorageError(
                f"{where} holds another {kind}: its {key} is {own.get(key)}, not {value}; "
                "choose another `study` or `storage`"
            )
