"""The limits that `edgeprune verify` can check: where each value is read, and which values are possible."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, UnsetType

from edgeprune import tasks
from edgeprune.records.bench import BenchResult, MeasuredModel
from edgeprune.records.export import Artifact, Parity
from edgeprune.records.pruning import PruneSummary
from edgeprune.records.runs import Summary
from edgeprune.tasks import Classification, Task

BENCH = "bench"
SAME_NETWORK = "the file with its own network in torch"
LOWER_END, UPPER_END = ("lower end of its 95 % interval", "upper end of its 95 % interval")
Source = Any  # a `Summary`, the ONNX `Artifact` of each model by name, or a `BenchResult`
AnySummary = Summary | PruneSummary
ValueOrReason = tuple[Any, str]  # the value in the file, or None and the reason why it is missing


def is_number(value: Any) -> bool:
    """Return whether this is a finite number that fits into a float."""
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) <= sys.float_info.max  # False for NaN


def shortened(value: Any) -> str:
    """Return a short text of a value, for a message."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > sys.float_info.max:
        return "too large"
    return repr(value)[:60]


@dataclass(frozen=True)
class Limit:
    """A value that a budget can limit.

    Attributes:
        name: its key in a budget.
        source: the file from which it is read: "summary", "export" or "bench".
        at_most: whether smaller is better.
        unit: for messages.
        read: the source's content -> the value, or None and a reason.
        least: smallest possible value; None: it may be negative.
        most: largest possible value.
        about: what the value is, where its name does not say it.
    """

    name: str
    source: str
    at_most: bool
    unit: str
    read: Callable[[Source], ValueOrReason]
    least: float | None = 0.0
    most: float = math.inf
    about: str = ""

    @property
    def may_be_negative(self) -> bool:
        """Whether a value below 0 is possible."""
        return self.least is None

    def why_impossible(self, value: Any) -> str | None:
        """Return what is wrong with an impossible value; None for a possible one.

        Times, rates, memory and energy of an inference are above 0; shares and accuracies are 0 to 1.
        """
        if not is_number(value):
            return f"it is {shortened(value)}, which is no number"
        above_zero = self.source == BENCH and self.most == math.inf
        if self.least is not None and (value < self.least or (above_zero and value == 0)):
            return f"it is {value:g}, which cannot be"
        return f"it is {value:g}, which cannot be" if value > self.most else None

    @property
    def side(self) -> str:
        """The key of the limit in a result."""
        return "at_most" if self.at_most else "at_least"


def _of(function: Callable[..., float], *values: Any) -> Any:
    """Return ``function`` of the values if all are finite numbers, else the first that is not.

    A division by zero gives NaN. Without this check, `max` could hide a NaN behind a number.
    """
    for value in values:
        if not is_number(value):
            return value
    try:
        return function(*values)
    except ZeroDivisionError:
        return math.nan


def _scaled(value: float | None, by: float) -> float | None:
    return None if value is None else value / by


def _measured(
    value_of: Callable[[MeasuredModel], float | None],
    reason_of: Callable[[MeasuredModel], str | None] | None = None,
) -> Callable[[BenchResult], ValueOrReason]:
    """Return a reader of one number of the measured pruned model.

    Args:
        value_of: the model -> the number.
        reason_of: the model -> why it is missing.
    """

    def read(bench: BenchResult) -> ValueOrReason:
        model = bench.models["pruned"]
        value = value_of(model)
        why = reason_of(model) if reason_of and value is None else None
        return (None, why or "it was not measured") if value is None else (value, "")

    return read


def _speedup(bench: BenchResult) -> ValueOrReason:
    """Read the lower end of the interval: the claim must hold despite the uncertainty."""
    return (None, "it was not measured") if bench.speedup is None else (bench.speedup.low, "")


def _size(export: Mapping[str, Artifact]) -> ValueOrReason:
    size = export["pruned"].size_bytes
    return (None, "it was not measured") if size is None else (size / 1e3, "")


def _share(count_of: Callable[[Any], int]) -> Callable[[AnySummary], ValueOrReason]:
    def read(summary: AnySummary) -> ValueOrReason:
        return _of(lambda a, b: a / b, count_of(summary.models.pruned), count_of(summary.models.baseline)), ""

    return read


def _drop(summary: AnySummary) -> ValueOrReason:
    if isinstance(summary, PruneSummary):
        drop = None if isinstance(summary.accuracy_drop, UnsetType) else summary.accuracy_drop
    else:
        drop = summary.drop("accuracy")
    return (None, _no_accuracy(summary)) if drop is None else (_of(lambda drop: 100 * drop, drop), "")


def _upper_drop(task: Task) -> Callable[[AnySummary], ValueOrReason]:
    """Return a reader of the upper end of the drop's interval: the claim must hold despite the uncertainty."""
    scale = 100 if task.metric.unit == "%" else 1

    def read(summary: AnySummary) -> ValueOrReason:
        if isinstance(summary, PruneSummary):
            return None, "`edgeprune prune` computes no interval: limit accuracy_drop_points"
        if summary.task != task.name:
            return None, _no_accuracy(summary, task.name)
        interval = summary.drop_interval
        if isinstance(interval, UnsetType):
            return None, "an earlier version of edgeprune made the run: prune again"
        if interval is None:
            return None, "there are too few test images for an interval"
        return scale * interval.high, ""

    return read


def _accuracy(summary: AnySummary) -> ValueOrReason:
    """Read a value that only runs on labelled images have."""
    value = summary.models.pruned.accuracy
    return (None, _no_accuracy(summary)) if value is UNSET else (value, "")


def _no_accuracy(summary: AnySummary, task: str = "classification") -> str:
    """Return why a run has no accuracy, or no other metric of a task."""
    if isinstance(summary, PruneSummary):
        return "it was pruned without labels: add --labels DIR to `edgeprune prune`"
    return f"the run's task is not {task}"


def _limits_of(task: Task) -> tuple[Limit, ...]:
    """Return the limits on a task's metric: of the pruned model, its drop, and of the measured file."""
    metric, points = task.metric, task.metric.unit == "%"
    most = 1.0 if points else math.inf
    least = 0.0 if points else None
    drop, missing = f"{metric.name}_drop", f"the run's task is not {task.name}"

    def scored(scores: Mapping[str, Any]) -> ValueOrReason:
        return (scores[metric.name], "") if metric.name in scores else (None, missing)

    def of_pruned(summary: AnySummary) -> ValueOrReason:
        return scored({} if isinstance(summary, PruneSummary) else summary.models.pruned.scores)

    def dropped(summary: AnySummary) -> ValueOrReason:
        scale, lost = 100 if points else 1, {} if isinstance(summary, PruneSummary) else summary.drops
        return (_of(lambda drop: scale * drop, lost[drop]), "") if drop in lost else (None, missing)

    def on_device(bench: BenchResult) -> ValueOrReason:
        model = bench.models["pruned"]
        return scored(model.scores) if model.scores else (None, str(model.accuracy_reason or missing))

    at_most = not metric.higher_is_better
    return (
        Limit(metric.name, "summary", at_most, "", of_pruned, least, most),
        Limit(
            f"{drop}_points" if points else drop, "summary", True, "points" if points else "", dropped, None
        ),
        Limit(
            f"{drop}_upper_points" if points else f"{drop}_upper",
            "summary",
            True,
            "points" if points else "",
            _upper_drop(task),
            None,
            about=UPPER_END,
        ),
        Limit(f"onnx_{metric.name}", "bench", at_most, "", on_device, least, most),
    )


def _worst(
    value_of: Callable[[Parity], float], worst: Callable[..., float], most: float = math.inf
) -> Callable[[Mapping[str, Artifact]], ValueOrReason]:
    """Return a reader of the worst value of both exported files: a wrong baseline invalidates every comparison.

    Args:
        value_of: an artifact's parity -> the value.
        worst: of several values.
        most: largest possible value.
    """

    def read(export: Mapping[str, Artifact]) -> ValueOrReason:
        parities = [artifact.parity for artifact in export.values()]
        values = [value_of(parity) for parity in parities if parity is not None]
        if len(values) < len(parities):
            return None, "it was not compared here"
        wrong = [value for value in values if is_number(value) and not 0 <= value <= most]
        return (wrong[0] if wrong else _of(worst, *values)), ""

    return read


def _energy_fraction(bench: BenchResult) -> ValueOrReason:
    base, pruned = (bench.models[name].energy_mj_per_inference for name in ("baseline", "pruned"))
    if base is None or pruned is None:
        return None, str(bench.models["pruned"].energy_reason or "it was not measured")
    return _of(lambda a, b: a / b, pruned, base), ""


def _measured_drop(bench: BenchResult) -> ValueOrReason:
    """Return by how many points the pruned file's accuracy is below the unpruned one's, both as they were measured."""
    base, pruned = (bench.models[name] for name in ("baseline", "pruned"))
    if base.accuracy is None or pruned.accuracy is None:
        return None, str(pruned.accuracy_reason or base.accuracy_reason or "it was not measured")
    return _of(lambda a, b: 100 * (a - b), base.accuracy, pruned.accuracy), ""


def _why_no_percentile(model: MeasuredModel) -> str | None:
    return model.latency_ms.reason or None


# Accuracy is also in results of earlier versions, which have no scores.
_OTHER_TASKS = [task for task in map(tasks.get, tasks.TASKS.registered()) if task.name != Classification.name]

LIMITS = {
    limit.name: limit
    for limit in (
        Limit("accuracy", "summary", False, "", _accuracy, most=1.0),
        Limit("accuracy_drop_points", "summary", True, "points", _drop, least=None),
        Limit("accuracy_drop_upper_points", "summary", True, "points", _upper_drop(Classification()), least=None,
              about=UPPER_END),
        Limit("params", "summary", True, "", lambda s: (s.models.pruned.params, "")),
        Limit("params_fraction", "summary", True, "", _share(lambda model: model.params)),
        Limit("flops", "summary", True, "", lambda s: (s.models.pruned.flops, "")),
        Limit("flops_fraction", "summary", True, "", _share(lambda model: model.flops)),
        Limit("onnx_top1_agreement", "export", False, "", _worst(lambda p: p.top1_agreement, min, 1.0), most=1.0,
              about=SAME_NETWORK),
        Limit("onnx_max_rel_diff", "export", True, "", _worst(lambda p: p.max_rel_diff, max), about=SAME_NETWORK),
        Limit("size_kb", "export", True, "kB", _size),
        Limit("onnx_accuracy", "bench", False, "", _measured(lambda m: m.accuracy, lambda m: m.accuracy_reason),
              most=1.0),
        Limit("onnx_accuracy_drop_points", "bench", True, "points", _measured_drop, least=None, most=100.0),
        Limit("latency_p50_ms", "bench", True, "ms", _measured(lambda m: m.latency_ms.p50)),
        Limit("latency_p90_ms", "bench", True, "ms", _measured(lambda m: m.latency_ms.p90, _why_no_percentile)),
        Limit("latency_p99_ms", "bench", True, "ms", _measured(lambda m: m.latency_ms.p99, _why_no_percentile)),
        Limit("throughput_ips", "bench", False, "images/s", _measured(lambda m: m.throughput_ips)),
        Limit("speedup", "bench", False, "x", _speedup, about=LOWER_END),
        Limit("memory_peak_mb", "bench", True, "MB",
              _measured(lambda m: _scaled(m.memory_peak_bytes, 1e6), lambda m: m.memory_reason)),
        Limit("energy_mj", "bench", True, "mJ",
              _measured(lambda m: m.energy_mj_per_inference, lambda m: m.energy_reason)),
        Limit("energy_fraction", "bench", True, "", _energy_fraction),
        *(limit for task in _OTHER_TASKS for limit in _limits_of(task)),
    )
}  # fmt: skip
