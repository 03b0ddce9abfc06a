"""Criteria: each scores every class of coupled channels; higher means more worth keeping.

A criterion is a function ``(graph, *, batches=..., **options) -> (classes,) float64``; one that needs no data
does not take ``batches``. The registry is a dict one can read.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.arguments import check_graph, kind_of
from edgeprune.errors import PlanError, known
from edgeprune.graph.classes import Graph
from edgeprune.importance.activations import chip, fma, hrank
from edgeprune.importance.batches import Batches
from edgeprune.importance.correlation import cop
from edgeprune.importance.geometry import fpgm, whc
from edgeprune.importance.gradients import taylor
from edgeprune.importance.magnitude import l1, l2, random_scores, ssl
from edgeprune.importance.options import function as as_function
from edgeprune.importance.propagation import nisp
from edgeprune.importance.reconstruction import lasso, thinet
from edgeprune.importance.scales import bn_scale
from edgeprune.importance.similarity import similarity

__all__ = ["CRITERIA", "Batches", "Criterion", "needs_batches", "score"]

Criterion = Callable[..., NDArray[np.float64]]

CRITERIA: dict[str, Criterion] = {
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "cop": cop,
    "whc": whc,
    "similarity": similarity,
    "bn-scale": bn_scale,
    "ssl": ssl,
    "taylor": taylor,
    "hrank": hrank,
    "chip": chip,
    "fma": fma,
    "thinet": thinet,
    "lasso": lasso,
    "nisp": nisp,
    "random": random_scores,
}


def needs_batches(criterion: str | Criterion) -> bool:
    """Whether a criterion looks at data. Raises PlanError for an unknown name."""
    return "batches" in inspect.signature(_named(criterion)).parameters


def score(
    graph: Graph, criterion: str | Criterion, *, batches: Batches | None = None, **options: Any
) -> NDArray[np.float64]:
    """Scores of all classes by a criterion's name, or by a function of the same signature.

    Args:
        graph: the traced model; it is not changed.
        criterion: a name in `CRITERIA`, or a function graph -> scores.
        batches: an iterable of (x, y), or a function that gives one, for a criterion that looks at data.
        options: the criterion's own; see its docstring.

    Returns:
        (classes,) float64, higher for what is more worth keeping.

    Raises:
        PlanError: no such criterion or option; it needs data and there is none; scores of the wrong shape, or
            one that is not a finite number.
    """
    check_graph(graph)
    function = _named(criterion)
    name = criterion if isinstance(criterion, str) else getattr(criterion, "__name__", "own")
    parameters = inspect.signature(function).parameters
    _check_options(name, parameters, options)
    if "batches" in parameters:
        options["batches"] = batches
    if not parameters:
        raise PlanError(f"the criterion {name} takes no graph: write it as a function graph -> scores")
    scores = function(graph, **options)
    try:
        return _checked(graph, np.asarray(scores, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise PlanError(
            f"the criterion {name} gave {kind_of(scores)}, not {graph.classes} numbers"
        ) from error


def _named(criterion: str | Criterion) -> Criterion:
    if not isinstance(criterion, str):
        return as_function("criterion", criterion)
    if criterion == "sss":
        raise PlanError(
            "sss scores channels by the factors its training leaves: use edgeprune train-prune --method sss"
        )
    if criterion not in CRITERIA:
        raise PlanError(known("criterion", criterion, list(CRITERIA)))
    return CRITERIA[criterion]


def _check_options(name: str, parameters: Any, options: dict[str, Any]) -> None:
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    own = [p.name for p in list(parameters.values())[1:] if p.name != "batches"]
    for option in options:
        if option not in own:
            raise PlanError(
                known(f"option of {name}", option, own) if own else f"criterion {name} takes no options"
            )


def _checked(graph: Graph, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if scores.shape != (graph.classes,):
        raise PlanError(
            f"the criterion gave scores of shape {scores.shape}; this model has {graph.classes} classes"
        )
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        layer = graph.groups[graph.group_of[bad[0]]].name
        raise PlanError(
            f"the criterion's score of a channel of {layer} is {scores[bad[0]]:g}, not a finite number"
        )
    return scores
