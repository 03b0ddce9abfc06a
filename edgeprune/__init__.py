"""Prune CNNs while training them, export them, and measure on the device what was really gained.

Names are imported when first used, so that ``import edgeprune`` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.api import Pruner, compact, load, mask, prune, save, select, trace
    from edgeprune.errors import EdgePruneError
    from edgeprune.graph.ops import OpSpec, register_op, unregister_op
    from edgeprune.records.trust import trusting

__all__ = [
    "EdgePruneError", "OpSpec", "Pruner", "compact", "load", "mask", "prune", "register_op", "save", "select", "trace",
    "trusting", "unregister_op",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    import importlib

    if name == "__version__":
        from importlib.metadata import version

        return version("edgeprune")
    if name not in __all__:
        raise AttributeError(f"module 'edgeprune' has no attribute {name!r}; it has {', '.join(__all__)}")
    homes = {
        "EdgePruneError": "edgeprune.errors",
        "OpSpec": "edgeprune.graph.rules",  # which fills the table first
        "register_op": "edgeprune.graph.rules",
        "unregister_op": "edgeprune.graph.ops",
        "trusting": "edgeprune.records.trust",
    }
    return getattr(importlib.import_module(homes.get(name, "edgeprune.api")), name)


def __dir__() -> list[str]:
    """Return the public names, imported or not, for completion."""
    return sorted(__all__)
