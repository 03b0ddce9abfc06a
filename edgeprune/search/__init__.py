"""Automatic search of keep ratios: Bayesian optimisation with clustering and rollback.

Source: H. Fan et al., Bayesian Optimization with Clustering and Rollback for CNN Auto Pruning, ECCV 2022.
"""

from edgeprune.search.folder import latest_search
from edgeprune.search.options import SearchOptions, check_effect_of
from edgeprune.search.result import remarks, table
from edgeprune.search.searching import check_same_options, search

__all__ = [
    "SearchOptions", "check_effect_of", "check_same_options", "latest_search", "remarks", "search", "table",
]  # fmt: skip
