"""The tensors that a call takes, and the nodes that stand for them in a record, in one order."""

from collections.abc import Callable
from typing import Any

import torch.fx as fx
from torch import Tensor


def map_arguments(value: Any, function: Callable[[Any], Any]) -> Any:
    """Return ``value`` with ``function`` of every leaf of its containers and slices."""
    if type(value) is dict:
        return {key: map_arguments(item, function) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map_arguments(item, function) for item in value)
    if isinstance(value, slice):
        return slice(*(map_arguments(item, function) for item in (value.start, value.stop, value.step)))
    return function(value)


def tensors_in(args: Any, kwargs: Any) -> list[Tensor]:
    """Return the tensors among a call's arguments, in the order of `operands`."""
    tensors: list[Tensor] = []

    def visit(value: Any) -> None:
        if isinstance(value, Tensor):
            tensors.append(value)

    map_arguments((tuple(args), dict(kwargs)), visit)
    return tensors


def operands(node: fx.Node) -> list[fx.Node]:
    """Return the nodes of the tensors that a recorded call takes, in order; a node may come twice."""
    nodes: list[fx.Node] = []

    def visit(operand: fx.Node) -> fx.Node:
        nodes.append(operand)
        return operand

    fx.node.map_arg((node.args, node.kwargs), visit)
    return nodes
