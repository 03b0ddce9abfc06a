"""The graph of a run in the making: which node each tensor is, what depends on the input, and what shares memory."""

import operator
from collections import defaultdict
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.recording.names import NodeNames
from edgeprune.recording.record import VALUE, WRITES
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.values import hollow, mapped, storage_of, tensors_of


class Tape:
    """Nodes and the tensors that they stand for.

    Attributes:
        graph: the graph.
        nodes: the node of each tensor.
        dynamic: the nodes that depend on the input.
        memory: the first node in the same memory, of each.
    """

    def __init__(self, origin: Callable[[Tensor], fx.Node]) -> None:
        """Begin an empty graph; ``origin`` makes the node of a tensor that no call on the tape has made."""
        self.graph = fx.Graph()
        self.graph._graph_namespace = NodeNames()
        self.nodes = ByTensor()
        self.dynamic: set[fx.Node] = set()
        self.memory: dict[fx.Node, fx.Node] = {}
        self._origin = origin
        self._families: dict[fx.Node, list[fx.Node]] = defaultdict(list)
        self._writes: list[tuple[fx.Node, fx.Node]] = []

    def input(self, tensor: Tensor, name: str) -> None:
        """Make ``tensor`` an input of the network."""
        node = self.graph.placeholder(name)
        node.meta[VALUE] = hollow(tensor)
        self.dynamic.add(node)
        self.know(tensor, node, node)

    def output(self, value: Any) -> None:
        """End the graph with the tensors of ``value``."""
        node = self.graph.output(tuple(self.argument(t) for t in tensors_of(value)))
        node.meta[VALUE] = None

    def know(self, tensor: Tensor, node: fx.Node, memory: fx.Node) -> None:
        """Note the node of a tensor.

        Args:
            tensor: the tensor.
            node: its node.
            memory: the first node in the same memory.
        """
        self.nodes[tensor] = node
        self.memory[node] = memory
        self._families[memory].append(node)

    def argument(self, value: Any) -> Any:
        """Replace tensors, also in containers, by their nodes; return other values unchanged."""
        if isinstance(value, Tensor):
            node = self.nodes.get(value)
            return self._origin(value) if node is None else node
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (tuple, list)):
            return (
                type(value)(self.argument(v) for v in value)
                if type(value) in (tuple, list)
                else tuple(self.argument(v) for v in value)
            )
        if isinstance(value, dict):
            return {k: self.argument(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(self.argument(value.start), self.argument(value.stop), self.argument(value.step))
        return value

    def structure(self, value: Any) -> Any:
        """Return nodes in plain containers; for any other object a tuple of its tensors' nodes."""
        if isinstance(value, (Tensor, int, float, bool, str, type(None))):
            return self.argument(value)
        if type(value) in (tuple, list):
            return type(value)(self.structure(item) for item in value)
        if type(value) is dict:
            return {key: self.structure(item) for key, item in value.items()}
        return tuple(self.argument(tensor) for tensor in tensors_of(value))

    def create(self, kind: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        """Create a node.

        Args:
            kind: of the node, as torch.fx has it.
            target: what is called, or the name of what is read.
            args: positional arguments, in nodes.
            kwargs: keyword arguments, in nodes.
        """
        node = self.graph.create_node(kind, target, name=_node_name(target))
        # Handed over at once they would be looked through for symbolic numbers, which are not there.
        if args:
            node.args = args
        if kwargs:
            node.kwargs = kwargs
        return node

    def part(self, node: fx.Node, key: Any, value: Any) -> fx.Node:
        """Create the node of one of several results of a call.

        Args:
            node: the call.
            key: of the result among them.
            value: what is recorded of it.
        """
        part = self.create("call_function", operator.getitem, (node, key))
        part.meta |= {VALUE: value, "part": True}
        if node in self.dynamic:
            self.dynamic.add(part)
        return part

    def shared(self, tensor: Tensor, node: fx.Node, tensors: list[Tensor]) -> fx.Node:
        """Return the first node whose memory a tensor shares.

        Args:
            tensor: the tensor.
            node: its node, which is the first where it shares none.
            tensors: those whose memory it may share.
        """
        key = storage_of(tensor)
        for other in tensors:
            if key is not None and storage_of(other) == key and other in self.nodes:
                return self.memory[self.nodes[other]]
        return node

    def recorded(self, node: fx.Node, value: Any) -> Any:
        """Return what is recorded of a result: numbers if they do not depend on the input, else the shape alone."""
        if node in self.dynamic:
            return hollow(value)
        return mapped(value, lambda t: t.detach().clone() if t.numel() < 2**22 else hollow(t))

    def write(self, node: fx.Node, tensor: Tensor) -> fx.Node:
        """Note that a call writes into a tensor; return the node of what it was."""
        before: fx.Node | None = self.nodes.get(tensor)
        if before is None:
            before = self._origin(tensor)
        self.note_write(node, before)
        return before

    def note_write(self, node: fx.Node, before: fx.Node) -> None:
        """Note that a call writes into the memory of the value ``before``."""
        self._writes.append((node, before))

    def finish(self) -> fx.Graph:
        """Mark the in-place calls that change memory which is used by another name later."""
        order = {node: place for place, node in enumerate(self.graph.nodes)}
        for node, before in self._writes:
            family = self._families[self.memory[before]]
            late = [
                n
                for n in family
                if n not in (node, before)
                and order[n] < order[node]
                and any(order[u] > order[node] for u in n.users)
            ]
            if late:
                node.meta[WRITES] = [*node.meta.get(WRITES, []), *late, before]
        return self.graph


@lru_cache(maxsize=1 << 14)
def _node_name(target: Any) -> str:
    """Return what torch.fx names nodes of ``target`` after; it would look for it by regular expressions each time."""
    return fx.Graph()._target_to_str(target)
