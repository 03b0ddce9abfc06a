"""The record of a smaller model's time and energy beside the baseline's."""

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET, UnsetType

from edgeprune.records.base import Record
from edgeprune.records.fields import Above0, Name, Positive


class PlanEnergy(Record, frozen=True, kw_only=True):
    """Energies of an inference, the idle power included, of the rounds in which the times were measured.

    Attributes:
        baseline_mj: of the baseline.
        pruned_mj: of the pruned model.
        ratio: of the first to the second, with the ends of its interval.
    """

    baseline_mj: Above0
    pruned_mj: Above0
    ratio: tuple[Above0, Above0, Above0]


class DeviceTimes(Record, frozen=True, kw_only=True):
    """A plan's model, measured end to end beside the baseline on one device.

    Attributes:
        baseline_ms: a percentile of the samples.
        pruned_ms: likewise.
        speedup: with the ends of its interval.
        percentile: 50, or 10 where something disturbed the medians.
        energy: of both; unset where it was no target.
    """

    baseline_ms: Above0
    pruned_ms: Above0
    speedup: tuple[Above0, Above0, Above0]
    percentile: Positive = 50
    energy: PlanEnergy | UnsetType = UNSET


class BoardTimes(DeviceTimes, frozen=True, kw_only=True):
    """The times of a plan on one of several boards.

    Attributes:
        host: by which it is reached.
        conditions: of the measurement: device, processor, runtime with its version, precision, batch, threads.
    """

    host: Name
    conditions: Mapping[str, Any]


class PlanTimes(DeviceTimes, frozen=True, kw_only=True):
    """A plan's model, measured end to end beside the baseline; of several boards, on the one that is the worst off.

    Attributes:
        boards: what was measured on each of them; unset where there is one device.
    """

    boards: tuple[BoardTimes, ...] | UnsetType = UNSET
