"""max_drop.json: networks of several sizes, pruned from one baseline, and the one that was chosen."""

from typing import ClassVar

from msgspec import UNSET, UnsetType

from edgeprune.errors import EdgePruneError, RunError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.fields import Amount, Name, Positive
from edgeprune.records.metrics import PairedDrop, StoredMetric


class DropPoint(Record, frozen=True, kw_only=True):
    """A network that was pruned.

    Attributes:
        run: its folder, of a run or a search, below that of the whole.
        target: that it was pruned to, such as ``flops=0.5``.
        got_fraction: of the target's resource that remains; a measured one of a latency.
        flops_fraction: that remains.
        params_fraction: that remains.
        baseline: the metric of the unpruned network on the held-out images.
        pruned: the metric of this one.
        drop: between them; None where there are too few images for an interval.
        within: whether it keeps to the limit.
        tested: the drop on the test images, which choose nothing; unset of a run, whose summary has it.
    """

    run: Name
    target: Name
    got_fraction: Amount | None
    flops_fraction: Amount
    params_fraction: Amount
    baseline: float
    pruned: float
    drop: PairedDrop | None
    within: bool
    tested: PairedDrop | UnsetType | None = UNSET


class MaxDropRecord(FileRecord, frozen=True, kw_only=True):
    """max_drop.json.

    Attributes:
        metric: by which networks are compared.
        max_drop: the limit, in the metric's unit of display, such as points.
        drop_by: what is held against the limit: "interval" for its upper end, "estimate" for the drop itself.
        split: where the networks are compared: "val", or "test" for every second test image, where weights that were
            trained elsewhere may know the held-out training images.
        images: number of images on which they are compared.
        points: in the order in which they were tried.
        too_small: shares that no network reaches.
        chosen: the folder of the one that was chosen; None where none keeps to the limit.
        confirmed: its drop on test images that did not choose it; None where there are too few.
        notes: what limits the choice.
    """

    metric: StoredMetric
    max_drop: float
    drop_by: Name
    split: Name
    images: Positive
    points: tuple[DropPoint, ...] = ()
    too_small: tuple[float, ...] = ()
    chosen: Name | None = None
    confirmed: PairedDrop | None = None
    notes: tuple[str, ...] = ()

    WHERE: ClassVar[str] = "max_drop.json"
    ERROR: ClassVar[type[EdgePruneError]] = RunError

    @property
    def resource(self) -> str:
        """The name of the resource that the networks were pruned for; empty without networks."""
        return self.points[0].target.partition("=")[0] if self.points else ""

    def verdict(self, point: DropPoint) -> str:
        """Return "chosen" of the network that was chosen, else whether one is "within" the limit or "beyond" it."""
        return "chosen" if point.run == self.chosen else "within" if point.within else "beyond"
