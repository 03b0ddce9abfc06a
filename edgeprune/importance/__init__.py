"""Criteria: each scores every class of coupled channels; higher means more worth keeping.

A criterion is a function ``(graph, **options) -> (classes,) float64``. The registry is a dict one can read.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import PlanError, known
from edgeprune.graph.classes import Graph
from edgeprune.importance.magnitude import l1, l2, random_scores

Criterion = Callable[..., NDArray[np.float64]]

CRITERIA: dict[str, Criterion] = {"l1": l1, "l2": l2, "random": random_scores}


def score(graph: Graph, criterion: str | Criterion, **options: Any) -> NDArray[np.float64]:
    """Scores of all classes by a criterion's name, or by a function of the same signature.

    Raises:
        PlanError: no such criterion, or scores of the wrong shape.
    """
    if isinstance(criterion, str):
        if criterion not in CRITERIA:
            raise PlanError(known("criterion", criterion, list(CRITERIA)))
        criterion = CRITERIA[criterion]
    scores = np.asarray(criterion(graph, **options), dtype=np.float64)
    if scores.shape != (graph.classes,):
        raise PlanError(f"the criterion gave scores of shape {scores.shape}; this model has {graph.classes} classes")
    return scores
