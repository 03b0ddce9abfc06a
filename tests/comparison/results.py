"""Results of comparisons, made up by hand."""

from collections.abc import Sequence
from typing import Any

from msgspec import structs

from edgeprune.comparison.spread import mean_and_spread
from edgeprune.records.comparison import BaselineResult, ComparisonResult, MethodResult, RowResult

BASELINE = BaselineResult(
    metric="accuracy", score=0.95, score_reason=None, seconds=700.0, seconds_reason=None
)


def method_of(
    label: str, scores: Sequence[float | None], metric: str = "accuracy", **changes: Any
) -> MethodResult:
    """Return a method with these scores, half of each before fine-tuning, at half of the FLOPs."""
    ones = [1.0] * len(scores)
    method = MethodResult(
        metric=metric,
        label=label,
        method=label,
        moment=None,
        done=len(scores),
        reasons=(),
        score_before=mean_and_spread([None if score is None else score / 2 for score in scores]),
        score=mean_and_spread(scores),
        params_fraction=mean_and_spread([0.43 * item for item in ones]),
        flops_fraction=mean_and_spread([0.5 * item for item in ones]),
        seconds=mean_and_spread([61 * item for item in ones]),
        latency_ms=mean_and_spread([None]),
        speedup=mean_and_spread([None]),
    )
    return structs.replace(method, **changes)


def row_of(method: str, **changes: Any) -> RowResult:
    """Return a finished row."""
    row = RowResult(
        metric="accuracy", row=f"{method}-seed0", method=method, moment=None, seed=0, status="done", score=0.9,
        seconds=60.0, seconds_reason=None,
    )  # fmt: skip
    return structs.replace(row, **changes)


def result_of(methods: Sequence[MethodResult], **changes: Any) -> ComparisonResult:
    """Return a result with these methods, over two seeds."""
    result = ComparisonResult(
        complete=True,
        source="resnet8",
        target="flops=0.5",
        seeds=2,
        moments=(),
        settings={"model": "resnet8", "data": "digits"},
        versions={},
        machine={},
        baseline=BASELINE,
        methods=tuple(methods),
        rows=(),
        plot=None,
        plot_reason=None,
    )
    return structs.replace(result, **changes)
