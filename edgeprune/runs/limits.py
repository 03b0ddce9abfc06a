"""The limits that `edgeprune verify` can check: where each value is read, and which values are possible."""

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeprune import tasks
from edgeprune.tasks import Classification, Task

BENCH = "bench"
Source = Mapping[str, Any]  # the content of summary.json, export.json or a file of bench/
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
    """

    name: str
    source: str
    at_most: bool
    unit: str
    read: Callable[[Source], ValueOrReason]
    least: float | None = 0.0
    most: float = math.inf

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


def _measured(*keys: str, scale: float = 1.0, reason: str | None = None) -> Callable[[Source], ValueOrReason]:
    """Return a reader of one number of the pruned model; ``reason`` is the key of the reason why it is missing."""

    def read(source: Source) -> ValueOrReason:
        model = value = source["models"]["pruned"]
        for key in keys:
            value = value[key]
        why = str(model.get(reason) or "it was not measured") if reason else "it was not measured"
        return (None, why) if value is None else (_of(lambda number: number / scale, value), "")

    return read


def _share(key: str) -> Callable[[Source], ValueOrReason]:
    def read(summary: Source) -> ValueOrReason:
        models = summary["models"]
        return _of(lambda a, b: a / b, models["pruned"][key], models["baseline"][key]), ""

    return read


def _drop(summary: Source) -> ValueOrReason:
    drop, why = _accuracy(summary, "accuracy_drop")
    return (None, why) if drop is None else (_of(lambda drop: 100 * drop, drop), "")


def _accuracy(record: Source, key: str) -> ValueOrReason:
    """Read a value that only runs on labelled images have."""
    missing = "the run's task is not classification, or it knew no labels"
    return (record[key], "") if key in record else (None, missing)


def _limits_of(task: Task) -> tuple[Limit, ...]:
    """Return the limits on a task's metric: of the pruned model, its drop, and of the measured file."""
    metric, points = task.metric, task.metric.unit == "%"
    most = 1.0 if points else math.inf
    least = 0.0 if points else None
    drop, missing = f"{metric.name}_drop", f"the run's task is not {task.name}"

    def scored(model: Source) -> ValueOrReason:
        return (model[metric.name], "") if metric.name in model else (None, missing)

    def dropped(summary: Source) -> ValueOrReason:
        scale = 100 if points else 1
        return (_of(lambda drop: scale * drop, summary[drop]), "") if drop in summary else (None, missing)

    def on_device(bench: Source) -> ValueOrReason:
        model = bench["models"]["pruned"]
        scores = model.get("scores")
        return scored(scores) if scores else (None, str(model.get("accuracy_reason") or missing))

    at_most = not metric.higher_is_better
    return (
        Limit(metric.name, "summary", at_most, "", lambda s: scored(s["models"]["pruned"]), least, most),
        Limit(
            f"{drop}_points" if points else drop, "summary", True, "points" if points else "", dropped, None
        ),
        Limit(f"onnx_{metric.name}", "bench", at_most, "", on_device, least, most),
    )


def _worst(
    key: str, worst: Callable[..., float], most: float = math.inf
) -> Callable[[Source], ValueOrReason]:
    """Return a reader of the worst value of both exported files: a wrong baseline invalidates every comparison."""

    def read(export: Source) -> ValueOrReason:
        values = [model["parity"][key] for model in export["models"].values()]
        wrong = [value for value in values if is_number(value) and not 0 <= value <= most]
        return (wrong[0] if wrong else _of(worst, *values)), ""

    return read


def _energy_fraction(bench: Source) -> ValueOrReason:
    base, pruned = (bench["models"][n]["energy_mj_per_inference"] for n in ("baseline", "pruned"))
    if base is None or pruned is None:
        return None, str(bench["models"]["pruned"]["energy_reason"] or "it was not measured")
    return _of(lambda a, b: a / b, pruned, base), ""


# Accuracy is also in results of earlier versions, which have no scores.
_OTHER_TASKS = [task for task in map(tasks.get, tasks.TASKS.registered()) if task.name != Classification.name]

LIMITS = {
    limit.name: limit
    for limit in (
        Limit("accuracy", "summary", False, "", lambda s: _accuracy(s["models"]["pruned"], "accuracy"), most=1.0),
        Limit("accuracy_drop_points", "summary", True, "points", _drop, least=None),
        Limit("params", "summary", True, "", lambda s: (s["models"]["pruned"]["params"], "")),
        Limit("params_fraction", "summary", True, "", _share("params")),
        Limit("flops", "summary", True, "", lambda s: (s["models"]["pruned"]["flops"], "")),
        Limit("flops_fraction", "summary", True, "", _share("flops")),
        Limit("onnx_top1_agreement", "export", False, "", _worst("top1_agreement", min, 1.0), most=1.0),
        Limit("onnx_max_rel_diff", "export", True, "", _worst("max_rel_diff", max)),
        Limit("size_kb", "export", True, "kB", _measured("size_bytes", scale=1e3)),
        Limit("onnx_accuracy", "bench", False, "", _measured("accuracy", reason="accuracy_reason"),
              most=1.0),
        Limit("latency_p50_ms", "bench", True, "ms", _measured("latency_ms", "p50")),
        Limit("latency_p90_ms", "bench", True, "ms", _measured("latency_ms", "p90")),
        Limit("latency_p99_ms", "bench", True, "ms", _measured("latency_ms", "p99")),
        Limit("throughput_ips", "bench", False, "images/s", _measured("throughput_ips")),
        # The claim must hold despite the uncertainty: the lower end of the interval has to reach the limit.
        Limit("speedup", "bench", False, "x", lambda b: (b["speedup"]["low"], "")),
        Limit("memory_peak_mb", "bench", True, "MB",
              _measured("memory_peak_bytes", scale=1e6, reason="memory_reason")),
        Limit("energy_mj", "bench", True, "mJ",
              _measured("energy_mj_per_inference", reason="energy_reason")),
        Limit("energy_fraction", "bench", True, "", _energy_fraction),
        *(limit for task in _OTHER_TASKS for limit in _limits_of(task)),
    )
}  # fmt: skip
