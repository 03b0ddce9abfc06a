"""Criteria by the factor with which a normalisation scales each channel."""

import torch.fx as fx
from torch import Tensor

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph
from edgeprune.graph.ops import op_name
from edgeprune.importance.combine import LayerScores, Scores, combine


def bn_scale(graph: Graph, *, reduction: str = "mean", normalise: str = "none") -> Scores:
    """Combine |gamma| of every BatchNorm that a class passes. Needs no data.

    Source: Liu et al., Network Slimming, 2017: one threshold on |gamma| for the entire network, hence no
    normalisation between layers. The source first trains with an L1 penalty on gamma, which a criterion alone
    does not do. A class that no BatchNorm scales is pruned last.

    Args:
        graph: the traced model.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: the model has no BatchNorm with a scale.
    """
    tensors = dict(graph.model.named_parameters())
    names = dict.fromkeys(name for name in (_gamma(graph, node) for node in graph.nodes) if name)
    rows = [
        LayerScores(name.rsplit(".", 1)[0], _absolute(tensors[name]), graph.param_axes[name, 0])
        for name in names
        if (name, 0) in graph.param_axes
    ]
    if not rows:
        raise PlanError("criterion bn-scale needs BatchNorm layers with a scale; this model has none: try l1")
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def _absolute(gamma: Tensor) -> Scores:
    return gamma.detach().double().abs().cpu().numpy()


def _gamma(graph: Graph, node: fx.Node) -> str | None:
    """Return the name of the scale of a BatchNorm call."""
    if op_name(node) != "batch_norm":
        return None
    return graph.flow.names.read_by(node.args[3] if len(node.args) > 3 else node.kwargs.get("weight"))
