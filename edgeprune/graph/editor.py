"""Change a copy of a graph while walking the original: which node stands for which, and new ones."""

from typing import Any

import torch
import torch.fx as fx
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.copying import copy_graph

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
        """A function call at the place of insertion."""
        return self.graph.call_function(function, args, kwargs)

    def pick(self, x: fx.Node, axis: int, positions: Tensor, width: int) -> fx.Node:
        """The cheapest exact operation for "these positions of ``width``, in this order"."""
        count = len(positions)
        if count and bool((positions == torch.arange(count) + positions[0]).all()):
            return x if count == width else self.call(torch.narrow, x, axis, int(positions[0]), count)
        return self.call(torch.index_select, x, axis, self.buffer("edgeprune_index", positions))

    def pad(self, x: fx.Node, pads: Pads, dims: int) -> fx.Node:
        """Zero padding by axis."""
        pads = {axis: pair for axis, pair in pads.items() if any(pair)}
        if not pads:
            return x
        return self.call(
            F.pad, x, [w for a in range(dims - 1, min(pads) - 1, -1) for w in pads.get(a, (0, 0))]
        )

    def buffer(self, name: str, value: Tensor) -> fx.Node:
        """Read ``value`` as a new buffer."""
        place = self._free_name(name)
        self.root.register_buffer(place, value.to(self._like.device))
        return self.graph.get_attr(place)

    def parameter(self, name: str, value: Tensor) -> fx.Node:
        """Read ``value`` as a new parameter."""
        place = self._free_name(name)
        self.root.register_parameter(place, nn.Parameter(value.detach().clone()))
        return self.graph.get_attr(place)

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Zeros of the model's type."""
        return torch.zeros(shape, dtype=self._like.dtype, device=self._like.device)

    def _free_name(self, name: str) -> str:
        number = 0
        while hasattr(self.root, f"{name}_{number}"):
            number += 1
        return f"{name}_{number}"


def set_argument(node: fx.Node, place: int, name: str, value: Any) -> None:
    """Change an argument where it stands: by position or by name."""
    if len(node.args) > place:
        node.update_arg(place, value)
    else:
        node.update_kwarg(name, value)
