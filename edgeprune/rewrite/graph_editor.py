"""Change a copy of a graph while walking the original: which node stands for which, and new ones."""

from typing import Any

import torch
import torch.fx as fx
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.rewrite.copying import copy_graph

Pads = dict[int, tuple[int, int]]


class Editor:
    """``new[node]`` is the node of the copied ``graph`` that stands for ``node``; ``root`` has its layers."""

    def __init__(self, original: fx.Graph, root: nn.Module) -> None:
        self.graph, self.new = copy_graph(original)
        self.root = root
        self._like = next(root.parameters(), torch.zeros(0))

    def before(self, node: fx.Node) -> Any:
        """New nodes go before the one that stands for ``node``."""
        return self.graph.inserting_before(self.new[node])

    def replace(self, node: fx.Node, replacement: fx.Node) -> None:
        """Let ``replacement`` stand for ``node``."""
        self.new[node].replace_all_uses_with(replacement, delete_user_cb=lambda user: user is not replacement)
        self.new[node] = replacement

    def call(self, function: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Insert a function call at the current place."""
        return self.graph.call_function(function, args, kwargs)

    def pick(self, x: fx.Node, axis: int, positions: Tensor, width: int) -> fx.Node:
        """Return the cheapest exact operation that selects positions along an axis, in order.

        Args:
            x: the tensor's node.
            axis: the axis to select along.
            positions: the selected positions.
            width: length of the axis before.
        """
        count = len(positions)
        if count and bool((positions == torch.arange(count) + positions[0]).all()):
            return x if count == width else self.call(torch.narrow, x, axis, int(positions[0]), count)
        return self.call(torch.index_select, x, axis, self.buffer("edgeprune_index", positions))

    def pad(self, x: fx.Node, pads: Pads, dims: int) -> fx.Node:
        """Return a node with zero padding.

        Args:
            x: the tensor's node.
            pads: (before, after) by axis.
            dims: number of axes of the tensor.
        """
        pads = {axis: pair for axis, pair in pads.items() if any(pair)}
        if not pads:
            return x
        return self.call(
            F.pad, x, [w for a in range(dims - 1, min(pads) - 1, -1) for w in pads.get(a, (0, 0))]
        )

    def buffer(self, name: str, value: Tensor) -> fx.Node:
        """Read ``value`` as a new buffer."""
        return self.graph.get_attr(put_new(self.root, name, value.to(self._like.device)))

    def parameter(self, name: str, value: Tensor) -> fx.Node:
        """Read ``value`` as a new parameter."""
        return self.graph.get_attr(put_new(self.root, name, nn.Parameter(value.detach().clone())))

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros of the model's type."""
        return torch.zeros(shape, dtype=self._like.dtype, device=self._like.device)


def put_new(module: nn.Module, name: str, value: Tensor) -> str:
    """Register a buffer or parameter under a free name, or return the name of one that has the same value.

    The graphs of a module's two modes read the same.

    Args:
        module: where it is registered.
        name: a number is appended to it.
        value: the tensor; a Parameter is registered as one.
    """
    number = 0
    while hasattr(module, f"{name}_{number}"):
        known = getattr(module, f"{name}_{number}")
        if type(known) is type(value) and known.shape == value.shape and torch.equal(known, value):
            return f"{name}_{number}"
        number += 1
    if isinstance(value, nn.Parameter):
        module.register_parameter(f"{name}_{number}", value)
    else:
        module.register_buffer(f"{name}_{number}", value)
    return f"{name}_{number}"


def set_argument(node: fx.Node, place: int, name: str, value: Any) -> None:
    """Change an argument where it stands: by position or by name.

    Args:
        node: the call; it is changed.
        place: the argument's position.
        name: its keyword.
        value: its new value.
    """
    if len(node.args) > place:
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)
