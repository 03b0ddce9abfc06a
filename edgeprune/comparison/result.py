"""Collect finished rows in the JSON for people, the table and the plot, without paths of this machine."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune_target.fingerprint import cpu_model

from edgeprune.comparison.attempts import last_failure, seconds_spent
from edgeprune.comparison.folder import SCHEMA, ComparisonFolder
from edgeprune.comparison.latency import is_measured, measured
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.rows import PlannedRow
from edgeprune.comparison.spread import mean_and_spread
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric, metric_of
from edgeprune.tasks.classification import ACCURACY
from edgeprune.train_prune.options import TrainPruneOptions

PRIVATE = ("weights", "data_root", "download")  # settings that name paths, not what was done
NOT_ASKED = "not asked for (--no-latency)"
RANDOM = "the rows start from random weights: there is no baseline"
MEASURES = ("accuracy_before", "accuracy", "params_fraction", "flops_fraction", "seconds")


def comparison_result(
    folder: ComparisonFolder, options: CompareOptions, rows: list[PlannedRow]
) -> dict[str, Any]:
    """Collect the results so far.

    ``accuracy_before`` fine-tuning and ``accuracy`` after it are of the test images, by the task's ``metric``: for
    classification the share that is classified correctly.
    ``seconds`` are wall-clock time of a row, including data loading and the evaluation on the test images.

    Args:
        folder: of the comparison.
        options: of the comparison.
        rows: the planned rows.
    """
    records = [_record(folder, row, options) for row in rows]
    done = [record for record in records if record["status"] == "done"]
    runs = [folder.row(record["row"]) for record in done]
    metric = metric_of(Run.open(runs[0]).summary() if runs else {})
    return {
        "schema": SCHEMA,
        "complete": all(record["status"] in ("done", "failed") for record in records),
        "source": Path(options.source).name,
        "target": options.training.get("target", TrainPruneOptions.target),
        "seeds": options.seeds,
        "moments": list(options.moments),
        "settings": _settings(runs),
        "versions": {name: version(name) for name in ("edgeprune", "torch", "numpy")},
        "machine": _machine(runs, done),
        "metric": metric.to_dict(),
        "baseline": _baseline(folder, options, runs),
        "methods": ranked(_summarised(rows, records), metric),
        "rows": records,
        "plot": None,
        "plot_reason": "drawn when all rows are through",
    }


def _record(folder: ComparisonFolder, row: PlannedRow, options: CompareOptions) -> dict[str, Any]:
    place, events = folder.row(row.name), folder.attempts(row.name)
    seconds, seconds_reason = seconds_spent(events)
    record: dict[str, Any] = {
        "row": row.name, "method": row.method, "moment": row.moment, "seed": row.seed,
        "status": "waiting", "reason": None, **dict.fromkeys(MEASURES), "params": None, "flops": None,
        "seconds": seconds, "seconds_reason": seconds_reason,
        "latency": None, "latency_reason": None, "notes": [],
    }  # fmt: skip
    if not (place / "summary.json").is_file():
        reason = last_failure(events)
        unfinished = "the row is not finished"
        return record | {
            "status": "failed" if reason else "waiting",
            "reason": reason,
            "latency_reason": unfinished,
        }
    summary = Run.open(place).summary()
    pruned, metric = summary.models.pruned, metric_of(summary)
    record |= {
        "status": "done",
        "accuracy_before": summary.models.settled.score(metric.name),
        "accuracy": pruned.score(metric.name),
        "params_fraction": summary.params_fraction,
        "flops_fraction": summary.flops_fraction,
        "notes": [*summary.notes],
        "params": pruned.params,
        "flops": pruned.flops,
    }
    return record | _latency(place, events, options)


def _latency(place: Path, events: list[dict[str, Any]], options: CompareOptions) -> dict[str, Any]:
    if not options.latency:
        return {"latency_reason": NOT_ASKED}
    if is_measured(place):
        return {"latency": measured(place)}
    reasons = [event["reason"] for event in events if event["event"] == "measured"]
    return {"latency_reason": reasons[-1] if reasons else "not measured yet"}


def _summarised(rows: list[PlannedRow], records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one entry for each method (and moment), over its seeds."""
    by_label: dict[str, list[dict[str, Any]]] = {}
    for row, record in zip(rows, records, strict=True):
        by_label.setdefault(row.label, []).append(record)
    return [_over_seeds(label, group) for label, group in by_label.items()]


def _over_seeds(label: str, group: Sequence[dict[str, Any]]) -> dict[str, Any]:
    latencies = [record["latency"] for record in group]
    return {
        "label": label,
        "method": group[0]["method"],
        "moment": group[0]["moment"],
        "done": sum(record["status"] == "done" for record in group),
        "reasons": list(dict.fromkeys(record["reason"] for record in group if record["reason"])),
        **{name: mean_and_spread([_if_done(record, name) for record in group]) for name in MEASURES},
        "latency_ms": mean_and_spread([latency and latency["pruned_ms"] for latency in latencies]),
        "speedup": mean_and_spread([latency and latency["speedup"]["value"] for latency in latencies]),
    }


def _if_done(record: dict[str, Any], name: str) -> float | None:
    return record[name] if record["status"] == "done" else None


def ranked(methods: list[dict[str, Any]], metric: Metric = ACCURACY) -> list[dict[str, Any]]:
    """Sort methods by the metric, the best first; those without a value last; ties in the order of the options."""

    def rank(method: dict[str, Any]) -> tuple[bool, float]:
        mean = method["accuracy"]["mean"]
        return mean is None, -metric.worth(mean or 0.0)

    return sorted(methods, key=rank)


def _settings(runs: list[Path]) -> dict[str, Any]:
    """Return the options that all finished rows share, with the defaults that each row derived."""
    options = [Run.open(path).config["options"] for path in runs]
    if not options:
        return {}
    shared = {k: v for k, v in options[0].items() if all(k in o and o[k] == v for o in options)}
    shared = {k: v for k, v in shared.items() if k not in PRIVATE}
    return shared | {k: Path(shared[k]).name for k in ("data",) if k in shared}


def _machine(runs: list[Path], done: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the machine of the rows, with the processor's name from a measurement if there is one."""
    if not runs:
        return {}
    machine = dict(Run.open(runs[0]).config.get("machine", {}))
    names = [record["latency"]["cpu"] for record in done if record["latency"]]
    names = [name for name in [*names, cpu_model(Path("/"))] if name]
    return {**machine, "cpu": names[0]} if names else machine


def _baseline(folder: ComparisonFolder, options: CompareOptions, runs: list[Path]) -> dict[str, Any]:
    """Return the record of the baseline of all rows."""
    events = folder.attempts("baseline")
    seconds, reason = seconds_spent(events) if events else (None, "it was not trained here")
    record: dict[str, Any] = {
        "accuracy": None, "accuracy_reason": RANDOM if options.moments else "no row is finished yet",
        "params": None, "flops": None, "test_images": None, "seconds": seconds, "seconds_reason": reason,
    }  # fmt: skip
    if not runs:
        return record
    summary = Run.open(runs[0]).summary()
    baseline = summary.models.baseline
    record |= {key: getattr(baseline, key) for key in ("params", "flops", "test_images")}
    if not options.moments:
        record |= {"accuracy": baseline.score(metric_of(summary).name), "accuracy_reason": None}
    return record
