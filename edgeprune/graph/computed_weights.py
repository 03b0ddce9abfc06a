"""Weights of functional layers that the network's code computes from its parameters: masked, scaled, standardised."""

from collections.abc import Iterable
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.labels import tensors_in
from edgeprune.graph.nodes import is_weight_argument, parameters_of, weight_node
from edgeprune.graph.ops import spec_of
from edgeprune.graph.tensor_names import TensorNames
from edgeprune.recording.record import VALUE


class ComputedWeights:
    """Which weights are computed element by element, and so are pruned with the parameters they are made of.

    Attributes:
        elementwise: the parameter by whose name such a weight goes.
        partners: by that parameter, the other tensors that the weight is made of.
        planes: the nodes that read these tensors.
        computing: the calls that compute the weights.
    """

    def __init__(
        self,
        nodes: Iterable[fx.Node],
        static: set[fx.Node],
        layers: Iterable[nn.Module],
        names: TensorNames,
    ) -> None:
        """Find the computed weights of a graph.

        Args:
            nodes: of the graph, in order.
            static: of these, what does not depend on the network's input.
            layers: modules that are called as one node.
            names: of the network's tensors.
        """
        self.elementwise: dict[Any, str] = {}
        self.partners: dict[str, list[str]] = {}
        self.planes: set[fx.Node] = set()
        self.computing: set[fx.Node] = set()
        self._static, self._names = static, names
        self._in_layers = {id(tensor) for layer in layers for tensor in parameters_of(layer)}
        for node in nodes:
            if spec_of(node).has_weights and node.op == "call_function":
                for argument in node.all_input_nodes:
                    computed = argument in static and argument.op != "get_attr"
                    if (
                        computed
                        and isinstance(argument.meta[VALUE], Tensor)
                        and is_weight_argument(node, argument)
                    ):
                        self._note_elementwise(argument)

    def axis_made_by(self, node: fx.Node) -> int | None:
        """Return the output axis of a parameter that is used only to compute weights of functional layers."""
        value, axes, seen, stack = node.meta[VALUE], set(), {node}, [node]
        if value.dim() < 2 or value.numel() == max(value.shape) or id(value) in self._in_layers:
            return None
        while stack:
            current = stack.pop()
            for user in current.users:
                if user.op != "output" and not tensors_in(user.meta[VALUE]):
                    continue
                axis = spec_of(user).output_axis
                if axis is not None and weight_node(user) is current:
                    axes.add(None if current is node else axis)
                elif user not in self._static:
                    return None
                elif user not in seen:
                    seen.add(user)
                    stack.append(user)
        return axes.pop() if len(axes) == 1 else None

    def _note_elementwise(self, weight: fx.Node) -> None:
        """Note a weight or bias that is computed element by element: a mask, a scale, another type."""
        if weight in self.elementwise:
            return
        chain, stack = {weight}, [weight]
        while stack:
            node = stack.pop()
            if not tensors_in(node.meta[VALUE]):
                continue
            if node.op != "get_attr" and not spec_of(node).computes_weights:
                return
            for source in node.all_input_nodes:
                if source not in chain:
                    chain.add(source)
                    stack.append(source)
        sources = [n for n in chain if n.op == "get_attr"]
        names = [self._names.read_by(n) for n in sources]
        shape = weight.meta[VALUE].shape
        users = {user for n in chain for user in n.users} - chain
        if (
            None in names
            or not all(tensors_in(n.meta[VALUE]) for n in chain)
            or not all(is_weight_argument(user, n) for n in chain for user in n.users if user in users)
            or not all(n.meta[VALUE].dim() in (0, len(shape)) for n in chain)
        ):
            return
        full_size = [
            str(name) for n, name in zip(sources, names, strict=True) if n.meta[VALUE].shape == shape
        ]
        parameters = [name for name in full_size if isinstance(self._names.tensors[name], nn.Parameter)]
        if not parameters:
            return
        self.elementwise[weight] = parameters[0]
        partners = self.partners.setdefault(parameters[0], [])
        partners += [str(name) for name in names if name != parameters[0] and name not in partners]
        self.planes |= {n for n in chain if n.op == "get_attr"}
        self.computing |= chain - self.planes
