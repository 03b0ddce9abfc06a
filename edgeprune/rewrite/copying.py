"""Copy a traced graph without its example values."""

import copy

import torch.fx as fx
from torch import nn


def copy_graph(graph: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """Copy a graph with empty ``meta``; return the copy, and the new node of each old one."""
    new, places = fx.Graph(tracer_cls=graph._tracer_cls), dict[fx.Node, fx.Node]()
    result = new.graph_copy(graph, places)
    old_output = next(node for node in reversed(graph.nodes) if node.op == "output")
    places[old_output] = new.output(result)
    for node in new.nodes:
        node.meta = {}
    new._codegen = copy.deepcopy(graph._codegen)
    return new, places


def with_flags(module: fx.GraphModule, original: nn.Module, own: set[nn.Module]) -> fx.GraphModule:
    """Give the containers that torch.fx made anew the original's training flag.

    Args:
        module: the new graph module; it is changed and returned.
        original: the module it was traced from.
        own: the user's own modules, which keep their flags.
    """
    for child in module.modules():
        if child not in own:
            child.training = original.training
    return module
