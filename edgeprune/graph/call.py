"""A call as the rules see it: a node whose arguments are label tensors."""

from dataclasses import dataclass
from typing import Any

import torch.fx as fx
from torch import nn

from edgeprune.graph.ops import source_of, title
from edgeprune.recording.record import VALUE

Shape = tuple[int, ...]


@dataclass
class Call:
    """One node with its arguments replaced by label tensors."""

    node: fx.Node
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    module: nn.Module | None
    op: str

    @property
    def x(self) -> Any:
        """Return the labels of the first argument."""
        if self.args:
            return self.args[0]
        source = source_of(self.node)
        return next(v for k, v in self.kwargs.items() if self.node.kwargs[k] is source)

    @property
    def kind(self) -> str:
        """Return the class name of the layer, or the name of the operation."""
        return type(self.module).__name__ if self.module else self.op

    def get(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument by position or name.

        Args:
            position: its position among the call's arguments.
            name: its keyword.
            default: returned where the call does not have it.
        """
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)

    def option(self, position: int, name: str, default: Any = None) -> Any:
        """Return a layer's attribute, or a function's argument.

        Args:
            position: the argument's position in a function call.
            name: the attribute's name, and the argument's keyword.
            default: returned where neither exists.
        """
        return getattr(self.module, name, default) if self.module else self.get(position, name, default)

    def argument_node(self, position: int, name: str) -> Any:
        """Return the unevaluated argument: a node, or a constant."""
        arguments = self.node.args
        return arguments[position] if len(arguments) > position else self.node.kwargs.get(name)

    @property
    def value(self) -> Any:
        """Return the node's value on the example."""
        return self.node.meta[VALUE]

    @property
    def shape(self) -> Shape:
        """Shape of the node's (tensor) value."""
        return tuple(self.value.shape)


def reason_unknown(call: Call) -> str:
    """Say why a call without a rule protects what reaches it."""
    return f"no rule for {type(call.module).__name__ if call.module else title(call.node)}"
