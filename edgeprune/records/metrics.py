"""A metric as it is written beside what is measured by it."""

from edgeprune.records.base import Record
from edgeprune.records.fields import Above0, Name


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
