"""Schemas of a run folder's files."""

from math import prod
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field

from edgeprune.errors import EdgePruneError, PlanError, RunError
from edgeprune.records.checking import check, check_schema
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

LARGEST_IMAGE = 10**8  # values
ImageShape = Annotated[list[Side], Meta(min_length=3, max_length=3)]


Argument = (
    Annotated[int, Meta(ge=-(10**6), le=10**6)] | float | str | bool | None | list[Any] | dict[str, Any]
)


class Factory(Struct):
    """How a model is built."""

    factory: Name
    args: dict[str, Argument]


class KeptGroup(Struct):
    """The channels of one group that are kept."""

    name: str
    kept: list[Index]
    size: Width | None = None


class KeepPlan(Struct):
    """`Plan.to_dict`."""

    fingerprint: Name
    groups: list[KeptGroup]
    notes: list[str] = []
    bypass: bool = False


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


class ModelRecord(Struct):
    """model.json."""

    model: Factory
    input_shape: ImageShape
    classes: Annotated[list[str], Meta(min_length=1)]
    mean: list[float]
    std: list[Above0]
    plans: list[KeepPlan]
    steps: list[Steps]


class JudgedModel(Struct):
    """One model of a summary; metrics of other tasks than classification are further keys."""

    test_images: Count
    params: Positive
    flops: Positive
    size_bytes: Count
    accuracy: Share | UnsetType = UNSET


class StoredMetric(Struct):
    """The metric by which a run's models were compared."""

    name: Name
    unit: str
    scale: Above0
    higher_is_better: bool


class JudgedModels(Struct):
    """The models of a summary."""

    baseline: JudgedModel
    settled: JudgedModel
    pruned: JudgedModel


class Outcome(Struct):
    """A target and the fraction that was reached."""

    kind: str
    target: str = field(name="asked")
    fraction: Amount | None
    got_fraction: Amount | None


class Summary(Struct):
    """summary.json."""

    target: Outcome
    params_fraction: Amount
    flops_fraction: Amount
    models: JudgedModels
    notes: list[str]
    accuracy_drop: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    task: Name = "classification"
    metric: StoredMetric | None = None
    targets: list[Outcome] = []


class TimedAttempt(Struct):
    """A plan that was measured on the device."""

    baseline_ms: Above0
    pruned_ms: Above0
    chosen: bool


class TimesRecord(Struct):
    """latency.json."""

    attempts: list[TimedAttempt]
    conditions: dict[str, Any] = {}


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


class CheckpointState(Struct):
    """The state of training, beside the tensors of a checkpoint."""

    stage: str
    step: Steps
    metrics_bytes: Count
    val_accuracy: Share | None = None
    ema: Steps = 0
    scaler: dict[str, Any] = {}
    extra: dict[str, Any] = {}


def check_plan_record(value: Any, where: str) -> dict[str, Any]:
    """Check the JSON form of a keep-plan, as far as possible without its model's graph, and return it.

    Args:
        value: as read.
        where: the file, for the message.

    Raises:
        PlanError: it does not match the schema, or a channel is kept twice or is outside its group.
    """
    hint = "a keep-plan is what 'edgeprune search' or Plan.to_dict writes"
    if isinstance(value, dict) and "schema" in value:
        check_schema(value, where, error=PlanError, hint=hint)
    plan: dict[str, Any] = check(value, KeepPlan, where, error=PlanError, hint=hint)
    _check_kept(plan, where, PlanError)
    return plan


def check_model_record(record: dict[str, Any], where: str) -> dict[str, Any]:
    """Check the consistency of a model.json's fields, and return its content.

    Raises:
        RunError: its fields contradict each other.
    """
    hint = "was it cut or edited?"
    for plan in record["plans"]:
        _check_kept(plan, where, RunError)
    steps = record["steps"]
    if len(steps) != len(record["plans"]) or steps != sorted(steps):
        raise RunError(f"{where}: `steps` must hold a rising number for each of `plans`: {hint}")
    check_image_fields(record, where)
    return record


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


def _check_kept(plan: dict[str, Any], where: str, error: type[EdgePruneError]) -> None:
    for number, group in enumerate(plan["groups"]):
        kept, size = group["kept"], group.get("size")
        place = f"{where}: `groups[{number}].kept`"
        if len(set(kept)) < len(kept):
            raise error(f"{place} names a channel twice: make the plan again")
        if size is not None and kept and max(kept) >= size:
            raise error(f"{place} names channel {max(kept)} of a group of {size}: make the plan again")
