"""One removal: score, select, refit the next layers, compact, and slice the optimizer's momentum."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.graph.classes import Graph
from edgeprune.graph.ordering import channel_orders
from edgeprune.graph.plan import Plan
from edgeprune.importance import Batches
from edgeprune.processes.distributed import world
from edgeprune.reconstruct import reconstruct
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.tensors import cut, kept_indices

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Removed:
    """The smaller model, the plan as carried out, and the optimizer's momentum cut with the channels."""

    model: nn.Module
    plan: Plan
    momentum: dict[str, Tensor]


def remove(
    graph: Graph,
    scores: Scores,
    budget: Budget,
    *,
    fit: str = "none",
    batches: Batches | None = None,
    momentum: Mapping[str, Tensor] | None = None,
) -> Removed:
    """Prune a model, which may have been pruned before, down to its budget.

    Args:
        graph: of the model as it is now; its weights may be refitted (``fit``).
        scores: (graph.classes,), higher is more important.
        budget: of the original; the final choice is made by `Budget.finalize`.
        fit: a name in `edgeprune.reconstruct.WAYS`; see `reconstruct`.
        batches: images to fit on.
        momentum: by parameter name; cut as the parameters are.

    Raises:
        TargetError: floors, alignment and protected channels do not allow it.
    """
    plan = budget.finalize(graph, scores) if budget.progress == 1 else budget.select(graph, scores)
    if fit != "none":
        reconstruct(graph, plan, batches, fit)
    done = compact(graph, plan)
    left = dict(done.model.named_parameters())
    cut_momentum = sliced(graph, done.plan, momentum or {})
    fitting = {n: m for n, m in cut_momentum.items() if n in left and m.shape == left[n].shape}
    return Removed(done.model, done.plan, fitting)


def cutter(graph: Graph, plan: Plan) -> Callable[[str, Tensor], Tensor]:
    """Return a function (name, tensor) that slices and reorders a tensor the way the parameter of that name is cut.

    Args:
        graph: of the model before.
        plan: carried out by `compact`.
    """
    indices: dict[str, dict[int, Any]] = {}
    if not plan.keep.all():
        indices = kept_indices(graph, plan.keep, channel_orders(graph, plan.keep))
    return lambda name, tensor: cut(tensor, indices.get(name, {})).clone()


def sliced(graph: Graph, plan: Plan, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Slice tensors shaped like the model's parameters the way those are cut.

    Args:
        graph: of the model before.
        plan: carried out by `compact`.
        tensors: by parameter name; not every parameter needs one.
    """
    cut_like = cutter(graph, plan)
    return {
        name: cut_like(name, tensors[name].to(parameter))
        for name, parameter in graph.model.named_parameters()
        if name in tensors
    }


def agreed(scores: Scores) -> Scores:
    """Return the main process's scores: those of others may be of other data."""
    if world().size == 1:
        return scores
    shared: Scores = world().broadcast(torch.from_numpy(np.asarray(scores, dtype=np.float64))).numpy()
    return shared


Scorer = Callable[[Graph], Scores]


def keep_all(graph: Graph) -> dict[str, Any]:
    """Return the plan that removes nothing, as JSON."""
    return Plan.everything(graph).to_dict(graph)
