"""Schema of one round of a measurement, as the runner answers it and the journal keeps it."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from edgeprune.records.bench import Samples, Warned
from edgeprune.records.fields import Amount, Count, Positive

Clock = dict[str, int | float | str | None]


class Energy(Struct):
    """What the power sensors said during a round."""

    sensor: str
    unit: str
    total_kind: str
    total_rails: list[str]
    gross_j: float | None
    net_j: float | None
    idle_w: float | None
    window_s: Amount
    samples: Count
    rails_j: dict[str, float]
    failed_reads: Count
    longest_gap_s: Amount | None
    reason: str | None


class Processors(Struct):
    """Clocks of the processors."""

    clocks: list[Clock]


class PowerMode(Struct):
    """The power mode of a board."""

    name: str | None
    modes: dict[str, str]


class Cooling(Struct):
    """A cooling device."""

    type: str
    cur: int | None
    max: int | None


class Card(Struct):
    """A graphics card."""

    name: str
    slowed_by: list[str]


class State(Struct):
    """The machine at one moment."""

    monotonic_s: float
    cpu: Processors
    gpu: Clock | None
    power_mode: PowerMode
    temperatures_c: dict[str, float]
    passive_trips_c: dict[str, float]
    cooling: list[Cooling]
    over_current: dict[str, int]
    alarms: list[str]
    swap_used_bytes: int | None
    pi_throttled: int | None
    nvidia: list[Card]


class Watched(Struct):
    """What was seen while a round ran."""

    gpu_hz: list[float]
    warmest_c: dict[str, float]
    period_s: Amount


class WarmUp(Struct):
    """What ran before the timed stretch."""

    runs: Count
    seconds: Amount


class Round(Struct):
    """One round of one model."""

    samples_ns: Samples
    load_ns: Count
    versions: dict[str, Any]
    feed: dict[str, Any]
    warm_up: WarmUp | None
    memory_peak_bytes: Amount | None
    memory_reason: str | None
    energy: Energy
    uses_gpu: bool
    before: State
    watched: Watched
    after: State
    window_runs: Positive | None = None
    gpu_ns: list[Amount] | None = None
    enqueue_ns: list[Amount] | None = None
    engine_warnings: list[Warned] = []
    stretch: Annotated[int, Meta(ge=0, le=10**6)] = 0


class Pair(Struct):
    """Two rounds that followed each other."""

    baseline: Round
    pruned: Round


class PairLine(Struct):
    """A line of a journal after its first."""

    pair: Pair


class FirstLine(Struct):
    """The first line of a journal: what is measured."""

    about: dict[str, Any]
