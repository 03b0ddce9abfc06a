"""What the nodes of an ONNX graph read, and which of them a convolution takes in."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

ACTIVATIONS = ("Relu", "Clip")  # what a runtime computes in the convolution's own loop


def names_read(node: "NodeProto") -> list[str]:
    """Return the names of all values that a node reads, those that its subgraphs take from outside too."""
    names = dict.fromkeys(name for name in node.input if name)
    for attribute in node.attribute:
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]:
            made = {value.name for value in graph.input} | {t.name for t in graph.initializer}
            made |= {t.values.name for t in graph.sparse_initializer}
            for inner in graph.node:
                names |= dict.fromkeys(name for name in names_read(inner) if name not in made)
                made |= set(inner.output)
            names |= dict.fromkeys(value.name for value in graph.output if value.name not in made)
    return list(names)


def stored_in(graph: "GraphProto") -> set[str]:
    """Return the names of the values that are written in a graph: initializers, and results of Constant nodes."""
    written = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return written | {tensor.name for tensor in graph.initializer}


def readers_of(nodes: "Iterable[NodeProto]") -> "dict[str, list[NodeProto]]":
    """Return the nodes that read each value as an input, in their order."""
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in nodes:
        for name in node.input:
            readers[name].append(node)
    return readers


def folded_into(
    node: "NodeProto",
    readers: "Mapping[str, list[NodeProto]]",
    constants: Collection[str],
    taken: Collection[str] = (),
) -> "list[NodeProto]":
    """Return what runtimes compute in a convolution's own loop: an activation, or a residual sum and an activation.

    Args:
        node: the convolution.
        readers: of each value; see `readers_of`.
        constants: names of constants: a sum with one is not residual.
        taken: results of nodes that are folded into other layers.
    """
    folded: list[NodeProto] = []
    while True:
        following = readers.get(node.output[0], [])
        if len(following) != 1 or following[0].output[0] in taken:
            return folded
        node = following[0]
        residual = node.op_type == "Add" and not folded and not any(name in constants for name in node.input)
        after = [other.op_type for other in folded[-1:]]
        if not residual and (node.op_type not in ACTIVATIONS or after not in ([], ["Add"])):
            return folded
        folded.append(node)
