"""The records of a comparison: result.json, and a line of its log of attempts."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from msgspec import UNSET, Struct, UnsetType

from edgeprune.errors import EdgePruneError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.bench import SpeedupRange
from edgeprune.records.fields import Above0, Amount, Count, Name, Positive
from edgeprune.records.metrics import StoredMetric
from edgeprune.records.times import BoardTimes

ACCURACY = "accuracy"  # the key of every task's metric in schema 1
PARTS = ("baseline", "methods", "rows")  # of a result, with values of the metric
_FIELD = re.compile(r"\.score(?=[`_])")


class AttemptLine(Struct):
    """A line of attempts.jsonl."""

    row: str
    event: Literal["began", "ended", "measured"]
    outcome: str | None = None
    reason: str | None = None
    seconds: Amount = 0.0


class Average(Record, frozen=True, kw_only=True):
    """A number over the seeds of a method.

    Attributes:
        mean: None where there is no value.
        std: sample standard deviation (n - 1); None with ``std_reason``.
        values: those that are known.
        missing: number of those that are not.
    """

    mean: float | None
    std: float | None
    std_reason: str | None
    values: tuple[float, ...]
    missing: Count


class Scored(Record, frozen=True, kw_only=True):
    """A part of the result with values of the task's metric: in the file their keys have its name.

    The field ``score_before`` is the key "mean_iou_before" for a metric of that name.

    Attributes:
        metric: its name, which the file has once, beside all parts.
    """

    metric: Name

    def _items(self) -> dict[str, Any]:
        items = super()._items()
        metric = items.pop("metric")
        return {_renamed(key, "score", metric): value for key, value in items.items()}


def _renamed(key: str, old: str, new: str) -> str:
    """Return a key with a metric's name at its beginning replaced."""
    return new + key.removeprefix(old) if key == old or key.startswith(f"{old}_") else key


def _with_fields(part: Any, key: str, metric: str) -> Any:
    """Return the JSON form of a `Scored` with the names of its fields.

    Args:
        part: as read.
        key: under which the file has the metric.
        metric: its name.
    """
    if not isinstance(part, dict):
        return part
    return {"metric": metric, **{_renamed(name, key, "score"): value for name, value in part.items()}}


class MethodResult(Scored, frozen=True, kw_only=True):
    """A method of a comparison, or a moment of pruning, over its seeds.

    Attributes:
        label: its name in tables.
        method: its name.
        moment: of pruning, in a study of moments.
        done: number of finished rows.
        reasons: why the others failed.
        score_before: of the test images before fine-tuning.
        score: after it.
        params_fraction: of the parameters that remain.
        flops_fraction: of the FLOPs that remain.
        seconds: wall-clock time of a row.
        latency_ms: of the pruned model.
        speedup: over the baseline.
        boards_ms: host -> ms of the pruned model there, where the target holds on several boards; else unset.
    """

    label: str
    method: str
    moment: str | None
    done: Count
    reasons: tuple[str, ...]
    score_before: Average
    score: Average
    params_fraction: Average
    flops_fraction: Average
    seconds: Average
    latency_ms: Average
    speedup: Average
    boards_ms: Mapping[str, Average] | UnsetType = UNSET


class RowLatency(Record, frozen=True, kw_only=True):
    """The measurement of a row beside the baseline.

    Attributes:
        baseline_ms: median of single images.
        pruned_ms: likewise.
        speedup: median over pairs of rounds, with its interval.
        batch: images per inference.
        threads: of the runtime.
        seconds: of timed inference per model.
        runtime: that measured.
        versions: package -> version, of the runtime.
        cpu: the processor's name.
        warnings: codes of the measurement's warnings.
    """

    baseline_ms: Above0
    pruned_ms: Above0
    speedup: SpeedupRange
    batch: Positive
    threads: Positive
    seconds: Above0
    runtime: Name
    versions: Mapping[str, Any]
    cpu: str | None
    warnings: tuple[str, ...]


class RowResult(Scored, frozen=True, kw_only=True):
    """A run of a comparison; what only finished rows have is None for others.

    Attributes:
        row: its name.
        method: that prunes.
        moment: of pruning, in a study of moments.
        seed: of the run.
        status: "waiting", "done" or "failed".
        reason: of a failure.
        score_before: of the test images before fine-tuning.
        score: after it.
        params_fraction: of the parameters that remain.
        flops_fraction: of the FLOPs that remain.
        params: of the pruned model.
        flops: of the pruned model.
        seconds: wall-clock time, with loading of data and evaluation; None with ``seconds_reason``.
        latency: beside the baseline; None with ``latency_reason``.
        notes: what was asked and could not be done.
        boards: what the plan took on each of several boards that the target holds on; unset where there are none.
        host: name of the machine that made it; unset where workers share no rows.
    """

    row: Name
    method: str
    moment: str | None
    seed: Count
    status: str
    reason: str | None = None
    score_before: float | None = None
    score: float | None = None
    params_fraction: Amount | None = None
    flops_fraction: Amount | None = None
    params: Count | None = None
    flops: Count | None = None
    seconds: Amount | None
    seconds_reason: str | None
    latency: RowLatency | None = None
    latency_reason: str | None = None
    notes: tuple[str, ...] = ()
    boards: tuple[BoardTimes, ...] | UnsetType = UNSET
    host: str | UnsetType = UNSET

    @property
    def is_done(self) -> bool:
        """Whether the run is finished."""
        return self.status == "done"


class BaselineResult(Scored, frozen=True, kw_only=True):
    """The baseline of all rows.

    Attributes:
        score: of the test images; None with ``score_reason``.
        params: of the model; None before a row is finished, as are ``flops`` and ``test_images``.
        flops: of the model.
        test_images: number of images.
        seconds: that its training took; None with ``seconds_reason``.
    """

    score: float | None
    score_reason: str | None
    params: Count | None = None
    flops: Count | None = None
    test_images: Count | None = None
    seconds: Amount | None
    seconds_reason: str | None


class ComparisonResult(FileRecord, frozen=True, kw_only=True):
    """result.json of `edgeprune compare`; in schema 1 the key of every task's metric was "accuracy".

    Attributes:
        complete: whether every row is done or failed.
        source: name of the run or model that was pruned.
        target: that all rows share.
        seeds: number of them.
        moments: of pruning, in a study of moments.
        settings: options that all finished rows share.
        versions: package -> version.
        machine: of the rows.
        metric: by which models are compared; None in the first versions' results, which are by accuracy.
        baseline: of all rows.
        methods: the best first.
        rows: in the order of the work.
        plot: its file; None with ``plot_reason``.
    """

    SCHEMA: ClassVar[int] = 2

    complete: bool
    source: Name
    target: str | None
    seeds: Positive
    moments: tuple[str, ...]
    settings: Mapping[str, Any]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    metric: StoredMetric | None = None
    baseline: BaselineResult
    methods: tuple[MethodResult, ...]
    rows: tuple[RowResult, ...]
    plot: str | None
    plot_reason: str | None

    @classmethod
    def with_keys(cls, message: str, value: Any) -> str:
        """Return an error's message with the key of the metric in place of `score`.

        Args:
            message: names fields of the record.
            value: as read.
        """
        return _FIELD.sub(f".{_key_of_metric(value)[0]}", message)

    @classmethod
    def upgraded(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:  # noqa: ARG003
        """Return the value with the metric of its parts under the names of their fields.

        Args:
            value: as read, not yet checked.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        if not isinstance(value, dict):
            return value
        key, metric = _key_of_metric(value)
        parts: dict[str, Any] = {name: value[name] for name in PARTS if name in value}
        for name, part in parts.items():
            many = isinstance(part, list)
            parts[name] = (
                [_with_fields(item, key, metric) for item in part]
                if many
                else _with_fields(part, key, metric)
            )
        schema = {"schema": cls.SCHEMA} if value.get("schema") == 1 else {}
        return {**value, **schema, **parts}


def _key_of_metric(value: Any) -> tuple[str, str]:
    """Return the key under which the JSON form of a result has the values of its metric, and the metric's name."""
    stored = value.get("metric") if isinstance(value, dict) else None
    metric = stored.get("name") if isinstance(stored, dict) else None
    metric = metric if isinstance(metric, str) else ACCURACY
    return (ACCURACY if isinstance(value, dict) and value.get("schema") == 1 else metric), metric
