"""Collect finished rows in the record for people, the table and the plot, without paths of this machine."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
from edgeprune_target.fingerprint import cpu_model
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from edgeprune.comparison.attempts import last_failure, seconds_spent
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.latency import is_measured, measured
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.rows import PlannedRow
from edgeprune.comparison.spread import mean_and_spread
from edgeprune.records.comparison import (
    Average,
    BaselineResult,
    ComparisonResult,
    MethodResult,
    RowLatency,
    RowResult,
)
from edgeprune.records.runs import Summary
from edgeprune.records.times import BoardTimes
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric, metric_of
from edgeprune.tasks.classification import ACCURACY
from edgeprune.train_prune.options import TrainPruneOptions

PRIVATE = ("weights", "data_root", "download")  # settings that name paths, not what was done
NOT_ASKED = "not asked for (--no-latency)"
RANDOM = "the rows start from random weights: there is no baseline"
MEASURES = ("score_before", "score", "params_fraction", "flops_fraction", "seconds")


def comparison_result(
    folder: ComparisonFolder,
    options: CompareOptions,
    rows: list[PlannedRow],
    reports: Mapping[str, ComparisonResult] | None = None,
) -> ComparisonResult:
    """Collect the results so far.

    Scores are of the test images, by the task's metric: for classification the share that is classified correctly.

    Args:
        folder: of the comparison.
        options: of the comparison.
        rows: the planned rows.
        reports: results of single rows by their names, where workers share them; they replace those of the folder.
    """
    if reports is not None:
        return _merged(comparison_result(folder, options, rows), rows, reports)
    summaries = {row: Run.open(folder.row(row)).summary() for row in _finished(folder, rows)}
    summary = next(iter(summaries.values()), None)  # of any row: all share their task and baseline
    metric = ACCURACY if summary is None else metric_of(summary)
    records = [_row_result(folder, row, options, summaries.get(row.name), metric) for row in rows]
    runs = [folder.row(name) for name in summaries]
    return ComparisonResult(
        complete=all(record.status in ("done", "failed") for record in records),
        source=Path(options.source).name,
        target=options.training.get("target", TrainPruneOptions.target),
        seeds=options.seeds,
        moments=tuple(options.moments),
        settings=_settings(runs),
        versions={name: version(name) for name in ("edgeprune", "torch", "numpy")},
        machine=_machine(runs, records),
        metric=metric.record(),
        baseline=_baseline(folder, options, summary, metric),
        methods=ranked(_over_methods(rows, records), metric),
        rows=tuple(records),
        plot=None,
        plot_reason="drawn when all rows are through",
    )


def _merged(
    own: ComparisonResult, rows: list[PlannedRow], reports: Mapping[str, ComparisonResult]
) -> ComparisonResult:
    """Return the result of all workers: rows that one of them reported, and the others as waiting.

    Args:
        own: result of this worker's folder.
        rows: the planned rows.
        reports: results of single rows by their names.
    """
    reported = [reports[row.name] for row in rows if row.name in reports]
    done = [report for report in reported if report.rows[0].is_done]
    first = (done or reported or [own])[0]  # so that all workers say the same of what the rows share
    metric = metric_of(first)
    records = [reports[row.name].rows[0] if row.name in reports else _waiting(row, metric) for row in rows]
    return replace(
        own,
        complete=all(row.name in reports for row in rows),
        settings=_shared_by([report.settings for report in done]),
        versions=first.versions,
        machine=first.machine,
        metric=first.metric,
        baseline=first.baseline,
        methods=ranked(_over_methods(rows, records), metric),
        rows=tuple(records),
    )


def _waiting(row: PlannedRow, metric: Metric) -> RowResult:
    """Return the result of a row of which nothing is known."""
    return RowResult(
        metric=metric.name,
        row=row.name,
        method=row.method,
        moment=row.moment,
        seed=row.seed,
        status="waiting",
        seconds=None,
        seconds_reason="not finished yet",
        latency_reason="the row is not finished",
    )


def _finished(folder: ComparisonFolder, rows: list[PlannedRow]) -> list[str]:
    """Return the names of the finished rows."""
    return [row.name for row in rows if (folder.row(row.name) / "summary.json").is_file()]


def _row_result(
    folder: ComparisonFolder,
    row: PlannedRow,
    options: CompareOptions,
    summary: Summary | None,
    metric: Metric,
) -> RowResult:
    """Return the result of one row, finished or not."""
    events = folder.attempts(row.name)
    seconds, seconds_reason = seconds_spent(events)
    reason = None if summary else last_failure(events)
    waiting = replace(
        _waiting(row, metric),
        status="failed" if reason else "waiting",
        reason=reason,
        seconds=seconds,
        seconds_reason=seconds_reason,
    )
    if summary is None:
        return waiting
    latency, latency_reason = _latency(folder.row(row.name), events, options)
    pruned = summary.models.pruned
    return replace(
        waiting,
        status="done",
        score_before=summary.models.settled.score(metric.name),
        score=pruned.score(metric.name),
        params_fraction=summary.params_fraction,
        flops_fraction=summary.flops_fraction,
        params=pruned.params,
        flops=pruned.flops,
        notes=summary.notes,
        boards=_boards(folder.row(row.name)),
        latency=latency,
        latency_reason=latency_reason,
    )


def _boards(place: Path) -> tuple[BoardTimes, ...] | UnsetType:
    """Return what a finished row's plan took on each of several boards; UNSET where the target has none."""
    boards = (Run.open(place).times() or {}).get("boards", ())
    times = [
        msgspec.convert(
            {"host": board["host"], "conditions": board["conditions"], **board["measured"]}, BoardTimes
        )
        for board in boards
        if board["measured"] is not None
    ]
    return tuple(times) or UNSET


def _latency(
    place: Path, events: list[dict[str, Any]], options: CompareOptions
) -> tuple[RowLatency | None, str | None]:
    """Return the measurement of a finished row, or None and the reason."""
    if not options.latency:
        return None, NOT_ASKED
    if is_measured(place):
        return measured(place), None
    reasons = [event["reason"] for event in events if event["event"] == "measured"]
    return None, reasons[-1] if reasons else "not measured yet"


def _over_methods(rows: list[PlannedRow], records: list[RowResult]) -> list[MethodResult]:
    """Return one entry for each method (and moment), over its seeds."""
    by_label: dict[str, list[RowResult]] = {}
    for row, record in zip(rows, records, strict=True):
        by_label.setdefault(row.label, []).append(record)
    return [_over_seeds(label, group) for label, group in by_label.items()]


def _over_seeds(label: str, group: Sequence[RowResult]) -> MethodResult:
    latencies = [record.latency for record in group]
    return MethodResult(
        metric=group[0].metric,
        label=label,
        method=group[0].method,
        moment=group[0].moment,
        done=sum(record.is_done for record in group),
        reasons=tuple(dict.fromkeys(record.reason for record in group if record.reason)),
        latency_ms=mean_and_spread([None if latency is None else latency.pruned_ms for latency in latencies]),
        speedup=mean_and_spread(
            [None if latency is None else latency.speedup.value for latency in latencies]
        ),
        boards_ms=_over_boards(group),
        **{name: mean_and_spread([_if_done(record, name) for record in group]) for name in MEASURES},
    )


def _over_boards(group: Sequence[RowResult]) -> dict[str, Average] | UnsetType:
    """Return what the pruned models of some rows take on each of several boards."""
    of_rows = [
        {} if isinstance(record.boards, UnsetType) else {b.host: b.pruned_ms for b in record.boards}
        for record in group
    ]
    hosts = dict.fromkeys(host for row in of_rows for host in row)
    return {host: mean_and_spread([row.get(host) for row in of_rows]) for host in hosts} or UNSET


def _if_done(record: RowResult, name: str) -> float | None:
    value: float | None = getattr(record, name) if record.is_done else None
    return value


def ranked(methods: Iterable[MethodResult], metric: Metric = ACCURACY) -> tuple[MethodResult, ...]:
    """Sort methods by the metric, the best first; those without a value last; ties in the order of the options."""

    def rank(method: MethodResult) -> tuple[bool, float]:
        mean = method.score.mean
        return mean is None, -metric.worth(mean or 0.0)

    return tuple(sorted(methods, key=rank))


def _settings(runs: list[Path]) -> dict[str, Any]:
    """Return the options that all finished rows share, with the defaults that each row derived."""
    options = [Run.open(path).config["options"] for path in runs]
    shared = {k: v for k, v in _shared_by(options).items() if k not in PRIVATE}
    return shared | {k: Path(shared[k]).name for k in ("data",) if k in shared}


def _shared_by(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings that all have, with the same values."""
    if not settings:
        return {}
    return {k: v for k, v in settings[0].items() if all(k in other and other[k] == v for other in settings)}


def _machine(runs: list[Path], records: list[RowResult]) -> dict[str, Any]:
    """Return the machine of the rows, with the processor's name from a measurement if there is one."""
    if not runs:
        return {}
    machine = dict(Run.open(runs[0]).config.get("machine", {}))
    measured_on = [record.latency.cpu for record in records if record.latency]
    names = [name for name in [*measured_on, cpu_model(Path("/"))] if name]
    return {**machine, "cpu": names[0]} if names else machine


def _baseline(
    folder: ComparisonFolder, options: CompareOptions, summary: Summary | None, metric: Metric
) -> BaselineResult:
    """Return the record of the baseline of all rows, by the summary of one of them."""
    events = folder.attempts("baseline")
    seconds, reason = seconds_spent(events) if events else (None, "it was not trained here")
    unknown = BaselineResult(
        metric=metric.name,
        score=None,
        score_reason=RANDOM if options.moments else "no row is finished yet",
        seconds=seconds,
        seconds_reason=reason,
    )
    if summary is None:
        return unknown
    model = summary.models.baseline
    known = replace(unknown, params=model.params, flops=model.flops, test_images=model.test_images)
    return known if options.moments else replace(known, score=model.score(metric.name), score_reason=None)
