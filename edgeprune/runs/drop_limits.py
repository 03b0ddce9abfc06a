"""A limit of what a metric may lose: the share to try next, whether a network keeps to it, and which one is chosen."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from edgeprune.budget import Target
from edgeprune.errors import TargetError
from edgeprune.records.max_drop import DropPoint, MaxDropRecord
from edgeprune.records.metrics import PairedDrop
from edgeprune.tasks import Metric, metric_of
from edgeprune.tasks.paired import half_width_expected

STRIDE = 1.6  # between shares while all networks so far keep to the limit
CLOSE = 1.04  # ratio of a share that keeps to it and one that does not, from which on no further one is tried


def next_share(tried: Mapping[float, bool], first: float) -> float | None:
    """Return the share to be tried next; None where the last two are close enough.

    Args:
        tried: whether the network keeps to the limit, by the share that it was pruned to.
        first: share of the first network.
    """
    if not tried:
        return first
    smallest = min((share for share, within in tried.items() if within), default=1.0)
    largest_below = max(
        (share for share, within in tried.items() if not within and share < smallest), default=None
    )
    if largest_below is None:
        return round(smallest / STRIDE, 3)
    if smallest / largest_below < CLOSE:
        return None
    return round(math.sqrt(smallest * largest_below), 3)


def next_target(record: MaxDropRecord, first: Target, points: int) -> Target | None:
    """Return the target to be tried next; None when there are enough networks, or the last two are close enough.

    Args:
        record: of those that were tried.
        first: target of the first network, a share.
        points: number of networks that may be tried.
    """
    if len(record.points) >= points:
        return None
    tried = {_share(point.target): point.within for point in record.points}
    share = next_share({**tried, **dict.fromkeys(record.too_small, False)}, first.fraction or 0.5)
    return None if share is None else Target(first.kind, share, sustained=first.sustained)


def judged_by(drop_by: str | None, max_drop: float, images: int, metric: Metric) -> str:
    """Return what is held against the limit: the interval, unless these images can hardly ever prove so little.

    Args:
        drop_by: what was asked for; None for what suits.
        max_drop: the limit, in the metric's unit of display.
        images: held out.
        metric: of the task.
    """
    if drop_by is not None:
        return drop_by
    limit = max_drop / metric.scale
    return "interval" if metric.unit != "%" or half_width_expected(images) < limit else "estimate"


def empty_record(
    metric: Metric,
    max_drop: float,
    drop_by: str | None,
    *,
    split: str,
    images: int,
    notes: Sequence[str] = (),
) -> MaxDropRecord:
    """Return the record before any network was tried.

    Args:
        metric: of the task.
        max_drop: the limit, in the metric's unit of display.
        drop_by: see `judged_by`.
        split: of the images on which networks are compared.
        images: number of these.
        notes: what limits the choice.
    """
    by = judged_by(drop_by, max_drop, images, metric)
    record = MaxDropRecord(
        metric=metric.record(), max_drop=max_drop, drop_by=by, split=split, images=images, notes=tuple(notes)
    )
    if by == "interval":
        return record
    doubt = (
        f"{images} images cannot prove a drop of at most {limit_text(record)}: networks were judged by "
        "the drop itself, not by its interval"
    )
    return structs.replace(record, notes=(*notes, doubt))


def limit_text(record: MaxDropRecord) -> str:
    """Return the limit with its unit, as '1 points'."""
    return f"{record.max_drop:g} {metric_of(record).unit_of_changes}".rstrip()


def is_within(record: MaxDropRecord, before: float, after: float, drop: PairedDrop | None) -> bool:
    """Return whether a network keeps to the limit.

    Args:
        record: with the limit.
        before: the baseline's metric.
        after: the network's.
        drop: between them, with its interval; None where there are too few images.
    """
    metric = metric_of(record)
    limit = record.max_drop / metric.scale
    if record.drop_by == "interval":
        return drop is not None and drop.high <= limit
    # Shares of images are not exact: 0.9 - 0.89 is more than 0.01.
    return metric.worth(before) - metric.worth(after) <= limit + 1e-9


def smallest_within(record: MaxDropRecord, place: Path, *, advice: str) -> DropPoint:
    """Return the smallest network that keeps to the limit.

    Args:
        record: of all that were tried.
        place: the folder of the record, for the message.
        advice: what to do where there is none.

    Raises:
        TargetError: there is none; says which was nearest.
    """
    within = [point for point in record.points if point.within]
    if within:
        return min(within, key=lambda point: (_share(point.target), point.run))
    metric = metric_of(record)
    nearest = min(record.points, key=lambda point: metric.worth(point.baseline) - metric.worth(point.pruned))
    change = metric.change(nearest.baseline, nearest.pruned)
    raise TargetError(
        f"none of {len(record.points)} networks keeps within {limit_text(record)} on {record.images} "
        f"images; nearest is {place / nearest.run} ({nearest.target}: {change}{_doubt(nearest, metric)}): {advice}"
    )


def _doubt(point: DropPoint, metric: Metric) -> str:
    if point.drop is None:
        return ""
    drop = point.drop
    return f", drop of up to {metric.scale * drop.high:.2f} at {100 * drop.confidence:.0f} % confidence"


def _share(target: str) -> float:
    """Return the share of a point's target."""
    return Target.parse(target).fraction or 0.0
