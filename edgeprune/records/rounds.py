"""Schema of one round of a measurement, in the runner's reply and in the journal."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgeprune.records.bench import Samples, WarningRecord
from edgeprune.records.fields import Above0, Amount, Count, Positive

Clock = dict[str, int | float | str | None]


class EnergyRecord(Struct):
    """Energy by the power sensors during a round."""

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


class PowerModeRecord(Struct):
    """The power mode of a board."""

    name: str | None
    modes: dict[str, str]


class CoolingRecord(Struct):
    """A cooling device."""

    type: str
    cur: int | None
    max: int | None


class CardRecord(Struct):
    """A graphics card."""

    name: str
    slowed_by: list[str]


class StateRecord(Struct):
    """The machine at one moment."""

    monotonic_s: float
    cpu: Processors
    gpu: Clock | None
    power_mode: PowerModeRecord
    temperatures_c: dict[str, float]
    passive_trips_c: dict[str, float]
    cooling: list[CoolingRecord]
    over_current: dict[str, int]
    alarms: list[str]
    swap_used_bytes: int | None
    pi_throttled: int | None
    nvidia: list[CardRecord]


class WatchedRecord(Struct):
    """Extremes observed while a round ran."""

    gpu_hz: list[float]
    warmest_c: dict[str, float]
    period_s: Amount


class WarmUp(Struct):
    """The runs before the timed ones."""

    runs: Count
    seconds: Amount


class SummaryRecord(Struct):
    """What the one value of a round stands for."""

    runs: Positive
    value: Literal["median", "mean"]
    mean_ns: Above0
    reason: str


class Round(Struct):
    """One round of one model."""

    samples_ns: Samples
    load_ns: Count | None
    versions: dict[str, Any]
    feed: dict[str, Any]
    warm_up: WarmUp | None
    memory_peak_bytes: Amount | None
    memory_reason: str | None
    energy: EnergyRecord
    uses_gpu: bool
    before: StateRecord
    watched: WatchedRecord
    after: StateRecord
    first_ns: Count | None = None
    memory_loaded_bytes: Amount | None = None
    window_runs: Positive | None = None
    summary: SummaryRecord | None = None
    gpu_ns: list[Amount] | None = None
    enqueue_ns: list[Amount] | None = None
    engine_warnings: list[WarningRecord] = []
    stretch: Annotated[int, Meta(ge=0, le=10**6)] = 0


class PairLine(Struct):
    """A line of a journal after its first: two consecutive rounds, one of each model, or one of a model alone."""

    pair: dict[Literal["baseline", "pruned", "model"], Round]

    def __post_init__(self) -> None:
        if set(self.pair) not in ({"baseline", "pruned"}, {"model"}):
            raise ValueError("a pair has a round of the baseline and one of the pruned model")


class FirstLine(Struct):
    """The first line of a journal: the models and settings of the measurement."""

    about: dict[str, Any]
