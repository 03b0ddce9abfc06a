"""sensitivity.json: what the removal of channels costs, group by group."""

from collections.abc import Mapping
from pathlib import Path

from edgeprune.errors import EdgePruneError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.fields import Count, Name, Positive, Share
from edgeprune.records.metrics import StoredMetric


class SensitiveGroup(Record, frozen=True):
    """Channels that are pruned together.

    Attributes:
        name: of their first group.
        classes: decisions in it.
        flops_share: of the network's FLOPs that go with all of them; a layer between two groups counts in both.
    """

    name: Name
    classes: Positive
    flops_share: float


class SensitivityPoint(Record, frozen=True):
    """The network without a share of one group.

    Attributes:
        group: its name.
        share: of its channels that was to be removed.
        removed: decisions that were removed.
        value: of the metric.
        flops_fraction: of the FLOPs that remain.
        params_fraction: of the parameters that remain.
    """

    group: Name
    share: Share
    removed: Count
    value: float
    flops_fraction: Share
    params_fraction: Share


class SensitivityRecord(FileRecord, frozen=True):
    """What was measured so far.

    Attributes:
        model: as it was named.
        conditions: what the points depend on: weights, images, criterion; points of other conditions are not kept.
        split: of the data, "val" or "test".
        images: number of images.
        metric: by which networks are compared.
        baseline: the unpruned network's value.
        groups: along the network.
        shares: that are removed, ascending.
        points: in the order in which they were measured.
        complete: whether all points are there.
    """

    model: Name
    conditions: Mapping[str, str]
    split: Name
    images: Positive
    metric: StoredMetric
    baseline: float
    groups: tuple[SensitiveGroup, ...]
    shares: tuple[Share, ...]
    points: tuple[SensitivityPoint, ...] = ()
    complete: bool = False

    def check_consistency(self, where: Path | str, *, error: type[EdgePruneError], hint: str) -> None:
        """Raise ``error`` if a point is of no group.

        Args:
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        names = {group.name for group in self.groups}
        for point in self.points:
            if point.group not in names:
                raise error(f"{where}: a point is of {point.group!r}, which is none of its groups: {hint}")
