"""What a runner may answer: types and ranges of all that is read of it, checked where it comes in.

A board is another machine: its runner may be of another version, its disk or its cable may be faulty, and
what answers there may be no runner at all. Whatever it says is held against these shapes before anything is
made of it; what an older runner leaves out gets its default.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Annotated, Any

import msgspec

from edgeprune.bench.local import Transport
from edgeprune.bench.process import OnEvent, ignore_event, one_line
from edgeprune.errors import BenchError

DAY_NS = 86_400 * 10**9
MOST_DEPTH = 40
MOST_TEXT = 2000

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=2**20)]
Time = Annotated[int, msgspec.Meta(gt=0, le=DAY_NS)]
Amount = Annotated[float, msgspec.Meta(ge=0)]
Words = list[str]


class Board(msgspec.Struct):
    """What the machine says that it is."""

    model: str | None = None
    compatible: Words = []
    soc: str | None = None
    l4t: str | None = None
    jetpack: str | None = None
    android: bool = False
    gpus: list[dict[str, Any]] = []


class CpuClock(msgspec.Struct):
    """One core's clock."""

    cpu: Count = 0
    governor: str | None = None
    min_khz: Count | None = None
    cur_khz: Count | None = None
    max_khz: Count | None = None


class Cpu(msgspec.Struct):
    """All cores' clocks."""

    online: str | None = None
    clocks: list[CpuClock] = []


class Gpu(msgspec.Struct):
    """A Jetson's GPU's clock."""

    name: str | None = None
    governor: str | None = None
    min_hz: Count | None = None
    cur_hz: Count | None = None
    max_hz: Count | None = None
    load_percent: float | None = None


class PowerMode(msgspec.Struct):
    """A Jetson's."""

    name: str | None = None
    id: int | None = None
    modes: dict[str, str] = {}
    reason: str | None = None


class Cooling(msgspec.Struct):
    """A fan, or a clock that is held down."""

    type: str
    cur: int | None = None
    max: int | None = None


class Card(msgspec.Struct):
    """A graphics card."""

    name: str | None = None
    slowed_by: Words | None = None


class State(msgspec.Struct):
    """What the machine is doing at one moment."""

    monotonic_s: float = 0.0
    cpu: Cpu = msgspec.field(default_factory=Cpu)
    gpu: Gpu | None = None
    memory_hz: Count | None = None
    power_mode: PowerMode = msgspec.field(default_factory=PowerMode)
    temperatures_c: dict[str, float] = {}
    passive_trips_c: dict[str, float] = {}
    cooling: list[Cooling] = []
    over_current: dict[str, int] = {}
    alarms: Words = []
    swap_used_bytes: Count | None = None
    pi_throttled: Count | None = None
    nvidia: list[Card] = []


class Probe(msgspec.Struct):
    """The answer to ``probe``."""

    cores_physical: Positive
    board: Board = msgspec.field(default_factory=Board)
    runtimes: dict[str, str | None] = {}
    cpu_model: str | None = None
    cores_online: Positive | None = None
    governors: Words | None = None
    load_average: Annotated[list[Amount], msgspec.Meta(min_length=1)] | None = None
    busy_cores: Amount | None = None
    state: State = msgspec.field(default_factory=State)


class Energy(msgspec.Struct):
    """Of one window."""

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


class Watched(msgspec.Struct):
    """What was seen inside the window."""

    gpu_hz: list[Count] = []
    warmest_c: dict[str, float] = {}
    period_s: Amount = 1.0


class Pauses(msgspec.Struct):
    """What interrupted the window."""

    count: Count = 0
    seconds: Amount = 0.0
    longest_s: Amount = 0.0
    suspended_s: Amount = 0.0


class Warned(msgspec.Struct):
    """One warning."""

    code: str
    message: str


class Measured(msgspec.Struct):
    """The answer to ``measure``."""

    samples_ns: Annotated[list[Time], msgspec.Meta(min_length=1)]
    versions: dict[str, str | None] = {}
    load_ns: Count = 0
    feed: dict[str, list[Count]] = {}
    warm_up: dict[str, int | float] | None = None
    window_s: Amount | None = None
    window_runs: Count | None = None
    pauses: Pauses | None = None
    gpu_ns: list[Count] | None = None
    enqueue_ns: list[Count] | None = None
    engine_warnings: list[Warned] = []
    memory_peak_bytes: Count | None = None
    memory_reason: str | None = None
    device_memory: dict[str, Any] | None = None
    energy: Energy = msgspec.field(default_factory=Energy)
    uses_gpu: bool = False
    before: State = msgspec.field(default_factory=State)
    watched: Watched = msgspec.field(default_factory=Watched)
    after: State = msgspec.field(default_factory=State)


class Layer(msgspec.Struct):
    """One layer's time; None where the runtime did not tell."""

    name: str
    kind: str | None = None
    onnx: Words = []
    ms: Amount | None = None
    outputs: list[list[int]] = []
    formats: Words = []
    reformat: bool = False


class Layers(msgspec.Struct):
    """The answer to ``layers``."""

    layers: Annotated[list[Layer], msgspec.Meta(min_length=1)]


class Scored(msgspec.Struct):
    """The answer to ``accuracy``."""

    correct: Count
    count: Positive
    not_finite: Count = 0

    def __post_init__(self) -> None:
        if max(self.correct, self.not_finite) > self.count:
            raise ValueError(f"{self.correct} correct of {self.count} images")


class Sensor(msgspec.Struct):
    """One of the answers to ``sensors``."""

    sensor: str
    answers: bool = False
    reason: str | None = None
    unit: str = "watts"
    rails: dict[str, float | None] = {}


SHAPES: dict[str, Any] = {
    "probe": Probe,
    "measure": Measured,
    "layers": Layers,
    "accuracy": Scored,
    "sensors": list[Sensor],
    "build": dict[str, Any],
}


def call(transport: Transport, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
    """Ask the runner, and check its answer.

    Args:
        transport: to the runner.
        verb: of its command line.
        arguments: after the verb.
        on_event: told of progress.

    Returns:
        The answer, with defaults for what an older runner leaves out.

    Raises:
        BenchError: it gave none, or one that cannot be.
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
            f"the runner's answer to {verb!r} cannot be: {one_line(str(error), 200)}; is it the runner of "
            "this edgeprune, and are the device's memory and its connection sound?"
        ) from error
    return merged(answer, msgspec.to_builtins(shape))


def cleaned(value: Any, place: str = "$", depth: int = 0) -> Any:
    """Return an answer whose texts are single lines that a terminal shows as they are.

    Args:
        value: of JSON.
        place: where it stands, for the message.
        depth: how deep that is.

    Raises:
        ValueError: a number anywhere in it is not finite or has more than 64 bits, or it is nested too
            deeply.
    """
    if depth > MOST_DEPTH:
        raise ValueError(f"it is nested too deeply at {place[:60]}")
    if isinstance(value, str):
        return one_line(value, MOST_TEXT)
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
    """Return an answer with the defaults of what it leaves out, and with all else that it says.

    Args:
        answer: as it came.
        known: what of it has a shape.
    """
    if isinstance(answer, Mapping) and isinstance(known, Mapping):
        return {**answer, **{key: merged(answer.get(key), value) for key, value in known.items()}}
    if isinstance(answer, list) and isinstance(known, list) and answer and isinstance(answer[0], Mapping):
        return [merged(one, other) for one, other in zip(answer, known, strict=True)]
    return known
