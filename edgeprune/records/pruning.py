"""Schemas of the files of a run that prunes a finished network."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from edgeprune.records.fields import Above0, Amount, Count, Digest, Name, Positive, Share, Steps


class PruneConfig(Struct):
    """prune.json; its options are checked where they are used."""

    options: dict[str, Any]
    model: Name
    sha256: Digest
    images: Name | None
    out: Name | None
    versions: dict[str, str] = {}


class HeldOut(Struct):
    """How far a network agreed with the original after a step."""

    step: Name
    top1: Share | None
    relative_error: Amount
    inputs: Positive


class CutRecord(Struct):
    """cut.json: the file was cut and fitted."""

    target: Name
    held_out: list[HeldOut]
    fit: Name
    flops: Annotated[list[Count], Meta(min_length=2, max_length=2)]
    seconds: Amount
    protected_channels: dict[str, Count]
    notes: list[str]


class CurvePoint(Struct):
    """One network of a curve."""

    flops_fraction: Amount
    latency_fraction: Amount | None
    top1: Share | None
    relative_error: Amount
    inputs: Positive


class CurveRecord(Struct):
    """curve.json."""

    model: Name
    points: list[CurvePoint]


class SizedModel(Struct):
    """One network of a summary."""

    params: Count
    flops: Count
    size_bytes: Positive
    accuracy: Share | UnsetType = UNSET
    test_images: Positive | UnsetType = UNSET


class SizedModels(Struct):
    """Both networks of a summary."""

    baseline: SizedModel
    pruned: SizedModel


class LearnedRecord(Struct):
    """What label-free fine-tuning did."""

    epochs: Steps
    inputs: Positive
    kept: bool


class FileTimes(Struct):
    """Latencies of both files, measured in turn."""

    baseline_ms: Above0
    pruned_ms: Above0
    speedup: Annotated[list[Above0], Meta(min_length=3, max_length=3)]
    conditions: dict[str, Any]


class PruneSummary(Struct):
    """summary.json."""

    target: Name
    models: SizedModels
    params_fraction: Amount
    flops_fraction: Amount
    held_out: list[HeldOut]
    seconds: Amount
    notes: list[str]
    warnings: list[str]
    distilled: LearnedRecord | None = None
    latency: FileTimes | None = None
    accuracy_drop: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
