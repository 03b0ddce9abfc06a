"""The record of a measurement, bench/DEVICE.json, and of a run measured with every runtime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from edgeprune.errors import EdgePruneError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.checking import check
from edgeprune.records.export import Parity
from edgeprune.records.fields import Above0, Amount, Count, Digest, Name, Positive, Share
from edgeprune.records.metrics import StoredMetric

PAIR, ALONE = {"baseline", "pruned"}, {"model"}  # the names of what is measured: two models, or one
Samples = Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1)]
Open = Mapping[str, Any]  # what a runner reports of its machine: a later one may report more


class LatencyRecord(Record, frozen=True, kw_only=True):
    """Percentiles and mean of a time in ms; ``p10`` is missing in the first versions' results.

    A program that sums its inferences up gives no percentiles but the median, or not even that; they are None with a
    ``reason``, and ``p50`` is the middle of the rounds' values.
    """

    p10: Above0 | UnsetType | None = UNSET
    p50: Above0
    p90: Above0 | None
    p99: Above0 | None
    mean: Above0 | UnsetType = UNSET
    reason: str | UnsetType = UNSET


class EnergySource(Record, frozen=True):
    """Where an energy comes from: the sensor, its readings in the measuring windows, and what they count.

    Attributes:
        sensor: its name; "none" where there is none.
        total_kind: what the total is: an input, or a sum of rails.
        total_rails: the rails in it.
        unit: of the readings: watts or joules.
        rails_mj_per_inference: of every rail, in the total or not.
        samples: how often the sensor was read.
        failed_reads: how often it could not be.
        longest_gap_s: between two readings.
        rate_hz: of the readings.
        window_s: length of all windows.
        idle_w: power before each window.
    """

    sensor: str = "none"
    total_kind: str = "none"
    total_rails: tuple[str, ...] = ()
    unit: str = "watts"
    rails_mj_per_inference: Mapping[str, float] = {}
    samples: Count = 0
    failed_reads: Count = 0
    longest_gap_s: Amount | None = None
    rate_hz: Amount | None = None
    window_s: Amount = 0.0
    idle_w: tuple[float | None, ...] = ()


class WarningRecord(Record, frozen=True):
    """A warning of a measurement."""

    code: str
    message: str


class MeasuredModel(Record, frozen=True, kw_only=True):
    """A model that was measured.

    Attributes:
        file: its path.
        sha256: of the file.
        size_bytes: of the file.
        versions: package -> version, of the runtime.
        latency_ms: of an inference.
        throughput_ips: images per second.
        round_spread: standard deviation of the rounds' p50 over their mean; None for one round.
        load_ms: time to load the file, of each round.
        first_ms: of the first inference after that, of each round, where the runner tells it apart.
        runs_per_sample: inferences that were timed together, the most of a round; 1 where the clock is fine.
        parity: with ONNX Runtime on the machine that measures, where outputs came back.
        parity_inputs: what it is of.
        memory_peak_bytes: above the process before it loaded the model; None with ``memory_reason``.
        memory_loaded_bytes: likewise, once it was loaded and nothing had run; None where there is no peak, and in the
            results of earlier versions.
        energy_mj_per_inference: gross; None with ``energy_reason``.
        energy_net_mj_per_inference: without what the machine takes when idle.
        energy: where it comes from.
        engine: what a runtime says of the engine that it built.
        gpu_latency_ms: time on the GPU alone.
        enqueue_ms: time to launch an inference.
        device_memory: what a runtime says of the GPU's memory.
        engine_warnings: the runtime's.
        accuracy: a fraction; None with ``accuracy_reason``.
        scores: by the task's metrics.
        samples_ns: each inference's time, a list a round; or the one value that sums a round up.
        accuracy_images: number of images that it was scored on.
        origin: what the file was made from, where it is not of a run.
        denormal_weights: number of the weights in float32 that are too small for a full mantissa, of ONNX files.
    """

    file: Name
    sha256: Digest
    size_bytes: Positive
    versions: Mapping[str, Any]
    latency_ms: LatencyRecord
    throughput_ips: Above0
    round_spread: Amount | None = None
    load_ms: tuple[Amount, ...] = ()
    first_ms: tuple[Amount, ...] = ()
    runs_per_sample: Positive = 1
    parity: Parity | None = None
    parity_inputs: str | None = None
    memory_peak_bytes: Amount | None
    memory_loaded_bytes: Amount | None = None
    memory_reason: str | None
    energy_mj_per_inference: Amount | None
    energy_net_mj_per_inference: float | None = None
    energy_reason: str | None
    energy: EnergySource = EnergySource()
    engine: Open | None = None
    gpu_latency_ms: LatencyRecord | None = None
    enqueue_ms: LatencyRecord | None = None
    device_memory: Open | None = None
    engine_warnings: tuple[WarningRecord, ...] = ()
    accuracy: Share | None = None
    accuracy_reason: str | None = None
    scores: Mapping[str, float | None] | None = None
    samples_ns: tuple[Samples, ...] = ()
    accuracy_images: Count | UnsetType = UNSET
    origin: Any | UnsetType = UNSET
    denormal_weights: Count | UnsetType = UNSET

    def score(self, metric: str) -> float | None:
        """Return the value of a metric; None where it was not scored by it."""
        own = {"accuracy": self.accuracy}  # results of earlier versions have the accuracy alone
        return (self.scores or own).get(metric)


class SpeedupRange(Record, frozen=True, kw_only=True):
    """A ratio of latencies or energies with its confidence interval; above 1, the pruned model takes less."""

    value: Above0
    low: Amount
    high: Amount
    confidence: Share
    method: str | UnsetType = UNSET
    pairs: Count


class Settings(Record, frozen=True, kw_only=True):
    """The settings of a measurement.

    Attributes:
        runtime: that measured.
        runtime_wished: the first of the device's profile.
        precision: of the numbers.
        batch: images per inference.
        threads: of the runtime.
        seconds: of timed inference per model.
        rounds: of each model.
        round_seconds: of timed inference per round.
        order: in which the models took turns.
        stretches: how often it was begun: more than 1 where it was interrupted and resumed.
        discarded_rounds: what interrupted pairs of rounds that were measured again.
        paused_rounds: what interrupted rounds that were kept.
        warm_up: the runs before the timed ones.
        feed: input -> shape.
        cool_to_c: the temperature that the machine was to have before each round.
        warm_rounds: how many rounds began warmer than that.
        clock_step_ms: the smallest step of the clock, where it is coarse.
    """

    runtime: Name
    runtime_wished: Name | None = None
    precision: Name
    batch: Positive
    threads: Positive
    seconds: Above0
    rounds: Positive | UnsetType = UNSET
    round_seconds: Above0 | UnsetType = UNSET
    order: str | UnsetType = UNSET
    stretches: Count = 1
    discarded_rounds: tuple[str, ...] = ()
    paused_rounds: tuple[str, ...] = ()
    warm_up: Open | None = None
    feed: Open | None = None
    cool_to_c: float | None = None
    warm_rounds: Count = 0
    clock_step_ms: Amount | None = None


class MeasuredDevice(Record, frozen=True, kw_only=True):
    """The device of a measurement.

    Attributes:
        name: of its profile.
        title: for people.
        host: where it is; None for this machine.
        assumed: the machine's own name where it contradicts the profile.
        fingerprint: the machine as the runner describes it; `Fingerprint` is what is read of it.
    """

    name: Name
    title: str
    host: str | None = None
    assumed: str | None = None
    fingerprint: Open


class MachineReport(Record, frozen=True):
    """The machine before the first round and after the last, the extremes in between, and warnings."""

    before: Open
    after: Open
    watched: Open
    warnings: tuple[WarningRecord, ...] = ()


class MinuteLatency(Record, frozen=True):
    """Percentiles of a model's inferences within a minute, ms."""

    p50: Above0
    p90: Above0


class SustainedMinute(Record, frozen=True, kw_only=True):
    """Hold what one minute of load shows.

    Attributes:
        minute: its number, from 0.
        models: model -> its times.
        watts: model -> mean power; None without a sensor.
        warmest_zone: the warmest zone of the machine.
        warmest_c: its temperature.
        cpu_mhz: mean clock of the cores after the rounds.
        gpu_mhz: mean clock of the GPU during the rounds.
        warnings: codes of what the machine's clocks and counters warned of.
    """

    minute: Count
    models: Mapping[str, MinuteLatency]
    watts: Mapping[str, Amount | None] = {}
    warmest_zone: str | None = None
    warmest_c: float | None = None
    cpu_mhz: Amount | None = None
    gpu_mhz: Amount | None = None
    warnings: tuple[str, ...] = ()


class SustainedReport(Record, frozen=True, kw_only=True):
    """The course of a measurement under lasting load; the result's other numbers are of its steady part.

    Attributes:
        seconds: of load that were asked for, both models in turn.
        steady: whether times settled; False where they still changed at the end, and the last third counts.
        steady_from_s: seconds of load before the part that counts.
        steady_pair: the number of its first pair of rounds.
        slowdown: model -> its median time in that part over that of the first minute.
        ranking_changed: whether another model is the faster one then.
        minutes: one after the other.
    """

    seconds: Above0
    steady: bool
    steady_from_s: Amount
    steady_pair: Count
    slowdown: Mapping[str, Above0]
    ranking_changed: bool
    minutes: tuple[SustainedMinute, ...]


class LayerTime(Record, frozen=True):
    """A layer's time in ms: median, lowest and highest of its passes; and its changes of format."""

    ms: Amount
    low_ms: Amount
    high_ms: Amount
    padded: str | None = None
    reformats: Count = 0
    reformat_ms: Amount = 0.0


class LayerRow(Record, frozen=True, kw_only=True):
    """A layer of both models, or of one alone.

    Attributes:
        onnx: labels of the nodes that it was made from.
        kind: operator or layer type, as the runtime names it.
        verdict: "faster", "slower" or "same" of the pruned model, "only in" one, or "fused in" one.
        ratio: baseline's time over the pruned model's.
        gained_reformat: whether the pruned model has more changes of format there.
        baseline: its time.
        pruned: its time.
    """

    onnx: tuple[str, ...]
    kind: str | None = None
    verdict: str
    ratio: Amount | None = None
    gained_reformat: bool = False
    baseline: LayerTime | None
    pruned: LayerTime | None


class LayerTimes(Record, frozen=True, kw_only=True):
    """All layers of both models.

    Attributes:
        passes: of each model.
        seconds: of timed inference per pass.
        rows: in the order of running.
        total_ms: sum of all layers, by model.
        note: on the totals.
    """

    passes: Positive | UnsetType = UNSET
    seconds: Above0 | UnsetType = UNSET
    rows: tuple[LayerRow, ...]
    total_ms: Mapping[str, Amount] = {}
    note: str = ""


class WidthUse(Record, frozen=True):
    """How one layer's width uses the device's steps.

    Attributes:
        layer: its name.
        shape: of the latency table.
        inputs: channels.
        outputs: channels.
        step: the multiple that its outputs are best kept at; None with ``reason``.
        ms: by the table.
        free_to: the next multiple where that takes no longer.
        reason: why nothing is known of it.
    """

    layer: str
    shape: str
    inputs: Count
    outputs: Count
    step: Positive | None = None
    ms: Amount | None = None
    free_to: Positive | None = None
    reason: str | None = None


class WidthsReport(Record, frozen=True):
    """How the pruned model's widths use the device's steps; ``rows`` is None with a ``reason``."""

    lut: str
    rows: tuple[WidthUse, ...] | None = None
    reason: str | None = None


class BenchResult(FileRecord, frozen=True, kw_only=True):
    """bench/DEVICE.json: a measurement of two models in turn, or of one.

    Attributes:
        complete: whether all of its stages are done.
        edgeprune_version: that measured.
        created: when, in ISO 8601.
        device: where.
        settings: how.
        machine: its state before and after; None before the first round.
        models: by name: "baseline" and "pruned", or "model".
        replaced: names of models whose file was replaced meanwhile.
        speedup: by the medians of paired rounds; None for a model alone.
        speedup_undisturbed: by the fast samples.
        energy_ratio: baseline's energy per inference over the pruned model's, by paired rounds; None where one of them
            has none.
        sustained: the course under lasting load, where that was asked for.
        layers: layer by layer, where that was asked for.
        widths: of the pruned model's layers.
        warnings: about all of it.
        metric: by which the models were scored.
    """

    complete: bool = True
    edgeprune_version: str = ""
    created: str = ""
    device: MeasuredDevice
    settings: Settings
    machine: MachineReport | None = None
    models: Mapping[str, MeasuredModel]
    replaced: tuple[str, ...] = ()
    speedup: SpeedupRange | None
    speedup_undisturbed: SpeedupRange | None = None
    energy_ratio: SpeedupRange | None = None
    sustained: SustainedReport | None = None
    layers: LayerTimes | None = None
    widths: WidthsReport | None = None
    warnings: tuple[WarningRecord, ...]
    metric: StoredMetric | UnsetType = UNSET

    @classmethod
    def prepared(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:
        """Return what was read; what is read of the machine's description is checked, too.

        Args:
            value: as read.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        value = super().prepared(value, where, error=error, hint=hint)
        return check(value, _Described, where, error=error, hint=hint)  # it names the model that is wrong

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:
        """Raise ``error`` if a finished measurement lacks a model or a speedup.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        names = set(self.models)
        if self.complete and names not in (PAIR, ALONE):
            missing = sorted(PAIR - names) if names <= PAIR else ()
            fault = f"`models.{missing[0]}` is missing" if missing else "`models` has other names than it can"
            raise error(f"{where}: {fault}: {hint}")
        if self.complete and names == PAIR and self.speedup is None:
            raise error(f"{where}: `speedup` must be object (it is null): {hint}")


class MeasuredBoard(Struct):
    """A board as the runner describes it."""

    model: str | None
    compatible: list[str]
    soc: str | None
    l4t: str | None
    android: bool
    gpus: list[Any]


class Fingerprint(Struct):
    """What is read of a machine as the runner describes it."""

    board: MeasuredBoard
    runtimes: dict[str, str | None]
    cpu_model: str | None = None


class _DescribedDevice(Struct):
    fingerprint: Fingerprint


class _NamedModels(Struct):
    baseline: MeasuredModel | UnsetType = UNSET
    pruned: MeasuredModel | UnsetType = UNSET
    model: MeasuredModel | UnsetType = UNSET


class _Described(Struct):
    device: _DescribedDevice
    models: _NamedModels


class RuntimeRow(Record, frozen=True):
    """A run measured with one runtime in one precision."""

    runtime: Name
    precision: Name
    result: BenchResult


class SkippedRuntime(Record, frozen=True):
    """A runtime in a precision that was not measured, and why."""

    runtime: Name
    precision: Name
    why: str


class RuntimesTable(FileRecord, frozen=True):
    """A run measured with every runtime.

    Attributes:
        run: its folder.
        rows: the fastest pruned network first.
        skipped: what was not measured.
    """

    run: str
    rows: tuple[RuntimeRow, ...]
    skipped: tuple[SkippedRuntime, ...] = ()


class BoardRow(Record, frozen=True):
    """What was measured on one board of several."""

    host: Name
    result: BenchResult


class FailedBoard(Record, frozen=True):
    """A board that could not be measured, and why."""

    host: Name
    why: str


class FleetTable(FileRecord, frozen=True):
    """A network measured on several boards at once.

    Attributes:
        title: of what was measured: the run's folder, or the models.
        rows: in the order in which the boards were named.
        failed: boards without a result.
    """

    title: str
    rows: tuple[BoardRow, ...]
    failed: tuple[FailedBoard, ...] = ()
