"""Checks of class scores."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import PlanError, one_line
from edgeprune.graph.classes import Graph


def checked_scores(graph: Graph, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores as float64; raises PlanError unless there is a number for each class."""
    scores = as_scores(scores)
    if scores.shape != (graph.classes,):
        raise PlanError(
            f"scores have shape {scores.shape}, this model needs ({graph.classes},): one for each class"
        )
    bad = np.flatnonzero(np.isnan(scores))
    if len(bad):
        group = graph.groups[graph.group_of[bad[0]]]
        raise PlanError(f"the score of a channel of {group.name} is not a number")
    return scores


def as_scores(scores: Any) -> NDArray[np.float64]:
    """Return an array or sequence of real numbers as float64; raises PlanError otherwise."""
    try:
        array = np.asarray(scores)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"an array of {array.dtype}")
        return array.astype(np.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise PlanError(f"scores are real numbers, one for each class ({one_line(error)})") from error
