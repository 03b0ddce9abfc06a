"""Walk a record once, in the order of its calls, with labels in place of numbers."""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.flow import OUTPUT, Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.nodes import is_weight_argument
from edgeprune.graph.ops import op_name
from edgeprune.recording.record import VALUE, WRITES

Rule = Callable[[Flow, Call], Any]


class Walk:
    """Gives each node its labels: inputs and parameters new ones, calls those that their rules give."""

    def __init__(
        self,
        flow: Flow,
        apply_rule: Rule,
        *,
        knows: Callable[[str], bool] | None = None,
        input_labels: dict[str, Any] | None = None,
        known: dict[fx.Node, Any] | None = None,
    ) -> None:
        """Prepare a walk that writes into ``flow``.

        Args:
            flow: what the rules write down.
            apply_rule: gives the labels of a call's result.
            knows: tells of an operation's name whether it has a rule; None: all have.
            input_labels: by placeholder, where the graph is a part of a network; its inputs and outputs are then not
                protected.
            known: labels of calls that are not looked into.
        """
        self._flow, self._apply_rule, self._knows = flow, apply_rule, knows
        self._input_labels, self._known = input_labels or {}, known or {}

    def run(self) -> Flow:
        """Visit every node in order; return the flow."""
        compressed: set[int] = set()  # ids of what is among the values
        for node in self._flow.module.graph.nodes:
            labels = self._step(node)
            if id(labels) not in compressed:
                labels = lb.compress(labels)
                compressed.add(id(labels))
            self._flow.values[node] = labels
        return self._flow

    def _step(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return (
                self._input_labels[str(node.target)]
                if self._input_labels
                else self._input(node, node.meta[VALUE])
            )
        if node.op == "get_attr":
            return self._get_attr(node)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._flow.values[n])
        if node.op == "output":
            if not self._input_labels:
                self._flow.protect(args, OUTPUT, node)
            return None
        if node.op == "call_module" and not node.users:
            self._flow.writing.append(node)  # it runs for what it does besides
        if node in self._known:
            return self._known[node]
        result = self._apply_rule(self._flow, Call(node, args, kwargs, self._flow.layers.get(node), ""))
        if WRITES in node.meta:
            self._flow.writing.append(node)
            self._protect_views(node, result)
        return result

    def _protect_views(self, node: fx.Node, result: Any) -> None:
        """Tie what is written into memory with other names to its former content, so that these names stay valid.

        Only where constants were there do those names not know of the channels that have come.
        """
        before = self._flow.values[node.meta[WRITES][-1]]
        if isinstance(result, Tensor) and isinstance(before, Tensor) and lb.matches(result, before):
            return
        for labels in (result, *(self._flow.values[written] for written in node.meta[WRITES])):
            self._flow.protect(labels, "a tensor is written into while other views of it are in use", node)

    def _input(self, node: fx.Node, value: Any) -> Any:
        if isinstance(value, (tuple, list, dict)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            inside = {key: self._input(node, item) for key, item in items}
            return inside if isinstance(value, dict) else tuple(inside.values())
        if not isinstance(value, Tensor):
            return value
        axis = min(1, value.dim() - 1)
        if axis < 0:
            return torch.zeros((), dtype=torch.long)
        labels = lb.spread(self._flow.fresh(value.shape[axis]), axis, tuple(value.shape))
        self._flow.protect(labels, "input of the network", node)
        return labels

    def _get_attr(self, node: fx.Node) -> Any:
        value = node.meta[VALUE]
        name = self._flow.names.read_by(node)
        if not isinstance(value, Tensor):
            return value
        users = [user for user in node.users if tensors_in(user.meta.get(VALUE)) or user.op == "output"]
        if (
            users
            and all(is_weight_argument(user, node) for user in users)
            or node in self._flow.weights.planes
        ):
            return None
        if name is None or not value.is_floating_point() or not any(self._has_rule(user) for user in users):
            return lb.constants_like(value)
        axis = self._flow.weights.axis_made_by(node)
        if axis is not None and name not in self._flow.attributes:
            return lb.spread(
                self._flow.output_labels(name, axis, value.shape[axis]), axis, tuple(value.shape)
            )
        if name not in self._flow.attributes:
            self._flow.attributes[name] = self._flow.fresh(value.numel()).view(value.shape)
        return self._flow.attributes[name]

    def _has_rule(self, node: fx.Node) -> bool:
        """Tell whether a rule exists for the channels that reach ``node``."""
        return self._knows is None or node.op != "call_function" or self._knows(op_name(node))
