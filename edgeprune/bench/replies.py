"""Validate what a runner answers: types and ranges of everything that is read of it.

A board is another machine: its runner may be of another version, its disk or its cable may be faulty, and
what answers there may not be a runner at all. Every answer is checked against these types before it is used;
what an older runner leaves out gets its default.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any, Literal

import msgspec

from edgeprune.bench.local import Transport
from edgeprune.bench.process import OnEvent, ignore_event, printable_line
from edgeprune.errors import BenchError

DAY_NS = 86_400 * 10**9
MOST_DEPTH = 40
MOST_TEXT = 2000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Time = Annotated[int, msgspec.Meta(gt=0, le=DAY_NS)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Words = list[str]


class BoardReply(msgspec.Struct):
    """The machine, as it describes itself."""

    model: str | None = None
    compatible: Words = []
    soc: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    android: bool = False
    gpus: list[dict[str, Any]] = []


class CpuClockReply(msgspec.Struct):
    """One core's clock."""

    cpu: Count = 0
    governor: str | None = None
    min_khz: Count | None = None
    cur_khz: Count | None = None
    max_khz: Count | None = None


class CpuReply(msgspec.Struct):
    """All cores' clocks."""

    online: str | None = None
    clocks: list[CpuClockReply] = []


class GpuReply(msgspec.Struct):
    """The clock of a Jetson's GPU."""

    name: str | None = None
    governor: str | None = None
    min_hz: Count | None = None
    cur_hz: Count | None = None
    max_hz: Count | None = None
    load_percent: float | None = None


class PowerModeReply(msgspec.Struct):
    """The power mode of a Jetson."""

    name: str | None = None
    id: int | None = None
    modes: dict[str, str] = {}
    reason: str | None = None


class CoolingReply(msgspec.Struct):
    """A fan, or a clock that is throttled."""

    type: str
    cur: int | None = None
    max: int | None = None


class CardReply(msgspec.Struct):
    """A graphics card."""

    name: str | None = None
    slowed_by: Words | None = None


class StateReply(msgspec.Struct):
    """What the machine is doing at one moment."""

    monotonic_s: float = 0.0
    cpu: CpuReply = msgspec.field(default_factory=CpuReply)
    gpu: GpuReply | None = None
    memory_hz: Count | None = None
    power_mode: PowerModeReply = msgspec.field(default_factory=PowerModeReply)
    temperatures_c: dict[str, float] = {}
    passive_trips_c: dict[str, float] = {}
    cooling: list[CoolingReply] = []
    over_current: dict[str, int] = {}
    alarms: Words = []
    swap_used_bytes: Count | None = None
    pi_throttled: Count | None = None
    nvidia: list[CardReply] = []


class ProbeReply(msgspec.Struct):
    """The answer to ``probe``.

    Attributes:
        runtime_reasons: why the machine has not a runtime, where it knows.
        title: its own words for itself, where the profile is of many kinds of machines.
        threads: that the runtime takes by itself; None for the physical cores.
        threads_reason: why they are fewer than there could be.
        round_is: what each round has of its own.
        most_images: of the test images, that are sent to the device at most; None for all.
    """

    cores_physical: Positive
    board: BoardReply = msgspec.field(default_factory=BoardReply)
    runtimes: dict[str, str | None] = {}
    cpu_model: str | None = None
    cores_online: Positive | None = None
    governors: Words | None = None
    load_average: Annotated[list[Amount], msgspec.Meta(min_length=1)] | None = None
    busy_cores: Amount | None = None
    state: StateReply = msgspec.field(default_factory=StateReply)
    runtime_reasons: dict[str, str] = {}
    title: str | None = None
    threads: Positive | None = None
    threads_reason: str | None = None
    round_is: str = "a fresh process"
    most_images: Positive | None = None


class EnergyReply(msgspec.Struct):
    """The energy of one measuring window."""

    sensor: str = "none"
    unit: str = "watts"
    total_kind: str = "none"
    total_rails: Words = []
    rails_j: dict[str, float] = {}
    gross_j: float | None = None
    idle_w: float | None = None
    net_j: float | None = None
    window_s: Amount = 0.0
    samples: Count = 0
    failed_reads: Count = 0
    rate_hz: Amount | None = None
    longest_gap_s: Amount | None = None
    reason: str | None = None


class WatchReply(msgspec.Struct):
    """What was observed inside the window."""

    gpu_hz: list[Count] = []
    warmest_c: dict[str, float] = {}
    period_s: Amount = 1.0


class PausesReply(msgspec.Struct):
    """What interrupted the window."""

    count: Count = 0
    seconds: Amount = 0.0
    longest_s: Amount = 0.0
    suspended_s: Amount = 0.0


class WarningReply(msgspec.Struct):
    """One warning."""

    code: str
    message: str


class CooledReply(msgspec.Struct):
    """How a round waited for the machine to cool down."""

    seconds: Amount = 0.0
    warmest_c: float | None = None


class SummaryReply(msgspec.Struct):
    """What one value stands for, where a program gives no times of single inferences."""

    runs: Positive
    value: Literal["median", "mean"]
    mean_ns: Annotated[float, msgspec.Meta(gt=0, le=DAY_NS)]
    reason: str


class MeasureReply(msgspec.Struct):
    """The answer to ``measure``."""

    samples_ns: Annotated[list[Time], msgspec.Meta(min_length=1)]
    versions: dict[str, str | None] = {}
    load_ns: Count | None = 0
    first_ns: Count | None = None
    runs_per_sample: Positive = 1
    clock_step_ms: Amount | None = None
    summary: SummaryReply | None = None
    feed: dict[str, list[Count]] = {}
    warm_up: dict[str, int | float] | None = None
    cooled: CooledReply | None = None
    window_s: Amount | None = None
    window_runs: Count | None = None
    pauses: PausesReply | None = None
    gpu_ns: list[Count] | None = None
    enqueue_ns: list[Count] | None = None
    engine_warnings: list[WarningReply] = []
    memory_peak_bytes: Count | None = None
    memory_loaded_bytes: Count | None = None
    memory_reason: str | None = None
    device_memory: dict[str, Any] | None = None
    energy: EnergyReply = msgspec.field(default_factory=EnergyReply)
    uses_gpu: bool = False
    before: StateReply = msgspec.field(default_factory=StateReply)
    watched: WatchReply = msgspec.field(default_factory=WatchReply)
    after: StateReply = msgspec.field(default_factory=StateReply)


class LayerReply(msgspec.Struct):
    """One layer's time; None where the runtime did not report it."""

    name: str
    kind: str | None = None
    onnx: Words = []
    ms: Amount | None = None
    outputs: list[list[int]] = []
    formats: Words = []
    reformat: bool = False


class LayersReply(msgspec.Struct):
    """The answer to ``layers``."""

    layers: Annotated[list[LayerReply], msgspec.Meta(min_length=1)]


class TimesReply(msgspec.Struct):
    """The answer to ``times``, in the order of the models."""

    times_ms: Annotated[list[Annotated[float, msgspec.Meta(gt=0)]], msgspec.Meta(min_length=1)]


Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
Detection = tuple[
    Coordinate, Coordinate, Coordinate, Coordinate, Share, Count
]  # x1, y1, x2, y2, score, class


class AccuracyReply(msgspec.Struct):
    """The answer to ``accuracy``."""

    count: Positive
    not_finite: Count = 0
    correct: Count | None = None
    confusion: list[list[Count]] | None = None
    detections: list[list[Detection]] | None = None

    def __post_init__(self) -> None:
        if max(self.correct or 0, self.not_finite) > self.count:
            raise ValueError(f"{self.correct} correct of {self.count} images")
        if any(len(row) != len(self.confusion or ()) for row in self.confusion or ()):
            raise ValueError("the confusion matrix is not square")
        if self.detections is not None and len(self.detections) != self.count:
            raise ValueError(f"detections of {len(self.detections)} images of {self.count}")


class SensorReply(msgspec.Struct):
    """One of the answers to ``sensors``."""

    sensor: str
    answers: bool = False
    reason: str | None = None
    unit: str = "watts"
    rails: dict[str, float | None] = {}


SHAPES: dict[str, Any] = {
    "probe": ProbeReply,
    "measure": MeasureReply,
    "layers": LayersReply,
    "times": TimesReply,
    "accuracy": AccuracyReply,
    "sensors": list[SensorReply],
    "build": dict[str, Any],
}


def call(transport: Transport, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
    """Run a verb of the runner, and check its answer.

    Args:
        transport: to the runner.
        verb: of the runner's command line.
        arguments: after the verb.
        on_event: called with each progress event.

    Returns:
        The answer, with defaults for what an older runner leaves out.

    Raises:
        BenchError: there is no answer, or its types or ranges are wrong.
    """
    return checked(verb, transport.call(verb, arguments, on_event))


def checked(verb: str, answer: Any) -> Any:
    """Return an answer to ``verb`` whose types and ranges are right.

    Raises:
        BenchError: they are not; the message says where.
    """
    try:
        answer = cleaned(answer)
        shape = msgspec.convert(answer, SHAPES[verb])
    except (msgspec.ValidationError, ValueError, RecursionError) as error:
        raise BenchError(
            f"the runner's answer to {verb!r} cannot be: {printable_line(str(error), 200)}; is it the runner of "
            "this edgeprune, and are the device's memory and its connection sound?"
        ) from error
    return merged(answer, msgspec.to_builtins(shape))


def cleaned(value: Any, place: str = "$", depth: int = 0) -> Any:
    """Return an answer whose texts are single lines that a terminal shows as they are.

    Args:
        value: of JSON.
        place: its position in the answer, for the message.
        depth: how deep that is.

    Raises:
        ValueError: a number anywhere in it is not finite or has more than 64 bits, or it is nested too
            deeply.
    """
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested too deeply at {place[:60]}")
    if isinstance(value, str):
        return printable_line(value, MOST_TEXT)
    if isinstance(value, Mapping):
        return {key: cleaned(item, f"{place}.{key}", depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [cleaned(item, f"{place}[...]", depth + 1) for item in value]
    if isinstance(value, float) and not isfinite(value):
        raise ValueError(f"{value} at {place}")
    if isinstance(value, int) and abs(value) >= 2**63:
        raise ValueError(f"a number of more than 64 bits at {place}")
    return value


def merged(answer: Any, known: Any) -> Any:
    """Return an answer with defaults for missing keys, and with all its other keys.

    Args:
        answer: as the runner gave it.
        known: the checked part, defaults filled in.
    """
    if isinstance(answer, Mapping) and isinstance(known, Mapping):
        return {**answer, **{key: merged(answer.get(key), value) for key, value in known.items()}}
    if isinstance(answer, list) and isinstance(known, list) and answer and isinstance(answer[0], Mapping):
        return [merged(item, known_item) for item, known_item in zip(answer, known, strict=True)]
    return known
