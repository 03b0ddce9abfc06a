"""Named pieces of work that workers share: each piece is done by the worker that began it first."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from edgeprune.studies.store import StudyStore

PIECE = "row"  # the parameter of a trial that names its piece
REPORT = (
    "report"  # the attribute of a trial with what came of it; one that failed without it is to be repeated
)


@dataclass
class SharedPieces:
    """Pieces of work, each a trial of a study once it is begun.

    Trials are numbered in the order in which workers begin them, and a trial is created together with its piece. So
    of two workers that begin a piece at the same time, the one with the higher number sees the other's and leaves.

    Attributes:
        store: the study.
        names: of the pieces, in the order of the work.
        again: numbers of failed trials whose pieces are to be tried again.
    """

    store: StudyStore
    names: tuple[str, ...]
    again: Collection[int] = ()

    def failed(self) -> dict[str, FrozenTrial]:
        """Return the last failure of each piece that failed for a reason of its own, not for its worker's death."""
        failed = {
            trial.params[PIECE]: trial
            for trial in self.store.trials(TrialState.FAIL)
            if REPORT in trial.user_attrs and trial.number not in self.again
        }
        return {name: trial for name, trial in failed.items() if name not in self._alive()}

    def done(self) -> dict[str, FrozenTrial]:
        """Return the finished trial of each piece that is done."""
        done: dict[str, FrozenTrial] = {}
        for trial in self.store.trials(TrialState.COMPLETE):
            done.setdefault(trial.params[PIECE], trial)
        return done

    def are_through(self) -> bool:
        """Return whether every piece is done or has failed."""
        return self.done().keys() | self.failed().keys() >= {*self.names}

    def claim(self, first: Collection[str] = ()) -> optuna.Trial | None:
        """Begin a piece that no living worker has begun; None where there is none now.

        Args:
            first: pieces that this worker would rather have than others.
        """
        self.store.running()
        taken = self._alive() | self.failed().keys()
        free = [name for name in self.names if name not in taken]
        for name in sorted(free, key=lambda name: name not in first):
            trial = self._begin(name)
            if trial is not None:
                return trial
        return None

    def reports(self) -> dict[str, Any]:
        """Return what came of each piece that is done or has failed."""
        return {name: trial.user_attrs[REPORT] for name, trial in (self.failed() | self.done()).items()}

    def do(self, trial: optuna.Trial, work: Callable[[], tuple[Any, float | None]]) -> bool:
        """Do the piece of a trial that `claim` returned; return whether it counts.

        Args:
            trial: of this worker.
            work: returns what came of the piece, as JSON, and its value; None for a failure.
        """

        def objective(trial: optuna.Trial) -> float:
            report, value = work()
            trial.set_user_attr(REPORT, report)
            if value is None:
                raise _PieceFailed
            return value

        try:
            return self.store.evaluate(trial, objective)
        except _PieceFailed:
            return True

    def _alive(self) -> set[str]:
        trials = self.store.trials(TrialState.COMPLETE, TrialState.RUNNING)
        return {trial.params[PIECE] for trial in trials}

    def _begin(self, name: str) -> optuna.Trial | None:
        study = self.store.study
        template = create_trial(
            state=TrialState.RUNNING,
            params={PIECE: name},
            distributions={PIECE: CategoricalDistribution(self.names)},
        )
        trial_id = self.store.storage.create_new_trial(study._study_id, template_trial=template)
        trial = optuna.Trial(study, trial_id)
        rivals = [
            other
            for other in self.store.trials(TrialState.COMPLETE, TrialState.RUNNING)
            if other.params[PIECE] == name and other.number < trial.number
        ]
        if not rivals:
            return trial
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
        return None


class _PieceFailed(Exception):
    """A piece that failed, whose report says why."""


def failures(store: StudyStore) -> Sequence[int]:
    """Return the numbers of the trials that failed for a reason of their own."""
    return [trial.number for trial in store.trials(TrialState.FAIL) if REPORT in trial.user_attrs]
