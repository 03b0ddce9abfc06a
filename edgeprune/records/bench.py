"""Schemas of measurements."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from edgeprune.records.fields import Above0, Amount, Count, Digest, Name, Positive, Share

Samples = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1)]


class LatencyRecord(Struct):
    """Percentiles of a model's latency in ms."""

    p50: Above0
    p90: Above0
    p99: Above0


class MeasuredModel(Struct):
    """The fields that are read of a measured model."""

    file: Name
    sha256: Digest
    size_bytes: Positive
    latency_ms: LatencyRecord
    throughput_ips: Above0
    memory_peak_bytes: Amount | None
    memory_reason: str | None
    energy_mj_per_inference: Amount | None
    energy_reason: str | None
    accuracy: Share | None
    accuracy_reason: str | None
    versions: dict[str, Any]


class MeasuredModels(Struct, forbid_unknown_fields=True):
    """Both models."""

    baseline: MeasuredModel
    pruned: MeasuredModel


class SpeedupRange(Struct):
    """A speedup with its interval."""

    value: Above0
    low: Amount
    high: Amount
    confidence: Share
    pairs: Count


class Settings(Struct):
    """The settings of a measurement."""

    runtime: Name
    precision: Name
    batch: Positive
    threads: Positive
    seconds: Above0


class MeasuredBoard(Struct):
    """A board as the runner describes it."""

    model: str | None
    compatible: list[str]
    soc: str | None
    l4t: str | None
    android: bool
    gpus: list[Any]


class Fingerprint(Struct):
    """A machine as the runner describes it."""

    board: MeasuredBoard
    runtimes: dict[str, str | None]
    cpu_model: str | None = None


class MeasuredDevice(Struct):
    """The device of a measurement."""

    name: Name
    title: str
    fingerprint: Fingerprint
    assumed: str | None = None


class WarningRecord(Struct):
    """A warning of a measurement."""

    code: str
    message: str


class BenchResult(Struct):
    """bench/DEVICE.json."""

    models: MeasuredModels
    speedup: SpeedupRange
    settings: Settings
    device: MeasuredDevice
    warnings: list[WarningRecord]
    complete: bool = True
