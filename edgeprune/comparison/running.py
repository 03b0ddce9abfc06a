"""The order of a comparison: the baseline, row after row, the result after each of them, the plot."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.bench.options import check_writable
from edgeprune.comparison import baseline, latency
from edgeprune.comparison.attempts import attempt
from edgeprune.comparison.folder import Folder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.plot import draw
from edgeprune.comparison.result import gathered
from edgeprune.comparison.rows import Row, planned_rows
from edgeprune.comparison.source import check_begun_with, shared_training
from edgeprune.errors import MovedError, RunError, StorageError, TrainError
from edgeprune.files.locks import held
from edgeprune.files.writing import write_json
from edgeprune.records.trust import vouch_for
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_baseline, train_prune
from edgeprune.training import Interrupted, Progress


def compare(
    out: str | Path,
    options: CompareOptions | None = None,
    *,
    resume: bool = False,
    force: bool = False,
    json_path: str | Path | None = None,
    progress: Progress = lambda done, total, text: None,  # noqa: ARG005
) -> dict[str, Any]:
    """Prune with each method from one baseline, under one budget and one training; leaves a folder.

    With seeds above 0 another share of the training images is held out for validation, some of which the
    baseline was trained on; the test images are never seen by any.

    Args:
        out: the comparison's folder.
        options: what to compare. With ``resume``, the folder's own stand, and these are not looked at.
        resume: go on; finished rows are kept, interrupted ones resumed, failed ones tried again.
        force: replace a comparison of that name.
        json_path: a second place for the result.
        progress: called with (done, total, text); texts of rows begin with "rows".

    Returns:
        The result, as in result.json.

    Raises:
        EdgePruneError: a mistake in what all rows share (nothing is written then), or no row could be
            finished. InUseError: another process works on it. Interrupted: Ctrl-C, SIGTERM or SIGHUP;
            ``resume`` goes on.
    """
    if json_path is not None:
        check_writable(Path(json_path))
    folder = Folder.open(out) if resume else _begin(Path(out), options, force, progress)
    with held(folder.path):
        return _finished(folder, json_path, progress)


def _finished(folder: Folder, json_path: str | Path | None, progress: Progress) -> dict[str, Any]:
    """Do what is left of a comparison; its result."""
    options = folder.options()
    rows = planned_rows(options)
    if not options.moments:
        _finish_baseline(folder, progress)
    for number, row in enumerate(rows):
        progress(number, len(rows), f"rows: {row.name}")
        _finish_row(folder, row, options, progress)
        write_json(folder.result, gathered(folder, options, rows))
    progress(len(rows), len(rows), "rows: done")
    result = _concluded(folder, options, rows)
    if json_path is not None:
        write_json(Path(json_path), result)
    return result


def check_same_options(out: str | Path, given: dict[str, Any]) -> None:
    """With ``resume``, options that were given must be those the comparison was begun with.

    Args:
        out: the comparison's folder.
        given: fields of `CompareOptions` and of `TrainPruneOptions` by name.

    Raises:
        RunError: one of them differs.
    """
    vouch_for(given)
    check_begun_with("comparison", Folder.open(out).options(), given)


def _begin(out: Path, options: CompareOptions | None, force: bool, progress: Progress) -> Folder:
    """Check what all rows share, then make the folder."""
    if options is None:
        raise RunError("a new comparison needs its options")
    Folder.check_free(out, force=force, inputs=options.inputs)
    training = shared_training(options.source, options.training, needs_baseline=not options.moments)
    options = replace(options, training=training)
    with Folder.create(out, options, force=force) as folder:
        baseline.begin(folder.baseline, training, options.methods, progress)
        if options.moments:  # each row trains from random weights: it was made for its checks alone
            folder.drop_baseline()
    return Folder(out)


def _finish_baseline(folder: Folder, progress: Progress) -> None:
    if baseline.weights_of(folder.baseline) is None:
        with attempt(folder, "baseline"):
            train_baseline(folder.baseline, progress)


def _finish_row(folder: Folder, row: Row, options: CompareOptions, progress: Progress) -> None:
    """Whatever is left to do of a row; a failure is kept as its reason."""
    place = folder.row(row.name)
    if not (place / "summary.json").is_file():
        try:
            with attempt(folder, row.name):
                _train(place, _training(folder, row, options), progress)
        except (Interrupted, MovedError, StorageError):  # no other row would fare better
            raise
        except Exception:  # its reason is kept; hours of other rows must not go with it
            return
    if options.latency and not latency.is_measured(place):
        reason = latency.measure(place, options.seconds, progress)
        folder.log(row.name, "measured", reason=reason)


def _train(place: Path, training: dict[str, Any], progress: Progress) -> None:
    begun = (place / "config.json").is_file()
    train_prune(place, TrainPruneOptions(**training), resume=begun, progress=progress)


def _training(folder: Folder, row: Row, options: CompareOptions) -> dict[str, Any]:
    """All of a row's options: what is shared, the baseline, and its own."""
    training = {**options.training, **row.own_training()}
    weights = baseline.weights_of(folder.baseline)
    if row.moment is None:
        of_the_baseline = ("weights_key", "baseline_epochs", "baseline_lr")
        training |= {"weights": str(weights), **dict.fromkeys(of_the_baseline)}
    return training


def _concluded(folder: Folder, options: CompareOptions, rows: list[Row]) -> dict[str, Any]:
    """Draw the plot, write the result; raises TrainError when there is nothing to show."""
    result = gathered(folder, options, rows)
    failed = [row for row in result["rows"] if row["status"] != "done"]
    if len(failed) == len(rows):
        write_json(folder.result, result)
        raise TrainError(f"no row could be finished; {failed[0]['row']}: {failed[0]['reason']}")
    reason = draw(result, folder.plot)
    result |= {"plot": None if reason else folder.plot.name, "plot_reason": reason}
    write_json(folder.result, result)
    return result
