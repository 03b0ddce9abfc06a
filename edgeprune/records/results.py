"""Schemas of what a comparison and a search keep: the fields that a report reads."""

from typing import Any

from msgspec import Struct

from edgeprune.records.fields import Amount, Count, Name, Positive


class Average(Struct):
    """A number over the seeds of a method."""

    mean: float | None
    std: float | None
    values: list[float]


class MethodResult(Struct):
    """A method of a comparison."""

    label: str
    done: Count
    reasons: list[str]
    accuracy_before: Average
    accuracy: Average
    flops_fraction: Average
    speedup: Average


class RowResult(Struct):
    """A run of a comparison."""

    row: str
    status: str
    reason: str | None
    accuracy: float | None
    flops_fraction: Amount | None
    seconds: Amount | None


class BaselineResult(Struct):
    """The baseline of a comparison."""

    accuracy: float | None


class ComparisonResult(Struct):
    """result.json of `edgeprune compare`."""

    source: Name
    target: str | None
    baseline: BaselineResult
    methods: list[MethodResult]
    rows: list[RowResult]


class Rewarded(Struct):
    """What a search's network reached."""

    reward: float | None
    test: float | None


class Uniform(Rewarded):
    """The network of equal ratios."""

    fractions: dict[str, float]


class Trial(Struct):
    """A trial of a search."""

    number: Count
    reward: float | None
    widths: list[Positive]
    fractions: dict[str, float]


class SearchResult(Struct):
    """result.json of `edgeprune search`."""

    source: Name
    target: str
    groups: list[str]
    sizes: list[Positive]
    baseline: Rewarded
    uniform: Uniform | None
    best: Trial
    best_test: float | None
    trials: list[Trial]
    notes: list[str]
    next: str


def schema_of(result: Any) -> type[Struct]:
    """Return the schema that a result.json claims to have."""
    return SearchResult if isinstance(result, dict) and "trials" in result else ComparisonResult
