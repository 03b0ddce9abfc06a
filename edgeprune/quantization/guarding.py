"""Keep ONNX Runtime from rounding layers that are to stay in float.

Where a layer with float weights stands between DQ and Q nodes, its optimizer makes the weights int8, with one scale for
all channels (WeightBiasQuantization, 1.22 and newer). It sees through ReLU and Clip; a LeakyReLU with the same result
stops it, and is as well folded into the layer.
"""

from typing import TYPE_CHECKING

from edgeprune.files.onnx_nodes import ACTIVATIONS, readers_of

if TYPE_CHECKING:
    from onnx import AttributeProto, ModelProto, NodeProto

ROUNDED = ("Conv", "ConvTranspose", "Gemm")  # by the optimizer
DQ, Q = "DequantizeLinear", "QuantizeLinear"
ENDING = "_float"  # of the name of a result before the guard


def guard_float_layers(model: "ModelProto") -> int:
    """Put a LeakyReLU behind each float layer that would be made int8; return how many.

    Args:
        model: with Q/DQ nodes; it is changed, and computes the same.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output}
    readers = readers_of(graph.node)
    at_risk = [
        node
        for node in graph.node
        if node.op_type in ROUNDED
        and _made_by_dq(makers.get(node.input[0]))
        and not _made_by_dq(makers.get(node.input[1]))
        and _leads_to_q(node, readers)
    ]
    nodes = list(graph.node)
    for node in at_risk:
        following = readers[node.output[0]][0]
        if following.op_type == "Relu":
            following.op_type = "LeakyRelu"
            following.attribute.append(_alpha(0.0))
        else:
            nodes.insert(nodes.index(node) + 1, _identity(node))
    _replace(model, nodes)
    return len(at_risk)


def _made_by_dq(maker: "NodeProto | None") -> bool:
    return maker is not None and maker.op_type == DQ


def _leads_to_q(node: "NodeProto", readers: "dict[str, list[NodeProto]]") -> bool:
    """Return whether one Q node reads a layer's result, activations between seen through."""
    following = readers.get(node.output[0], [])
    while len(following) == 1 and following[0].op_type in ACTIVATIONS:
        following = readers.get(following[0].output[0], [])
    return len(following) == 1 and following[0].op_type == Q


def _identity(node: "NodeProto") -> "NodeProto":
    """Return a LeakyReLU that changes nothing, behind a node whose result gets another name."""
    from onnx import helper

    name = node.output[0]
    node.output[0] = name + ENDING
    guard = helper.make_node("LeakyRelu", [name + ENDING], [name], f"{node.name}_guard")
    guard.attribute.append(_alpha(1.0))
    return guard


def _alpha(value: float) -> "AttributeProto":
    from onnx import helper

    return helper.make_attribute("alpha", value)


def _replace(model: "ModelProto", nodes: "list[NodeProto]") -> None:
    """Set the nodes of a graph, some of which are its own."""
    import onnx

    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
