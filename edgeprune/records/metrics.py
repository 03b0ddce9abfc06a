"""A metric as it is written beside what is measured by it."""

from edgeprune.records.base import Record
from edgeprune.records.fields import Above0, Name, Positive, Share


class StoredMetric(Record, frozen=True):
    """The metric by which models were compared.

    Attributes:
        name: its key in files.
        unit: in which it is displayed.
        scale: factor for display.
        higher_is_better: its direction.
    """

    name: Name
    unit: str
    scale: Above0
    higher_is_better: bool


class PairedDrop(Record, frozen=True, kw_only=True):
    """What a metric loses from one model to another on the same images; above 0 the second one is worse.

    Attributes:
        value: of all images, in the metric's unit before `scale`.
        low: lower end of the interval.
        high: upper end.
        confidence: of the interval.
        images: number of images.
        method: by which the interval was computed.
    """

    value: float
    low: float
    high: float
    confidence: Share
    images: Positive
    method: str
