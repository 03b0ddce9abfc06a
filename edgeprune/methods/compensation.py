"""Compensation: while a pruned network is fine-tuned, its filters may take what they need from those removed.

The filters that stay become W + M W_r, with W_r the removed filters of the layer and M a matrix that begins as 0: what
a 1x1 convolution from the removed to the kept channels, in front of the normalisation, would add. W_r and M are trained
along and multiplied in afterwards, so that the network is as small as without, and begins as the same function.

Source: Zhang et al., Reconstruction and Consolidation Pruning (RCP), 2026, of which only the abstract was at hand: the
1x1 convolution and its consolidation are its own, that it begins at 0 and follows the removal is ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgeprune.graph.ordering import channel_orders
from edgeprune.recording.walks import named_parameters, plain_name
from edgeprune.rewrite.tensors import kept_indices

if TYPE_CHECKING:
    from edgeprune.graph.classes import Graph, Ints
    from edgeprune.graph.plan import Plan


class Compensation(nn.Module):
    """A weight plus what its filters take from removed ones.

    Args:
        removed: the filters that were removed, (removed, ...), as narrow as those that stay.
        kept: number of filters that stay.
    """

    def __init__(self, removed: Tensor, kept: int) -> None:
        super().__init__()
        self.removed = nn.Parameter(removed.clone())
        self.shares = nn.Parameter(removed.new_zeros(kept, len(removed)))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the filters that the layer computes with, (kept, ...).

        Args:
            weight: the filters that stay, (kept, ...).
        """
        return weight + (self.shares @ self.removed.flatten(1)).reshape(weight.shape)


def removed_filters(
    removals: Iterable[tuple["Graph", "Plan"]], weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the removed filters of every convolution and linear layer that lost some, cut to the inputs that stay.

    Args:
        removals: the network's graph and the plan of each removal, one after the other.
        weights: of the unpruned network, by name.
    """
    rows: dict[str, Ints] = {}
    columns: dict[str, Ints] = {}
    for graph, plan in removals:
        for name, axes in kept_indices(graph, plan.keep, channel_orders(graph, plan.keep)).items():
            if graph.flow.outputs.get(name) == 0 and name in weights:
                for axis, kept_of in ((0, rows), (1, columns)):
                    before = kept_of.get(name, np.arange(weights[name].shape[axis]))
                    kept_of[name] = before[axes[axis]] if axis in axes else before
    filters = {}
    for name, kept in rows.items():
        gone = np.setdiff1d(np.arange(len(weights[name])), kept)
        if len(gone):
            filters[name] = weights[name][torch.from_numpy(gone)][:, torch.from_numpy(columns[name])]
    return filters


@contextmanager
def compensated(model: nn.Module, removed: Mapping[str, Tensor]) -> Iterator[None]:
    """Let filters take from removed ones within the block; at its end what they took is part of their own weights.

    Weights of grouped convolutions, whose filters read different channels, weights that are computed from others and
    weights that several layers share are left as they are.

    Args:
        model: after the removals.
        removed: filters by the name of the weight; see `removed_filters`.
    """
    parameters = named_parameters(model)
    owners = [id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False)]
    changed = []
    for name, filters in removed.items():
        path, _, leaf = name.rpartition(".")
        weight = parameters.get(name)
        if weight is None or "parametrizations" in name or owners.count(id(weight)) > 1:
            continue
        layer = model.get_submodule(path)
        if getattr(layer, "groups", 1) == 1 and weight.shape[1:] == filters.shape[1:]:
            changed.append((layer, leaf, list(layer._parameters)))
            parametrize.register_parametrization(layer, leaf, Compensation(filters.to(weight), len(weight)))
    try:
        yield
    finally:
        for layer, leaf, order in changed:
            parametrize.remove_parametrizations(layer, leaf, leave_parametrized=True)
            for own in order:  # removal puts the weight last
                layer._parameters[own] = layer._parameters.pop(own)


def renamed(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by the names that parameters have while they are compensated.

    Args:
        model: within `compensated`.
        tensors: by the names outside of it.
    """
    plain = {name: plain_name(name) for name, _ in model.named_parameters()}
    return {name: tensors[outside] for name, outside in plain.items() if outside in tensors}
