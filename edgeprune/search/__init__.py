"""Automatic search of keep ratios: Bayesian optimisation with clustering and rollback.

Source: H. Fan et al., Bayesian Optimization with Clustering and Rollback for CNN Auto Pruning, ECCV 2022.
"""

from typing import TYPE_CHECKING

from edgeprune.registry import import_on_first_use

if TYPE_CHECKING:
    from edgeprune.search.checking import check_before_torch, check_same_search
    from edgeprune.search.folder import OPTIONS_FILE, latest_search
    from edgeprune.search.options import SearchOptions, check_effect_of
    from edgeprune.search.result import search_remarks, search_table
    from edgeprune.search.searching import search

__all__ = [
    "OPTIONS_FILE", "SearchOptions", "check_before_torch", "check_effect_of", "check_same_search", "latest_search",
    "search", "search_remarks", "search_table",
]  # fmt: skip

__getattr__ = import_on_first_use(
    __name__,
    {
        "checking": ("check_before_torch", "check_same_search"),
        "folder": ("OPTIONS_FILE", "latest_search"),
        "options": ("SearchOptions", "check_effect_of"),
        "result": ("search_remarks", "search_table"),
        "searching": ("search",),
    },
)
