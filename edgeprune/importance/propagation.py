"""NISP: importance of the last features, propagated backwards through the absolute weights."""

import copy
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Reader
from edgeprune.graph.ops import op_name
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.options import at_most_all, number
from edgeprune.importance.sites import Site, as_maps, first_argument, run, written_sites

_ARITHMETIC = {"add", "sub", "mul", "div"}
# These take their statistics from the data even in evaluation mode, where BatchNorm is a scale and a shift.
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm)
_NORM_OPS = {"group_norm", "layer_norm", "instance_norm"}


def nisp(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    mix: float = 0.5,
    reduction: str = "mean",
    normalise: str = "mean",
) -> Scores:
    """How much of the last features' importance reaches back to each channel. Needs images.

    s_last is `inf_fs` of the features that the last layer reads, s_k = |W_(k+1)|^T s_(k+1) before it. A
    BatchNorm passes |gamma| / sigma, an activation everything, a sum to each of its terms, a product of two
    feature maps to each factor; a channel's score is the sum over its positions.

    Source: Yu et al., NISP: Neuron Importance Score Propagation, 2018; formulas from memory. The propagation
    is the gradient of the same network with absolute weights and no activations.

    Args:
        graph: the traced model.
        batches: images; the more, the better the correlations between features.
        limit: at most this many batches.
        mix: see `inf_fs`.
        reduction: see `combine`.
        normalise: see `combine`.

    Raises:
        PlanError: no batches.
    """
    check_combining(reduction, normalise)
    mix = number("mix", mix, 0, 1)
    seeds = {
        reader.node: torch.from_numpy(inf_fs(features, mix))
        for reader, features in _last_features(graph, batches, at_most_all("limit", limit))
    }
    rows = _propagate(graph, seeds, written_sites(graph, "output"))
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def inf_fs(features: NDArray[np.float64], mix: float = 0.5) -> Scores:
    """Infinite feature selection (Roffo et al., 2015): features that vary, and repeat no other, score high.

    A[i, j] = mix * max(sigma_i, sigma_j) + (1 - mix) (1 - |Spearman correlation|), with sigma the standard
    deviation divided by the largest; the score is the row sum of (I - r A)^-1 - I, r = 0.9 / spectral radius.

    Args:
        features: (images, features).
        mix: between variation (1) and independence (0).

    Returns:
        (features,) float64.
    """
    from scipy.stats import rankdata

    if not np.isfinite(features).all():
        return np.where(np.isfinite(features).all(0), 1.0, np.nan)
    spread = features.std(0)
    spread = spread / max(spread.max(initial=0.0), 1e-300)
    ranks = rankdata(features, axis=0)
    ranks = ranks - ranks.mean(0)
    ranks = ranks / np.maximum(np.linalg.norm(ranks, axis=0), 1e-300)
    affinity = mix * np.maximum(spread[:, None], spread) + (1 - mix) * (
        1 - np.abs(ranks.T @ ranks).clip(0, 1)
    )
    radius = np.abs(np.linalg.eigvalsh(affinity)).max(initial=0.0)
    if radius == 0:
        return np.ones(len(affinity))
    one = np.eye(len(affinity))
    return (np.linalg.inv(one - 0.9 / radius * affinity) - one).sum(1)


def _last_features(
    graph: Graph, batches: Batches | None, limit: int | None
) -> list[tuple[Reader, NDArray[np.float64]]]:
    """The layers that no other layer reads from, each with the (images, features) that it reads."""
    readers = [r for r in graph.flow.readers if r.weight is not None]
    last = [r for r in readers if not _reaches(r.node, {other.node for other in readers})]
    found: dict[fx.Node, list[Tensor]] = {r.node: [] for r in last}

    def keep(reader: Reader, value: Tensor) -> None:
        maps = as_maps(value, reader.axis)
        found[reader.node].append(maps.double().mean((2, 3)).cpu())

    for inputs in inputs_of(batches, "nisp", limit):
        with torch.no_grad():
            run(graph, inputs, before={r.node: partial(keep, r) for r in last})
    return [(r, torch.cat(found[r.node]).numpy()) for r in last]


def _reaches(node: fx.Node, targets: set[fx.Node]) -> bool:
    """Whether what ``node`` gives comes to one of ``targets``."""
    seen, open_ = set(), list(node.users)
    while open_:
        user = open_.pop()
        if user in targets:
            return True
        if user not in seen:
            seen.add(user)
            open_ += list(user.users)
    return False


def _propagate(graph: Graph, seeds: dict[fx.Node, Tensor], sites: list[Site]) -> list[LayerScores]:
    """The gradient of the seeds' weighted sum in the network of absolute weights, channel by channel."""
    with torch.enable_grad():
        runner = _Absolute(graph, seeds, sites)
        runner.run(*(t.double() if t.is_floating_point() else t for t in graph.inputs))
        found = torch.autograd.grad(runner.total, list(runner.probes.values()), allow_unused=True)
    rows = []
    for site, gradient in zip(sites, found, strict=True):
        values = torch.zeros(len(site.classes)) if gradient is None else gradient.abs().cpu()
        rows.append(LayerScores(site.layer, values.double().numpy(), site.classes))
    return rows


class _Absolute(fx.Interpreter):
    """Runs a copy with absolute weights and nothing that is not linear; a probe of zeros stands on each site.

    In float64: products of absolute weights over a hundred layers leave float32's range.
    """

    def __init__(self, graph: Graph, seeds: dict[fx.Node, Tensor], sites: list[Site]) -> None:
        module = copy.deepcopy(graph.model).double().eval().requires_grad_(False)
        for parameter in module.parameters():
            parameter.abs_()
        super().__init__(module)
        self.extra_traceback = False
        self._graph, self._seeds = graph, seeds
        self._original = dict(zip(module.graph.nodes, graph.nodes, strict=True))
        self._axes = {r.node: r.axis for r in graph.flow.readers}
        self._sites = {site.node: site for site in sites}
        like = next(module.parameters())
        self.probes = {s.node: like.new_zeros(len(s.classes)).requires_grad_() for s in sites}
        self.total = like.new_zeros(())

    def run_node(self, n: fx.Node) -> Any:
        node = self._original[n]
        if node in self._seeds:
            value = first_argument(self, n).movedim(self._axes[node], -1)
            self.total = self.total + (value * self._seeds[node].to(value)).sum()
        result = self._linear(n, node)
        if node in self.probes:
            result = result + self._sites[node].along(self.probes[node], result.dim())
        return result

    def _linear(self, n: fx.Node, node: fx.Node) -> Any:
        """The node's value with activations and data-dependent norms left out, and products made sums."""
        if node not in self._graph.flow.pointwise and not self._depends_on_data(n):
            return super().run_node(n)
        found = [
            self.env[i] for i in n.all_input_nodes if i.op != "get_attr" and isinstance(self.env[i], Tensor)
        ]
        if len(found) == 1 and node in self._graph.flow.pointwise and op_name(node) in _ARITHMETIC:
            return super().run_node(n)
        return sum(found[1:], found[0]) if found else super().run_node(n)

    def _depends_on_data(self, n: fx.Node) -> bool:
        """Whether this is a norm that takes its statistics from what it is given."""
        if n.op != "call_module":
            return op_name(n) in _NORM_OPS
        layer = self.fetch_attr(str(n.target))
        unset = isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.running_mean is None
        return unset or isinstance(layer, _NORMS)
