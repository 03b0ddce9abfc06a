"""Merging: a channel that goes is averaged into the most similar one that stays, before later layers are fitted."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.importance.filters import named_tensor, written_filters


def partners(graph: Graph, keep: Bools) -> Ints:
    """Return for each class the one that it is merged into: itself if it is kept, else the most similar kept one.

    Similarity is the cosine of the filters that write the classes, of all coupled layers together. A class of which
    no kept class of its group is written by the same layers stays alone.

    Args:
        graph: the traced model.
        keep: (classes,) mask of kept classes.
    """
    into = np.arange(graph.classes)
    for classes, rows in _described(graph):
        kept, dropped = np.flatnonzero(keep[classes]), np.flatnonzero(~keep[classes])
        if len(kept) and len(dropped):
            cosines = rows[dropped] @ rows[kept].T
            into[classes[dropped]] = classes[kept[cosines.argmax(1).numpy()]]
    return into


def _described(graph: Graph) -> Iterator[tuple[Ints, Tensor]]:
    """Yield the classes of each group, with the unit vectors of all weights that write each."""
    filters = written_filters(graph)
    for group in graph.groups:
        columns = []
        for each in filters:
            places = [np.flatnonzero(each.classes == each_class) for each_class in group.classes]
            if len({len(own) for own in places}) == 1 and len(places[0]):
                flat = each.flat
                columns.append(torch.stack([flat[torch.from_numpy(own)].flatten() for own in places]))
        if columns:
            rows = torch.cat(columns, 1)
            yield group.classes, rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-300)


def merge(graph: Graph, into: Ints) -> None:
    """Give each kept class the mean of what writes it and the classes merged into it, and the sum of what reads them.

    BatchNorm's parameters and statistics are averaged, too. What is dropped stays as it is.

    Source: Theus et al., Towards Meta-Pruning via Optimal Transport, 2024 (Intra-Fusion), where optimal transport
    spreads a channel over several; here each goes to one.

    Args:
        graph: the traced model; its tensors are changed in place.
        into: of `partners`.
    """
    with torch.no_grad():
        for (name, axis), classes in graph.param_axes.items():
            tensor = named_tensor(graph, name)
            if tensor.is_floating_point():
                merge_along(tensor, axis, classes, into, is_sum=graph.flow.outputs.get(name, axis) != axis)


def merge_along(tensor: Tensor, axis: int, classes: Ints, into: Ints, *, is_sum: bool = False) -> None:
    """Add up, or average, the slices of a tensor that are merged into each other.

    Args:
        tensor: changed in place.
        axis: along which the classes lie.
        classes: of each index, -1 if protected.
        into: the class that each class is merged into.
        is_sum: whether slices are added up.
    """
    targets = np.arange(len(classes))
    for merged_class in np.unique(classes[classes >= 0]):
        own = np.flatnonzero(classes == merged_class)
        other = np.flatnonzero(classes == into[merged_class])
        if len(own) == len(other):
            targets[own] = other  # in the same order: a linear layer reads a map place by place
    index = torch.from_numpy(targets).to(tensor.device)
    merged = torch.zeros_like(tensor).index_add_(axis, index, tensor)
    if not is_sum:
        counts = torch.bincount(index, minlength=len(index)).clamp(min=1).to(tensor)
        view = [1] * tensor.dim()
        view[axis] = -1
        merged /= counts.view(view)
    survivors = torch.from_numpy(np.unique(targets)).to(tensor.device)
    tensor.index_copy_(axis, survivors, merged.index_select(axis, survivors))
