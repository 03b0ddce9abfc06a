"""A storage whose server may go away for a while: workers wait until it answers again."""

import time
from collections.abc import Callable
from typing import Any

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from edgeprune.errors import StorageError
from edgeprune.studies.urls import is_server, reason_of, redacted

PATIENCE_S = 600.0  # for a server that went away
PAUSE_S = 1.0  # between two tries
# What a storage raises that cannot make sense of its own content: no caller here asks for what is not there.
DAMAGED = (LookupError, ValueError, TypeError, AssertionError, AttributeError)


class Stopped(Exception):
    """The worker was asked to stop while it waited for the server."""


def is_of_a_driver(error: BaseException) -> bool:
    """Return whether an error is one of a database, of its driver or of Optuna's storages."""
    return isinstance(error, StorageInternalError | SQLAlchemyError) or _is_of_redis(error)


def _is_of_redis(error: BaseException, *kinds: str) -> bool:
    """Return whether an error is one of redis's, which need not be installed; of some kinds, if they are named."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return type(error).__module__.startswith("redis.") and (not kinds or bool(names & set(kinds)))


def is_outage(error: BaseException | None) -> bool:
    """Return whether an error says that a server is gone, restarts, or broke the connection."""
    while error is not None:
        if isinstance(error, OperationalError | InterfaceError | ConnectionError | TimeoutError):
            return True
        if isinstance(error, DBAPIError) and error.connection_invalidated:
            return True
        if _is_of_redis(error, "ConnectionError", "TimeoutError"):
            return True
        error = error.__cause__
    return False


def _forwarded(name: str) -> Callable[..., Any]:
    def call(self: "PatientStorage", *args: Any, **kwargs: Any) -> Any:
        return self.patiently(name, *args, **kwargs)

    return call


_Forwarding: Any = type(
    "_Forwarding",
    (BaseStorage,),
    {
        name: _forwarded(name)
        for name, method in vars(BaseStorage).items()
        if callable(method) and not name.startswith("_")
    },
)


class PatientStorage(_Forwarding):
    """A storage that calls another one, again and again while its server does not answer.

    A call may be repeated although the server carried it out before the connection broke. An attribute is then
    written twice, and a trial that was created twice has one that nobody works on, which counts as a dead
    worker's after a while; a trial that was finished twice is finished once.

    Attributes:
        storage: that is called.
        url: of the storage.
        stop: whether the worker was asked to stop.
        waiting: called with one line while the server does not answer.
        limit_s: after which a server that went away counts as lost, in seconds.
    """

    def __init__(self, storage: BaseStorage, url: str) -> None:
        self.storage, self.url = storage, url
        self.stop: Callable[[], bool] = lambda: False
        self.waiting: Callable[[str], None] = lambda _: None
        self.limit_s = 0.0

    def be_patient(self, limit_s: float = PATIENCE_S) -> None:
        """Wait from now on while a server is away; a file does not go away for a while."""
        self.limit_s = limit_s if is_server(self.url) else 0.0

    def patiently(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the storage until its server answers.

        Raises:
            StorageError: the server did not come back, or its content is damaged.
            Stopped: the worker was asked to stop.
        """
        began: float | None = None
        while True:
            try:
                return getattr(self.storage, name)(*args, **kwargs)
            except DAMAGED as error:
                raise StorageError(
                    f"the storage {redacted(self.url)} holds what edgeprune did not write, or was changed meanwhile "
                    f"({type(error).__name__}: {reason_of(error, self.url)}): use another storage"
                ) from error
            except Exception as error:  # a driver's, of which each has its own
                if not self.limit_s or not is_outage(error):
                    raise
                now = time.monotonic()
                began = now if began is None else began
                reason = reason_of(first_cause(error), self.url)
                if now - began > self.limit_s:
                    raise StorageError(
                        f"the storage {redacted(self.url)} has not answered for {self.limit_s / 60:.0f} minutes "
                        f"({reason}): when it does, continue with --resume"
                    ) from error
                if self.stop():
                    raise Stopped from error
                self.waiting(f"waiting for the storage {redacted(self.url)} ({reason})")
                time.sleep(PAUSE_S)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        """Finish a trial; a repeated call that the server had carried out already is no error.

        Args:
            trial_id: of the trial.
            state: its new state.
            values: its value, as a sequence.
        """
        try:
            return bool(self.patiently("set_trial_state_values", trial_id, state=state, values=values))
        except UpdateFinishedTrialError:
            trial = self.get_trial(trial_id)
            if trial.state == state and list(trial.values or ()) == list(values or ()):
                return True
            raise


def first_cause(error: BaseException) -> BaseException:
    """Return the driver's own error, which has the cause."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
