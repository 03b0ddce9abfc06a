"""Questions about single nodes of a record that its graph alone answers."""

from collections.abc import Iterable
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.recording.opaque import OPAQUE
from edgeprune.recording.record import CALL, VALUE


def static_nodes(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Return the nodes whose tensors depend on parameters and constants alone, of a graph's nodes in order."""
    static: set[fx.Node] = set()
    for node in nodes:
        inputs = [n for n in node.all_input_nodes if tensors_in(n.meta[VALUE])]
        if node.op == "get_attr" or (
            node.op.startswith("call") and all(n in static for n in inputs) and op_name(node) != OPAQUE
        ):
            static.add(node)
    return static


def parameters_of(layer: nn.Module) -> list[nn.Parameter]:
    """Return all parameters of a layer; quick for one without layers inside."""
    if layer._modules:
        return list(layer.parameters())
    return [parameter for parameter in layer._parameters.values() if parameter is not None]


def is_weight_argument(user: fx.Node, node: fx.Node) -> bool:
    """Tell whether ``user`` is a functional layer with ``node`` as its weight, bias or statistic."""
    if user.op != "call_function" and op_name(user) != "matmul":
        return False
    if op_name(user) == "matmul":
        return is_linear_product(user) and source_of(user) is not node
    return spec_of(user).has_weights and source_of(user) is not node


def weight_node(node: fx.Node) -> Any:
    """Return the unevaluated weight of a functional layer."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("weight")


def is_linear_product(node: fx.Node) -> bool:
    """Tell whether a matrix product is ``x @ W`` with a parameter or buffer W of two axes."""
    arguments = node.all_input_nodes
    if len(arguments) != 2 or arguments[1].op != "get_attr" or source_of(node) is not arguments[0]:
        return False
    value = arguments[1].meta[VALUE]
    return isinstance(value, Tensor) and value.dim() == 2 and arguments[0].op != "get_attr"


def layer_name(node: fx.Node) -> str:
    """Return a readable name of a node: the module's path, or the operation's name."""
    site = node.meta.get(CALL)
    if site is not None and site.in_layer and site.path:
        return site.path
    return str(node.target) if node.op in ("call_module", "get_attr", "placeholder") else node.name
