"""Data sets to batches: digits, CIFAR, or any folder of images; deterministic and resumable."""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.data.bundle import Batch, DataBundle, Split
    from edgeprune.data.known import check_data, data_names
    from edgeprune.data.opening import OtherKind, load_data, load_from_spec

__all__ = [
    "Batch", "DataBundle", "OtherKind", "Split", "check_data", "data_names", "load_data", "load_from_spec",
]  # fmt: skip

__getattr__ = import_on_first_use(
    __name__,
    {
        "bundle": ("Batch", "DataBundle", "Split"),
        "known": ("check_data", "data_names"),
        "opening": ("OtherKind", "load_data", "load_from_spec"),
    },
)
