"""NISP: importance of the last features, propagated backwards through the absolute weights."""

from functools import partial
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Consumer
from edgeprune.graph.ops import op_name, spec_of
from edgeprune.importance.batches import Batches, inputs_of, map_tensors
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.options import count_or_all, number_between
from edgeprune.importance.sites import Site, as_maps, first_operand, run_network, written_sites
from edgeprune.recording.operands import operands, tensors_in
from edgeprune.recording.record import CALL
from edgeprune.recording.taps import Taps, run_tapped
from edgeprune.rewrite.duplicate import duplicate


def nisp(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    mix: float = 0.5,
    reduction: str = "mean",
    normalise: str = "mean",
) -> Scores:
    """Propagate the last features' importance back to each channel. Needs images.

    s_last is `inf_fs` of the features that the last layer reads, s_k = |W_(k+1)|^T s_(k+1) before it. A
    BatchNorm passes it on times |gamma| / sigma, an activation unchanged, a sum to each of its terms, a product
    of two feature maps to each factor; a channel's score is the sum over its positions.

    Source: Yu et al., NISP: Neuron Importance Score Propagation, 2018; formulas from memory. The propagation
    is the gradient of the same network with absolute weights and no activations.

    Args:
        graph: the traced model.
        batches: images; more of them estimate the correlations between features better.
        limit: largest number of batches; None for all.
        mix: see `inf_fs`.
        reduction: see `combine`.
        normalise: see `combine`.

    Raises:
        PlanError: no batches.
    """
    check_combining(reduction, normalise)
    mix = number_between("mix", mix, 0, 1)
    seeds = {
        consumer.node: torch.from_numpy(inf_fs(features, mix))
        for consumer, features in _last_features(graph, batches, count_or_all("limit", limit))
    }
    rows = _propagate(graph, seeds, written_sites(graph, "output"))
    return combine(graph, rows, reduction=reduction, normalise=normalise)


def inf_fs(features: NDArray[np.float64], mix: float = 0.5) -> Scores:
    """Score features by infinite feature selection (Roffo et al., 2015): varying, non-redundant ones score high.

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
    identity = np.eye(len(affinity))
    return (np.linalg.inv(identity - 0.9 / radius * affinity) - identity).sum(1)


def _last_features(
    graph: Graph, batches: Batches | None, limit: int | None
) -> list[tuple[Consumer, NDArray[np.float64]]]:
    """Return the layers from which no other layer reads, each with the (images, features) that it reads."""
    consumers = [r for r in graph.flow.consumers if r.weight is not None]
    last = [r for r in consumers if not _reaches(r.node, {other.node for other in consumers})]
    features: dict[fx.Node, list[Tensor]] = {r.node: [] for r in last}

    def keep(consumer: Consumer, value: Tensor) -> None:
        maps = as_maps(value, consumer.axis)
        features[consumer.node].append(maps.double().mean((2, 3)).cpu())

    for inputs in inputs_of(batches, "nisp", limit):
        with torch.no_grad():
            run_network(graph, inputs, before={r.node: partial(keep, r) for r in last})
    return [(r, torch.cat(features[r.node]).numpy()) for r in last]


def _reaches(node: fx.Node, targets: set[fx.Node]) -> bool:
    """Return whether the value of ``node`` reaches one of ``targets``."""
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
    """Return the gradient of the seeds' weighted sum in the network of absolute weights, for each channel."""
    if not sites:
        return []
    with torch.enable_grad():
        network = _Absolute(graph, seeds, sites)
        network.run(graph.inputs)
        gradients = torch.autograd.grad(network.total, list(network.probes.values()), allow_unused=True)
    rows = []
    for site, gradient in zip(sites, gradients, strict=True):
        values = torch.zeros(len(site.classes)) if gradient is None else gradient.abs().cpu()
        rows.append(LayerScores(site.layer, values.double().numpy(), site.classes))
    return rows


class _Absolute:
    """A copy of the network with absolute weights and only linear operations.

    A probe of zeros is added at each site; ``total`` is the sum of the seeds times the inputs of their layers.
    In float64: products of absolute weights over a hundred layers leave float32's range.
    """

    def __init__(self, graph: Graph, seeds: dict[fx.Node, Tensor], sites: list[Site]) -> None:
        self.network = duplicate(graph.model)
        self.network.double()
        self.network.eval()
        for parameter in self.network.parameters():
            parameter.requires_grad_(False).abs_()
        self._graph, self._seeds = graph, seeds
        self._axes = {consumer.node: consumer.axis for consumer in graph.flow.consumers}
        like = next(self.network.parameters())
        self.probes = {site.node: like.new_zeros(len(site.classes)).requires_grad_() for site in sites}
        self.total = like.new_zeros(())
        self._taps = Taps()
        for node in (node for node in graph.nodes if CALL in node.meta):
            self._taps.put(node, partial(self._linear, node))
        for node in seeds:
            self._taps.add_before(node, partial(self._add, node), first_operand(node))
        for site in sites:
            self._taps.add_after(site.node, partial(self._probed, site))

    def run(self, inputs: tuple[Any, ...]) -> None:
        """Run the copy on the example."""
        run_tapped(self.network, map_tensors(inputs, _doubled), self._taps, all_reached=True)

    @torch.enable_grad()
    def _add(self, node: fx.Node, value: Tensor) -> None:
        moved = value.movedim(self._axes[node], -1)
        self.total = self.total + (moved * self._seeds[node].to(moved)).sum()

    @torch.enable_grad()
    def _probed(self, site: Site, value: Tensor) -> Tensor:
        return value + site.along(self.probes[site.node], value.dim())

    @torch.enable_grad()  # a part that runs without gradients passes importance on like any other
    def _linear(self, node: fx.Node, function: Any, args: Any, kwargs: Any) -> Any:
        """Return a call's result, without activations and data-dependent norms, and with sums for products."""
        is_pointwise = node in self._graph.flow.pointwise
        if is_pointwise or _depends_on_data(node):
            pairs = zip(operands(node), tensors_in(args, kwargs), strict=True)
            values = list({source: value for source, value in pairs if source.op != "get_attr"}.values())
            if len(values) > 1 or (values and not (is_pointwise and spec_of(node).arithmetic)):
                # A copy, since an autograd function must not return its own input.
                return sum(values[1:], values[0].clone())
        # Constants that are neither parameters nor buffers were not converted with the network.
        return function(*map_tensors(args, _doubled), **map_tensors(kwargs, _doubled))


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _depends_on_data(node: fx.Node) -> bool:
    """Return whether this is a norm that computes its statistics from its input."""
    if op_name(node) != "batch_norm":
        return spec_of(node).takes_statistics
    running_mean = node.args[1] if len(node.args) > 1 else node.kwargs.get("running_mean")
    return running_mean is None
