"""Signs of life: a worker counts up while it works on a trial, and the others notice when it no longer does.

Optuna's own heartbeats exist for SQL databases alone, compare clocks, and end with the first error of a server.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from edgeprune.studies import HEARTBEAT_S

DEAD_AFTER = 4  # missed heartbeats after which a worker counts as dead
HEARTBEAT = "heartbeat"  # a trial's attribute: a number that grows while its worker lives

_log = logging.getLogger(__name__)


@contextmanager
def beating(storage: BaseStorage, trial_id: int, interval_s: float) -> Iterator[None]:
    """Report during the block that the worker of a trial is alive.

    Args:
        storage: of the trial; while it does not answer, nothing is reported.
        trial_id: of the trial.
        interval_s: between two reports, in seconds.
    """
    ended = threading.Event()

    def beat() -> None:
        for count in itertools.count(1):
            if ended.wait(interval_s):
                break
            try:
                storage.set_trial_user_attr(trial_id, HEARTBEAT, count)
            except UpdateFinishedTrialError:
                break  # the others gave this worker up; it notices when it ends its trial
            except Exception as error:  # a driver's: the next report may get through
                _log.debug("a report could not be made: %s", type(error).__name__)
        storage.remove_session()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@dataclass
class Watch:
    """What one worker sees of the others' heartbeats.

    Only its own clock counts, so that clocks of machines need not agree, and only what it saw: a worker that could
    not look for an hour, for its own work or because the server was away, has seen one silent interval and no more.

    Attributes:
        interval_s: at which workers report.
        clock: seconds, never going back.
    """

    interval_s: float = HEARTBEAT_S
    clock: Callable[[], float] = time.monotonic
    _counts: dict[int, int] = field(default_factory=dict)
    _silent_s: dict[int, float] = field(default_factory=dict)
    _looked: float | None = None

    def dead(self, running: Iterable[FrozenTrial]) -> list[FrozenTrial]:
        """Return those running trials whose workers have been silent for too long."""
        now = self.clock()
        passed_s = 0.0 if self._looked is None else min(now - self._looked, self.interval_s)
        self._looked = now
        trials = list(running)
        silent_s, counts = {}, {}
        for trial in trials:
            count = trial.user_attrs.get(HEARTBEAT, 0)
            seen_before = self._counts.get(trial.number) == count
            counts[trial.number] = count
            silent_s[trial.number] = self._silent_s.get(trial.number, 0.0) + passed_s if seen_before else 0.0
        self._counts, self._silent_s = counts, silent_s
        return [trial for trial in trials if silent_s[trial.number] > DEAD_AFTER * self.interval_s]
