"""A server that goes away for a while: workers wait."""

import optuna
import pytest
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from sqlalchemy.exc import IntegrityError, OperationalError

from edgeprune.errors import StorageError
from edgeprune.studies import patience
from edgeprune.studies.patience import PatientStorage, Stopped, is_outage

URL = "postgresql://me:secret@host/db"


def refused() -> Exception:
    """As Optuna gives the error of a driver, which knows the password."""
    error = StorageInternalError("An exception is raised during the commit.")
    refusal = ConnectionRefusedError("no login with secret\nat host")
    error.__cause__ = OperationalError("SELECT 1", {}, refusal)
    error.__cause__.__cause__ = refusal
    return error


class Server(optuna.storages.InMemoryStorage):
    """Refuses its next calls; what it is asked before is carried out where ``after`` is set."""

    refusals, after = 0, False

    def _maybe(self) -> None:
        if self.refusals:
            self.refusals -= 1
            raise refused()

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: object = None) -> bool:
        if not self.after:
            self._maybe()
        done = super().set_trial_state_values(trial_id, state, values)  # type: ignore[arg-type]
        if self.after:
            self._maybe()
        return done


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr(patience, "PAUSE_S", 0.0)
    return Server()


def trial_of(server: Server) -> tuple[PatientStorage, int]:
    storage = PatientStorage(server, URL)
    storage.be_patient()
    return storage, optuna.create_study(storage=storage).ask()._trial_id


@pytest.mark.parametrize("after", [False, True])
def test_a_trial_is_ended_once_whenever_the_server_went_away(server: Server, after: bool) -> None:
    storage, trial = trial_of(server)
    lines: list[str] = []
    server.refusals, server.after, storage.waiting = 1 if after else 3, after, lines.append
    assert storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.5])
    assert storage.get_trial(trial).value == 0.5
    assert len(lines) == (1 if after else 3)
    assert lines[0] == "waiting for the storage postgresql://...@host/db (no login with ...)"
    with pytest.raises(UpdateFinishedTrialError):
        storage.set_trial_state_values(trial, TrialState.COMPLETE, [0.7])


def test_it_does_not_wait_for_ever(server: Server) -> None:
    storage, trial = trial_of(server)
    server.refusals = 10**9
    storage.be_patient(0.05)
    with pytest.raises(StorageError, match="has not answered for .* continue with --resume") as error:
        storage.set_trial_state_values(trial, TrialState.FAIL)
    assert "secret" not in str(error.value) and "\n" not in str(error.value)


def test_a_worker_that_waits_can_be_stopped(server: Server) -> None:
    storage, trial = trial_of(server)
    server.refusals, storage.stop = 10**9, lambda: server.refusals < 10**9 - 3
    with pytest.raises(Stopped):
        storage.set_trial_state_values(trial, TrialState.FAIL)


def test_a_file_is_not_waited_for(server: Server) -> None:
    storage = PatientStorage(server, "sqlite:////a.db")
    storage.be_patient()
    trial = optuna.create_study(storage=storage).ask()._trial_id
    server.refusals = 1
    with pytest.raises(StorageInternalError):
        storage.set_trial_state_values(trial, TrialState.FAIL)


def test_which_errors_say_that_a_server_is_away() -> None:
    redis = pytest.importorskip("redis")
    away = [refused(), ConnectionResetError(), redis.ConnectionError(), redis.exceptions.BusyLoadingError()]
    away.append(redis.TimeoutError())
    here = [IntegrityError("INSERT", {}, ValueError()), redis.exceptions.ReadOnlyError(), KeyError("a")]
    assert [is_outage(error) for error in [*away, *here]] == [True] * 5 + [False] * 3


def test_what_cannot_be_understood_is_said() -> None:
    class Damaged(optuna.storages.InMemoryStorage):
        def get_all_studies(self) -> list:
            raise KeyError("op_code")

    with pytest.raises(StorageError, match="did not write, or was changed meanwhile .KeyError: 'op_code'"):
        PatientStorage(Damaged(), URL).get_all_studies()
