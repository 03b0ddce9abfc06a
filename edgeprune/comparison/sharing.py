"""Rows that workers on several machines share: each row is a trial of a study in a storage."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from socket import gethostname
from typing import Any

from msgspec.structs import replace
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial, TrialState

from edgeprune.comparison import baseline
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.result import comparison_result
from edgeprune.comparison.rows import PlannedRow
from edgeprune.errors import StorageError
from edgeprune.files.reading import sha256
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.comparison import ComparisonResult
from edgeprune.runs.run import Run
from edgeprune.studies.opening import WAIT_S
from edgeprune.studies.pieces import PIECE, REPORT, SharedPieces, failures
from edgeprune.studies.store import StudyStore
from edgeprune.tasks import metric_of
from edgeprune.train_prune.options import TrainPruneOptions

KIND = "comparison"
# Options that may differ between machines: where things are, and what does the work.
OF_A_MACHINE = (
    "data",
    "weights",
    "weights_key",
    "data_root",
    "download",
    "device",
    "workers",
    "in_memory",
    "host",
    "more_hosts",
)
HINT = "it was edited, or is of other work: use another `study`"


@dataclass
class SharedRows:
    """The rows of a comparison in a study.

    Attributes:
        pieces: the rows as pieces of work.
        folder: of this worker, which keeps the files of the rows that it makes.
        options: of the comparison.
        rows: the planned rows.
    """

    pieces: SharedPieces
    folder: ComparisonFolder
    options: CompareOptions
    rows: list[PlannedRow]

    @classmethod
    def open(
        cls,
        url: str,
        folder: ComparisonFolder,
        options: CompareOptions,
        rows: list[PlannedRow],
        *,
        resume: bool,
        heartbeat_s: float,
        waiting: Callable[[str], None],
    ) -> "SharedRows":
        """Join the study of a comparison, or create it.

        Args:
            url: of the storage.
            folder: of this worker, with the trained baseline.
            options: of the comparison.
            rows: the planned rows.
            resume: try failed rows again.
            heartbeat_s: interval at which this worker reports that it is alive, in seconds.
            waiting: called with one line while the server is away.

        Raises:
            StorageError: the storage cannot be used, or the study belongs to other work.
        """
        names = tuple(row.name for row in rows)
        training = TrainPruneOptions(**options.training)
        store = StudyStore.open(
            url,
            options.study or f"compare-{training.model}-{Path(training.data).name}-{training.target}",
            _identity(folder, options, names),
            RandomSampler(),
            kind=KIND,
            heartbeat_s=heartbeat_s,
            check=lambda trial: _check(trial, names),
        )
        store.storage.waiting = waiting
        return cls(SharedPieces(store, names, failures(store) if resume else ()), folder, options, rows)

    def work(self, finish_row: Callable[[PlannedRow], None], progress: ProgressCallback) -> None:
        """Make rows, together with other workers, until each is done or has failed.

        Args:
            finish_row: makes a row in the folder, and logs the reason of a failure.
            progress: called with (done, total, text).
        """
        by_name = {row.name: row for row in self.rows}
        while not self.pieces.are_through():
            through = len(self.pieces.reports())
            trial = self.pieces.claim([row.name for row in self.rows if self.folder.row(row.name).exists()])
            if trial is None:
                progress(through, len(self.rows), "rows: other workers make the last ones")
                time.sleep(WAIT_S)
                continue
            row = by_name[trial.params[PIECE]]
            progress(through, len(self.rows), f"rows: {row.name}")
            self.pieces.do(trial, lambda row=row: self._made(row, finish_row))  # type: ignore[misc]
            self.result().write(self.folder.result)

    def _made(
        self, row: PlannedRow, finish_row: Callable[[PlannedRow], None]
    ) -> tuple[dict[str, Any], float | None]:
        """Make a row; return its report, which is the result of a comparison of this row alone, and its value."""
        finish_row(row)
        result = comparison_result(self.folder, self.options, [row])
        (record,) = result.rows
        result = replace(result, rows=(replace(record, host=gethostname()),))
        if not record.is_done:
            return result.to_dict(), None
        return result.to_dict(), 0.0 if record.score is None else metric_of(result).worth(record.score)

    def result(self) -> ComparisonResult:
        """Collect the results of all workers so far."""
        reports = {
            name: ComparisonResult.from_dict(value, name) for name, value in self.pieces.reports().items()
        }
        return comparison_result(self.folder, self.options, self.rows, reports)


def _identity(folder: ComparisonFolder, options: CompareOptions, names: tuple[str, ...]) -> dict[str, Any]:
    """Return settings that identify a comparison, as JSON has them."""
    training = asdict(TrainPruneOptions(**options.training))
    settings = {name: value for name, value in training.items() if name not in OF_A_MACHINE}
    weights = baseline.weights_of(folder.baseline)
    images: Any = Path(training["data"]).name
    if weights is not None:
        images = Run.open(folder.baseline).config["data_spec"].get("fingerprint", images)
    own = {
        "rows": names,
        "weights": "random" if weights is None else sha256(weights)[:16],
        "data": images,
        "latency": options.latency,
        "seconds": options.seconds,
    }
    if training["more_hosts"]:
        own["boards"] = 1 + len(training["more_hosts"])
    identity: dict[str, Any] = json.loads(json.dumps({**settings, **own}, default=str))
    return identity


def _check(trial: FrozenTrial, names: tuple[str, ...]) -> None:
    """Raise StorageError for a trial that is no row of the comparison."""
    where, name = f"trial {trial.number} of the study", trial.params.get(PIECE)
    if name not in names:
        raise StorageError(f"{where} is no row of this comparison: {HINT}")
    report = trial.user_attrs.get(REPORT)
    if report is None and trial.state != TrialState.COMPLETE:
        return
    result = ComparisonResult.from_dict(report, where, error=StorageError, hint=HINT)
    if [row.row for row in result.rows] != [name] or (
        trial.state == TrialState.COMPLETE and not result.rows[0].is_done
    ):
        raise StorageError(f"{where} does not report its row: {HINT}")
