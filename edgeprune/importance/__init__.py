"""Criteria: each scores every class of coupled channels; higher means more important.

A criterion is a function ``(graph, *, batches=..., loss=..., **options) -> (classes,) float64``. One that needs no data
does not take ``batches``; one that needs neither gradients nor labels does not take ``loss``. `CRITERIA` holds all;
`register` adds one, as does an entry point of the group ``edgeprune.criteria``.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import PlanError, known
from edgeprune.graph.arguments import check_graph, kind_of
from edgeprune.graph.classes import Graph
from edgeprune.importance.activations import chip, fma, hrank
from edgeprune.importance.batches import Batches
from edgeprune.importance.correlation import cop
from edgeprune.importance.dependencies import lindeps
from edgeprune.importance.geometry import fpgm, whc
from edgeprune.importance.gradients import taylor
from edgeprune.importance.magnitude import l1, l2, random_scores, ssl
from edgeprune.importance.options import function as as_function
from edgeprune.importance.propagation import nisp
from edgeprune.importance.reconstruction import lasso, thinet
from edgeprune.importance.scales import bn_scale
from edgeprune.importance.similarity import similarity
from edgeprune.registry import Registry

__all__ = ["CRITERIA", "Batches", "Criterion", "accepts", "needs_batches", "needs_loss", "register", "score"]

Criterion = Callable[..., NDArray[np.float64]]

CRITERIA: Registry[Criterion] = Registry("criterion", "edgeprune.criteria", PlanError)
# Methods whose scores come from their own training, so that a network alone does not have them.
TRAINED = {"sss": "the factors its training leaves", "learned": "the masks its training leaves"}


def register(name: str, criterion: Criterion, *, replace: bool = False) -> Criterion:
    """Add a criterion, which is then a method of `train-prune` too, and return it.

    Args:
        name: name of the criterion.
        criterion: a function (graph, *, batches=..., **options) -> (classes,) scores.
        replace: allow it to replace a criterion of the same name.

    Raises:
        PlanError: it is not a function of a graph, or the name is taken.
    """
    if not inspect.signature(as_function("criterion", criterion)).parameters:
        raise PlanError(f"the criterion {name} takes no graph: write it as a function graph -> scores")
    return CRITERIA.register(name, criterion, replace=replace)


_BUILT_IN: dict[str, Criterion] = {
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
    "lindeps": lindeps,
    "nisp": nisp,
    "random": random_scores,
}
for _name, _criterion in _BUILT_IN.items():
    register(_name, _criterion)


def accepts(criterion: str | Criterion, option: str) -> bool:
    """Return whether a criterion takes an option of that name; raises PlanError for an unknown criterion."""
    return option in inspect.signature(_named(criterion)).parameters


def needs_batches(criterion: str | Criterion) -> bool:
    """Return whether a criterion needs data; raises PlanError for an unknown name."""
    return accepts(criterion, "batches")


def needs_loss(criterion: str | Criterion) -> bool:
    """Return whether a criterion needs labels and gradients of a loss; raises PlanError for an unknown name."""
    return accepts(criterion, "loss")


def score(
    graph: Graph, criterion: str | Criterion, *, batches: Batches | None = None, **options: Any
) -> NDArray[np.float64]:
    """Score all classes by a criterion, given by name or as a function of the same signature.

    Args:
        graph: the traced model; it is not changed.
        criterion: a name in `CRITERIA`, or a function graph -> scores.
        batches: an iterable of (x, y), or a function that returns one, for a criterion that needs data.
        options: options of the criterion; see its docstring.

    Returns:
        (classes,) float64, higher for more important classes.

    Raises:
        PlanError: unknown criterion or option; no data for a criterion that needs it; scores of the wrong
            shape, or not finite.
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
    if criterion in TRAINED and criterion not in CRITERIA:
        raise PlanError(
            f"{criterion} scores channels by {TRAINED[criterion]}: use edgeprune.Pruner with method={criterion!r} in "
            f"your own loop, or edgeprune train-prune --method {criterion}"
        )
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
