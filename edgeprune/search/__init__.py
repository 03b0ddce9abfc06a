"""Automatic search of keep ratios: Bayesian optimisation with clustering and rollback.

Source: H. Fan et al., Bayesian Optimization with Clustering and Rollback for CNN Auto Pruning, ECCV 2022.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeprune.search.folder import latest_search
    from edgeprune.search.options import SearchOptions, check_effect_of
    from edgeprune.search.result import search_remarks, search_table
    from edgeprune.search.searching import check_same_search, search

__all__ = [
    "SearchOptions", "check_effect_of", "check_same_search", "latest_search", "search", "search_remarks",
    "search_table",
]  # fmt: skip

_MODULES = {
    "folder": ("latest_search",),
    "options": ("SearchOptions", "check_effect_of"),
    "result": ("search_remarks", "search_table"),
    "searching": ("check_same_search", "search"),
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first used: the options alone need no torch."""
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
