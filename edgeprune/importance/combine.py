"""Combine the scores of single layers' channels into one score for each class, for every criterion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeprune.errors import PlanError, known
from edgeprune.graph.classes import Bools, Graph, Ints

Scores = NDArray[np.float64]

# Over the channels of all coupled layers that belong to one class.
REDUCTIONS: dict[str, tuple[np.ufunc, float]] = {
    "mean": (np.add, 0.0),
    "sum": (np.add, 0.0),
    "max": (np.maximum, -np.inf),
    "product": (np.multiply, 1.0),
}
# Divisors of each layer's scores, which make layers comparable.
NORMALISERS: dict[str, Callable[[Scores], float]] = {
    "mean": lambda values: float(np.abs(values).mean()),
    "max": lambda values: float(np.abs(values).max()),
    "sum": lambda values: float(np.abs(values).sum()),
    "l2": lambda values: float(np.linalg.norm(values)),
    "none": lambda values: 1.0,  # noqa: ARG005
}


@dataclass(frozen=True)
class LayerScores:
    """Scores of one layer's channels: ``values[i]`` is for class ``classes[i]``, -1 if protected."""

    layer: str
    values: Scores
    classes: Ints


def combine(
    graph: Graph,
    layers: Sequence[LayerScores],
    *,
    reduction: str = "mean",
    normalise: str = "mean",
    instead: Sequence[LayerScores] = (),
) -> Scores:
    """Combine the scores of single layers' channels into one score for each class.

    Args:
        graph: the traced model.
        layers: scores of single layers' channels.
        reduction: over the coupled channels of a class: mean, sum, max or product.
        normalise: divide each layer by the mean, max, sum or l2 norm of its absolute scores, or by nothing.
        instead: scores for the classes that ``layers`` does not score. A class that neither scores gets the
            best score plus one, so that it is pruned last.

    Returns:
        (classes,) float64.

    Raises:
        PlanError: unknown reduction or normaliser; a score that is not finite (names the layer).
    """
    check_combining(reduction, normalise)
    scores, seen = _reduced(graph, layers, reduction, normalise)
    if instead and not seen.all():
        others, also = _reduced(graph, instead, reduction, normalise)
        scores, seen = np.where(seen, scores, others), seen | also
    return np.where(seen, scores, scores[seen].max(initial=0.0) + 1)


def check_combining(reduction: str, normalise: str) -> None:
    """Raise PlanError for an unknown reduction or normaliser."""
    if reduction not in REDUCTIONS:
        raise PlanError(known("reduction", str(reduction), list(REDUCTIONS)))
    if normalise not in NORMALISERS:
        raise PlanError(known("normaliser", str(normalise), list(NORMALISERS)))


def _reduced(
    graph: Graph, layers: Sequence[LayerScores], reduction: str, normalise: str
) -> tuple[Scores, Bools]:
    join, start = REDUCTIONS[reduction]
    total, count = np.full(graph.classes, start), np.zeros(graph.classes)
    for layer in layers:
        inside = layer.classes >= 0
        if inside.any():
            join.at(total, layer.classes[inside], _normalised(layer, normalise)[inside])
            np.add.at(count, layer.classes[inside], 1)
    seen = count > 0
    if reduction == "mean":
        total = total / np.maximum(count, 1)
    return np.where(seen, total, 0.0), seen


def _normalised(layer: LayerScores, normalise: str) -> Scores:
    bad = np.flatnonzero(~np.isfinite(layer.values))
    if len(bad):
        raise PlanError(
            f"the score of channel {bad[0]} of {layer.layer} is {layer.values[bad[0]]:g}, not a finite "
            "number: look for such values in its weights, or in the batches"
        )
    return layer.values / divisor(layer.values, normalise)


def divisor(values: Scores, normalise: str) -> float:
    """Return the divisor of a layer's scores; never 0."""
    return max(NORMALISERS[normalise](values), 1e-300) if len(values) else 1.0


def reduced(values: Scores, reduction: str) -> float:
    """Reduce the scores of a class's channels to one score."""
    total = float(REDUCTIONS[reduction][0].reduce(values))
    return total / len(values) if reduction == "mean" else total
