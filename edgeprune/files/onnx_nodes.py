"""What the nodes of an ONNX graph read."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import NodeProto


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
