"""Schemas of a run folder's files."""

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from edgeprune.errors import EdgePruneError, PlanError, RunError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.fields import (
    Above0,
    Amount,
    Count,
    Digest,
    Index,
    Name,
    Positive,
    Share,
    Side,
    Steps,
    Width,
)
from edgeprune.records.metrics import PairedDrop, StoredMetric
from edgeprune.records.times import DeviceTimes

LARGEST_IMAGE = 10**8  # values
ImageShape = Annotated[tuple[Side, ...], Meta(min_length=3, max_length=3)]


Argument = (
    Annotated[int, Meta(ge=-(10**6), le=10**6)] | float | str | bool | None | list[Any] | dict[str, Any]
)


LayerPrecisions = Mapping[Name, Literal["fp32", "int8"]]


class Factory(Record, frozen=True):
    """How a model is built."""

    factory: Name
    args: Mapping[str, Argument]


class KeptGroup(Record, frozen=True, kw_only=True):
    """The channels of one group that are kept: indices within the group, of ``size`` channels."""

    name: str
    size: Width | None = None
    kept: tuple[Index, ...]


class KeepPlan(FileRecord, frozen=True):
    """A keep-plan as it is written: plan.json, and each of model.json's ``plans``.

    Attributes:
        fingerprint: of the graph that it was made for.
        groups: every group of that graph, in its order.
        notes: what was asked for and could not be done.
        bypass: whether emptied branches are left out of the sums they are added to.
        precisions: layer -> the precision that it is deployed in; unset where none were chosen.
    """

    fingerprint: Name
    groups: tuple[KeptGroup, ...]
    notes: tuple[str, ...] = ()
    bypass: bool = False
    precisions: LayerPrecisions | UnsetType = UNSET

    WHERE: ClassVar[str] = "this is not a keep-plan"
    ERROR: ClassVar[type[EdgePruneError]] = PlanError
    REMEDY: ClassVar[str] = "a keep-plan is what 'edgeprune search' or Plan.to_dict writes"

    @classmethod
    def prepared(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:
        """Return what was read; plans of the first versions have no ``schema``.

        Args:
            value: as read.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        numbered = isinstance(value, dict) and "schema" in value
        return super().prepared(value, where, error=error, hint=hint) if numbered else value

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:  # noqa: ARG002
        """Raise ``error`` if a channel is kept twice or lies outside its group.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy of other faults; here it is to make the plan again.
        """
        for number, group in enumerate(self.groups):
            place = f"{where}: `groups[{number}].kept`"
            if len(set(group.kept)) < len(group.kept):
                raise error(f"{place} names a channel twice: make the plan again")
            if group.size is not None and group.kept and max(group.kept) >= group.size:
                raise error(
                    f"{place} names channel {max(group.kept)} of a group of {group.size}: make the plan again"
                )


class DataSpec(Struct):
    """`DataBundle.spec`."""

    data: Name
    root: str | None
    image_size: Side | None
    val_fraction: Annotated[float, Meta(ge=0, lt=1)]
    seed: Annotated[int, Meta(ge=0)]
    native_size: tuple[Side, Side] | None
    fingerprint: str
    kind: Name | UnsetType = UNSET
    classes: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET


class Config(Struct):
    """config.json; its options are checked where they are used, missing fields when they are read."""

    options: dict[str, Any] | UnsetType = UNSET
    model: Factory | UnsetType = UNSET
    data_spec: DataSpec | UnsetType = UNSET
    input_shape: ImageShape | UnsetType = UNSET
    classes: Annotated[list[str], Meta(min_length=1)] | UnsetType = UNSET
    mean: list[float] | UnsetType = UNSET
    std: list[Above0] | UnsetType = UNSET
    plan: KeepPlan | None = None
    weights_sha256: Digest | None = None
    versions: dict[str, str] = {}
    machine: dict[str, Any] = {}


class ModelRecord(FileRecord, frozen=True):
    """model.json: how to rebuild the dense model.

    Attributes:
        model: the unpruned one.
        input_shape: (channels, height, width).
        classes: their names.
        mean: of each channel, by which images are normalised.
        std: likewise.
        plans: keep-plans in the order in which they were applied, each for the graph that the one before it left.
        steps: training steps taken before each.
    """

    model: Factory
    input_shape: ImageShape
    classes: Annotated[tuple[str, ...], Meta(min_length=1)]
    mean: tuple[float, ...]
    std: tuple[Above0, ...]
    plans: tuple[KeepPlan, ...]
    steps: tuple[Steps, ...]

    WHERE: ClassVar[str] = "model.json"

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:
        """Raise ``error`` if plans, steps or the image's fields contradict each other.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        for plan in self.plans:
            plan.check_consistency(where, error=error, hint=hint)
        if len(self.steps) != len(self.plans) or [*self.steps] != sorted(self.steps):
            raise error(f"{where}: `steps` must hold a rising number for each of `plans`: {hint}")
        check_image_fields(self.to_dict(), str(where))


class JudgedModel(Record, frozen=True, kw_only=True):
    """One model of a summary.

    Attributes:
        scores: the task's metrics on the test images, by name, each a key beside the others; ``accuracy`` has a field
            of its own.
        accuracy: a fraction, for classification.
        test_images: number of images.
        params: of the model.
        flops: multiply-adds for one image.
        size_bytes: of its file of weights.
    """

    FURTHER: ClassVar[str] = "scores"

    scores: Mapping[str, float | None] = {}
    accuracy: Share | UnsetType = UNSET
    test_images: Count
    params: Positive
    flops: Positive
    size_bytes: Count

    def score(self, metric: str) -> float:
        """Return the value of a metric; raises RunError where the model was not scored by it."""
        value = self.scores.get(metric, self.accuracy if metric == "accuracy" else None)
        if value is None or isinstance(value, UnsetType):
            raise RunError(f"summary.json has no `{metric}` of its models: was it cut or edited?")
        return value

    @classmethod
    def of(cls, scores: Mapping[str, float], **about: int) -> "JudgedModel":
        """Return the record of a model.

        Args:
            scores: by the task's metrics.
            about: the other fields.
        """
        others = {name: value for name, value in scores.items() if name != "accuracy"}
        return cls(scores=others, accuracy=scores.get("accuracy", UNSET), **about)


class JudgedModels(Record, frozen=True):
    """The models of a summary: unpruned; pruned, before fine-tuning; and after it."""

    baseline: JudgedModel
    settled: JudgedModel
    pruned: JudgedModel


class Outcome(Record, frozen=True, kw_only=True):
    """A target and what was reached.

    Attributes:
        kind: the resource.
        target: as it was asked for; empty in the first versions' summaries.
        fraction: of the resource that should remain; None where a time was not measured.
        got_fraction: that remains.
    """

    kind: str
    target: str = field(name="asked", default="")
    fraction: Amount | None
    got_fraction: Amount | None


Drop = Annotated[float, Meta(ge=-1, le=1)]


class Summary(FileRecord, frozen=True, kw_only=True):
    """summary.json: the result of a run.

    Attributes:
        target: the first one.
        targets: all of them.
        params_fraction: of the parameters that remain.
        flops_fraction: of the FLOPs that remain.
        task: its name.
        metric: by which models are compared; None in the first versions' summaries, which are by accuracy.
        drops: what the pruned model lost by the metric, as METRIC_drop, a key beside the others; ``accuracy_drop`` has
            a field of its own.
        accuracy_drop: for classification.
        drop_interval: of that drop, on the same test images; None where there were too few, unset in earlier versions.
        models: what was measured of them.
        precisions: layer of the pruned model -> the precision that it is deployed in; unset where none were chosen.
        notes: what was asked and could not be done.
    """

    FURTHER: ClassVar[str] = "drops"

    target: Outcome
    targets: tuple[Outcome, ...] = ()
    params_fraction: Amount
    flops_fraction: Amount
    task: Name = "classification"
    metric: StoredMetric | None = None
    drops: Mapping[str, float | None] = {}
    accuracy_drop: Drop | UnsetType = UNSET
    drop_interval: PairedDrop | None | UnsetType = UNSET
    models: JudgedModels
    precisions: LayerPrecisions | UnsetType = UNSET
    notes: tuple[str, ...]

    def drop(self, metric: str) -> float | None:
        """Return what the pruned model lost by a metric; None where models were not compared by it."""
        own = None if isinstance(self.accuracy_drop, UnsetType) else self.accuracy_drop
        return self.drops.get(f"{metric}_drop", own if metric == "accuracy" else None)

    @classmethod
    def upgraded(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:  # noqa: ARG003
        """Return the value with its metrics gathered.

        Args:
            value: as read, not yet checked.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        value = cls.gathered(value)
        if isinstance(value, dict) and isinstance(value.get("models"), dict):
            models = {name: JudgedModel.gathered(model) for name, model in value["models"].items()}
            return {**value, "models": models}
        return value


class AttemptEnergy(Struct):
    """What such a plan takes, where energy is a target."""

    baseline_mj: Above0
    pruned_mj: Above0


class TimedAttempt(Struct):
    """A plan that was measured on the device."""

    baseline_ms: Above0
    pruned_ms: Above0
    chosen: bool
    energy: AttemptEnergy | None = None


class MeasuredBoard(Struct):
    """One of several boards; of the chosen plan's times there are none where it was not measured."""

    host: Name
    conditions: dict[str, Any]
    measured: DeviceTimes | None


class TimesRecord(Struct):
    """latency.json."""

    attempts: list[TimedAttempt]
    conditions: dict[str, Any] = {}
    boards: list[MeasuredBoard] = []


class ProgressRecord(FileRecord, frozen=True, kw_only=True):
    """progress.json: how far a run is that is under way.

    Attributes:
        stage: of training; None outside of one, as while a plan is measured.
        text: what is being done.
        done: amount of finished work.
        total: amount of all work, in the same unit.
        left_s: seconds to the end of it at the pace of the last minute; None while the pace is unknown.
        later_s: seconds that the stages after it take at the pace of its steps; None where that is unknown.
        written: seconds since 1970.
    """

    stage: Name | None
    text: str
    done: Amount
    total: Amount
    left_s: Amount | None
    later_s: Amount | None
    written: float


class MetricLine(Struct):
    """A line of metrics.jsonl."""

    stage: str
    step: Steps
    kind: str = ""


class SteeringLine(Struct):
    """A line of steer.jsonl."""

    auto: bool = False
    interacting: Annotated[float, Meta(ge=-1e9, le=1e9)] | None = None
    relative: bool = False
    target: Annotated[str, Meta(min_length=1, max_length=200)] | None = None


class CheckpointState(Struct):
    """The state of training, beside the tensors of a checkpoint."""

    stage: str
    step: Steps
    metrics_bytes: Count
    val_accuracy: Share | None = None
    ema: Steps = 0
    scaler: dict[str, Any] = {}
    extra: dict[str, Any] = {}


def check_image_fields(record: dict[str, Any], where: str) -> None:
    """Raise RunError unless mean, standard deviation, input and model agree in channels and classes."""
    channels = record["input_shape"][0]
    for name in ("mean", "std"):
        if len(record[name]) != channels:
            raise RunError(
                f"{where}: `{name}` must hold {channels} numbers, one for each channel of `input_shape` "
                f"(it holds {len(record[name])}): was it cut or edited?"
            )
    if prod(record["input_shape"]) > LARGEST_IMAGE:
        raise RunError(
            f"{where}: `input_shape` is {record['input_shape']}, more than an image has: was it edited?"
        )
    expected = {"num_classes": len(record.get("classes", ())), "in_channels": channels}
    args = record["model"]["args"] if "model" in record else {}
    for name, count in expected.items():
        if name in args and count and args[name] != count:
            raise RunError(
                f"{where}: `model.args.{name}` must be {count}, as the data has it (it is {args[name]!r}): "
                "was it cut or edited?"
            )
