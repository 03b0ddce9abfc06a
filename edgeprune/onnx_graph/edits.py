"""Changes to the nodes of a file: numbers that hold widths, nodes put in and left out."""

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from edgeprune.files.onnx_nodes import names_read
from edgeprune.onnx_graph.files import OnnxFile


class Edits:
    """Nodes of a copy of a file, each known by the first result of the original's node."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file.copy()
        self._nodes = {node.output[0]: node for node in self.file.model.graph.node}
        self._before: dict[str, list[NodeProto]] = defaultdict(list)
        self._instead: dict[str, list[NodeProto]] = {}
        self._taken = file.names()

    def node(self, key: str) -> NodeProto:
        """Return the copy of a node."""
        return self._nodes[key]

    def set_attribute(self, key: str, name: str, value: Any) -> None:
        """Set an attribute of a node.

        Args:
            key: the node's first result.
            name: the attribute's name.
            value: what it becomes; None takes it away.
        """
        node = self._nodes[key]
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        changed = [] if value is None else [helper.make_attribute(name, value)]
        attributes = []
        for attribute in [*kept, *changed]:
            attributes.append(onnx.AttributeProto())
            attributes[-1].CopyFrom(attribute)
        del node.attribute[:]
        node.attribute.extend(attributes)

    def set_input(self, key: str, position: int, array: NDArray[Any], what: str) -> None:
        """Let an input of a node be a constant of its own.

        Args:
            key: the node's first result.
            position: of the input.
            array: the numbers.
            what: they are, for the constant's name.
        """
        node = self._nodes[key]
        while len(node.input) <= position:
            node.input.append("")
        node.input[position] = self.file.add(self._free(f"{node.name or key}_{what}"), array)

    def rewire(self, key: str, position: int, name: str) -> None:
        """Let an input of a node be another value.

        Args:
            key: the node's first result.
            position: of the input.
            name: of the value.
        """
        self._nodes[key].input[position] = name

    def overwrite_numbers(
        self, key: str, position: int, new: NDArray[Any], changed: NDArray[np.bool_]
    ) -> None:
        """Replace some of the numbers that a node is given, however they are computed.

        Args:
            key: the node's first result.
            position: of the input that holds them.
            new: all of them, as they must be.
            changed: which are not what is computed.
        """
        node = self._nodes[key]
        before = node.input[position]
        if self.file.is_constant(before):
            self.set_input(key, position, new, "sizes")
            return
        name = self._free(f"{node.name or key}_sizes")
        mask = self.file.add(f"{name}_changed", changed)
        numbers = self.file.add(f"{name}_new", new)
        self._before[key].append(helper.make_node("Where", [mask, numbers, before], [name], name=name))
        node.input[position] = name

    def gather(self, key: str, source: str, index: NDArray[np.int64], axis: int, output: str) -> None:
        """Let a value be channels of another, in place of what the node did.

        Args:
            key: the first result of the node that gave it.
            source: the value to take channels from.
            index: which.
            axis: they lie along.
            output: the value.
        """
        node = self._nodes[key]
        name = node.name or key
        if len(node.output) > 1:
            name = self._free(f"{name}_{list(node.output).index(output)}")
        indices = self.file.add(f"{name}_channels", index)
        new = helper.make_node("Gather", [source, indices], [output], name=name, axis=axis)
        self._instead.setdefault(key, []).append(new)

    def insert_after(self, key: str, node: NodeProto) -> None:
        """Put a node behind another."""
        self._instead.setdefault(key, [self._nodes[key]]).append(node)

    def free_name(self, name: str) -> str:
        """Return a name like this that nothing has."""
        return self._free(name)

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def finish(self, candidates: set[str]) -> OnnxFile:
        """Return the file with all changes; what nothing reads any more is left out of ``candidates`` alone."""
        graph = self.file.model.graph
        nodes = []
        for key, node in self._nodes.items():
            nodes += [*self._before[key], *self._instead.get(key, [node])]
        outputs = {value.name for value in graph.output}
        kept: list[NodeProto] = []
        read: set[str] = set()
        for node in reversed(nodes):
            useful = any(name in read or name in outputs for name in node.output)
            if useful or node.output[0] not in candidates:
                kept.append(node)
                read |= set(names_read(node))
        copies = []
        for node in reversed(kept):
            copies.append(NodeProto())
            copies[-1].CopyFrom(node)
        del graph.node[:]
        graph.node.extend(copies)
        return self.file.refreshed()
