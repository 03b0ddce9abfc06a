"""The steps of a comparison: the baseline, each row and the result after it, the plot."""

from pathlib import Path
from typing import Any

from msgspec import structs

from edgeprune.bench.options import check_writable
from edgeprune.comparison import baseline, latency
from edgeprune.comparison.attempts import attempt
from edgeprune.comparison.checking import check_before_torch, check_shareable
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.plot import draw_comparison
from edgeprune.comparison.result import comparison_result
from edgeprune.comparison.rows import PlannedRow, planned_rows
from edgeprune.errors import MovedError, RunError, StorageError, TrainError
from edgeprune.files.locks import held
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.comparison import ComparisonResult
from edgeprune.studies import HEARTBEAT_S
from edgeprune.studies.urls import redacted
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_baseline, train_prune
from edgeprune.training import Interrupted


def compare(
    out: str | Path,
    options: CompareOptions | None = None,
    *,
    storage: str | None = None,
    resume: bool = False,
    force: bool = False,
    heartbeat_s: float = HEARTBEAT_S,
    json_path: str | Path | None = None,
    progress: ProgressCallback = no_progress,
) -> ComparisonResult:
    """Prune with each method from a common baseline, with the same budget and training; writes a folder.

    Seeds above 0 hold out another part of the training images for validation, some of which the baseline was
    trained on. No training uses the test images.

    Args:
        out: the comparison's folder.
        options: what to compare. With ``resume``, the folder's options apply and these are ignored.
        storage: URL of a study; workers with the same one share the rows, each with a folder of its own. Its password
            is not kept: with ``resume`` the URL is given again.
        resume: continue: keep finished rows, resume interrupted ones, repeat failed ones.
        force: replace a comparison of that name.
        heartbeat_s: interval at which this worker reports that it is alive to a shared storage, in seconds.
        json_path: a second path for the result.
        progress: called with (done, total, text); texts of rows begin with "rows".

    Returns:
        The result, as in result.json.

    Raises:
        EdgePruneError: a mistake in what all rows share (nothing is written then), or every row failed.
        InUseError: another process works in the folder.
        StorageError: the storage cannot be used, or holds other work.
        Interrupted: Ctrl-C, SIGTERM or SIGHUP; ``resume`` continues.
    """
    if json_path is not None:
        check_writable(Path(json_path))
    folder = ComparisonFolder.open(out) if resume else _begin(Path(out), options, storage, force, progress)
    if resume:
        if storage is not None:
            check_shareable(storage)
        check_storage_of(folder, storage)
    with held(folder.path):
        options = folder.read_options()
        if not options.moments:
            _finish_baseline(folder, progress)
        if storage is None:
            result = _finish(folder, options, progress)
        else:
            result = _finish_shared(folder, options, storage, resume, heartbeat_s, progress)
    if json_path is not None:
        result.write(Path(json_path))
    return result


def _finish(
    folder: ComparisonFolder, options: CompareOptions, progress: ProgressCallback
) -> ComparisonResult:
    """Make all rows here, and return the result."""
    rows = planned_rows(options)
    for number, row in enumerate(rows):
        progress(number, len(rows), f"rows: {row.name}")
        _finish_row(folder, row, options, progress)
        comparison_result(folder, options, rows).write(folder.result)
    progress(len(rows), len(rows), "rows: done")
    return _concluded(folder, comparison_result(folder, options, rows))


def _finish_shared(
    folder: ComparisonFolder,
    options: CompareOptions,
    url: str,
    resume: bool,
    heartbeat_s: float,
    progress: ProgressCallback,
) -> ComparisonResult:
    """Make rows together with other workers until all are through, and return the result of all."""
    from edgeprune.comparison.sharing import SharedRows

    rows = planned_rows(options)

    def waiting(line: str) -> None:
        progress(0, len(rows), f"rows: {line}")

    shared = SharedRows.open(
        url, folder, options, rows, resume=resume, heartbeat_s=heartbeat_s, waiting=waiting
    )
    with shared.pieces.store.explained():
        shared.work(lambda row: _finish_row(folder, row, options, progress), progress)
        progress(len(rows), len(rows), "rows: done")
        result = shared.result()
    return _concluded(folder, result)


def check_storage_of(folder: ComparisonFolder, storage: str | None) -> None:
    """Check the storage that is given beside ``resume``; before the first result it may be corrected.

    Raises:
        RunError: the comparison was begun with another one, or with none, or it has to be given again.
    """
    stored = folder.read_storage()
    if storage is None:
        if stored is not None:
            raise RunError(f"the rows are shared by {stored}: give `storage` again, in full")
        return
    if redacted(storage) == stored:
        return
    if stored is None or folder.result.exists():
        begun = "without a storage" if stored is None else f"with another storage, {stored}"
        raise RunError(f"{folder.path} was begun {begun}: leave `storage` out, or begin another comparison")
    folder.write_storage(redacted(storage))


def _begin(
    out: Path,
    options: CompareOptions | None,
    storage: str | None,
    force: bool,
    progress: ProgressCallback,
) -> ComparisonFolder:
    """Check what all rows share, then create the folder."""
    if options is None:
        raise RunError("a new comparison needs its options")
    options = check_before_torch(out, options, storage=storage, force=force)
    shown = None if storage is None else redacted(storage)
    with ComparisonFolder.create(out, options, force=force, storage=shown) as folder:
        baseline.begin_baseline(folder.baseline, options.training, options.methods, progress)
        if (
            options.moments
        ):  # each row trains from random weights: the baseline was needed only for its checks
            folder.drop_baseline()
    return ComparisonFolder(out)


def _finish_baseline(folder: ComparisonFolder, progress: ProgressCallback) -> None:
    if baseline.weights_of(folder.baseline) is None:
        with attempt(folder, "baseline"):
            train_baseline(folder.baseline, progress)


def _finish_row(
    folder: ComparisonFolder, row: PlannedRow, options: CompareOptions, progress: ProgressCallback
) -> None:
    """Complete a row; the log keeps the reason of a failure."""
    place = folder.row(row.name)
    if not (place / "summary.json").is_file():
        try:
            with attempt(folder, row.name):
                _train(place, _training(folder, row, options), progress)
        except (Interrupted, MovedError, StorageError):  # other rows would fail too
            raise
        except Exception:  # the log has its reason; the other rows are still worth hours
            return
    if options.latency and not latency.is_measured(place):
        reason = latency.measure_row(place, options.seconds, progress)
        folder.log(row.name, "measured", reason=reason)


def _train(place: Path, training: dict[str, Any], progress: ProgressCallback) -> None:
    begun = (place / "config.json").is_file()
    train_prune(place, TrainPruneOptions(**training), resume=begun, progress=progress)


def _training(folder: ComparisonFolder, row: PlannedRow, options: CompareOptions) -> dict[str, Any]:
    """Return all options of a row: the shared ones, the baseline's weights, and its own."""
    training = {**options.training, **row.own_training()}
    weights = baseline.weights_of(folder.baseline)
    if row.moment is None:
        of_the_baseline = ("weights_key", "baseline_epochs", "baseline_lr")
        training |= {"weights": str(weights), **dict.fromkeys(of_the_baseline)}
    return training


def _concluded(folder: ComparisonFolder, result: ComparisonResult) -> ComparisonResult:
    """Draw the plot and write the result; raises TrainError if every row failed."""
    failed = [row for row in result.rows if not row.is_done]
    if len(failed) == len(result.rows):
        result.write(folder.result)
        raise TrainError(f"no row could be finished; {failed[0].row}: {failed[0].reason}")
    reason = draw_comparison(result, folder.plot)
    result = structs.replace(result, plot=None if reason else folder.plot.name, plot_reason=reason)
    result.write(folder.result)
    return result
