"""Values of a file that is being cut: what channels and numbers each has by now, and what may not be changed."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto
from torch import Tensor

from edgeprune.errors import PlanError
from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ordering import channel_orders
from edgeprune.graph.plan import Plan
from edgeprune.graph.survivors import Immovable, Survivors, is_broken
from edgeprune.onnx_graph.edits import Edits
from edgeprune.onnx_graph.network import OnnxNetwork, Trace
from edgeprune.onnx_graph.values import Values


class CutValues:
    """The values of one attempt at a keep-plan, and the edits that it makes.

    Attributes:
        network: of the file.
        graph: its coupled channels.
        before: labels of the uncut file's values.
        trace: a run of the uncut file.
        other: one with inputs of other sizes, or the same.
        orders: in which order channels are written.
        survivors: what stays of each label tensor.
        edits: of the copy that is cut.
        actual: labels of values as they are in the cut file.
        hosts: sizes and other numbers, as the cut file computes them.
    """

    def __init__(
        self, network: OnnxNetwork, graph: Graph, plan: Plan, before: Values, trace: Trace, other: Trace
    ) -> None:
        """Begin with the inputs of the network.

        Args:
            network: of the file.
            graph: its coupled channels.
            plan: which are kept.
            before: labels of the uncut file's values.
            trace: a run of the uncut file.
            other: one with inputs of other sizes, or the same.
        """
        self.network, self.graph, self.before = network, graph, before
        self.trace, self.other = trace, other
        self.orders = {} if plan.keep.all() else channel_orders(graph, plan.keep)
        self.survivors = Survivors(graph, plan.keep, self.orders)
        self.edits = Edits(network.file)
        self.actual: dict[str, Any] = {
            name: self.survivors.of(before.labels[name]) for name in network.inputs
        }
        self.hosts: dict[str, NDArray[Any]] = {}

    def numbers(self, name: str) -> NDArray[Any]:
        """Return sizes, or a constant, as the cut file has them."""
        return self.hosts[name] if name in self.hosts else self.network.file.array(name)

    def refuse_empty(self, classes: NDArray[np.int64], name: str) -> None:
        """Keep one of some pruned classes, for the layer that has tensor ``name``; raises Immovable."""
        used = classes[classes >= 0]
        raise Immovable(used[:1], name.rpartition(".")[0], "a layer needs at least one channel")

    def check_not_empty(self, name: str, expected: Any, path: str) -> None:
        """Refuse a value without elements that had some.

        Args:
            name: of the value.
            expected: its labels in the cut file.
            path: of the module that makes it.

        Raises:
            Immovable: it would be empty.
        """
        if isinstance(expected, Tensor) and expected.numel() == 0 and self.before.labels[name].numel():
            classes = self.graph.classes_of(lb.core(self.before.labels[name])).reshape(-1)
            self.refuse_empty(classes, f"{path}.")

    def is_whole(self, name: str) -> bool:
        """Return whether a value loses nothing, and keeps its order."""
        labels, actual = self.before.labels[name], self.actual.get(name)
        after = self.survivors.of(labels) if actual is None else actual
        return not is_broken(after) and lb.matches(after, labels)

    def refusal(self, names: list[str], node: NodeProto, why: str) -> Immovable:
        """Return the error that keeps all channels of some values.

        Args:
            names: of the values.
            node: that cannot do without them.
            why: the reason, for the report.
        """
        vectors = [
            self.graph.classes_of(lb.core(t)).reshape(-1)
            for n in names
            for t in tensors_in(self.before.labels[n])
        ]
        classes = np.unique(np.concatenate(vectors)) if vectors else np.zeros(0, dtype=np.int64)
        return Immovable(classes[classes >= 0], node.name or node.output[0], why)

    def overwrite(self, node: NodeProto, position: int, sizes: dict[int, int]) -> NDArray[Any] | None:
        """Return the numbers at an input with some of them replaced, and note the change; None where that is unsafe.

        Args:
            node: the node.
            position: of the input that holds them.
            sizes: place -> what must stand there.
        """
        now = self.numbers(node.input[position])
        new = now.copy()
        for place, size in sizes.items():
            new[place] = size
        changed = new != now
        if not changed.any():
            return now
        name = node.input[position]
        if name in self.trace.hosts and not self._is_fixed(name, changed):
            return None
        self.edits.overwrite_numbers(node.output[0], position, new, changed)
        return new

    def keep_factors(self, node: NodeProto) -> None:
        """Let a node compute with the numbers of the original where the cut file would get others from its sizes.

        Args:
            node: one of arithmetic, such as a division by the square root of a width.

        Raises:
            PlanError: the numbers depend on the sizes of the inputs.
        """
        for position, name in enumerate(node.input):
            if name not in self.hosts or name not in self.trace.hosts:
                continue
            new, now = self.trace.hosts[name], self.hosts[name]
            if np.array_equal(new, now):
                continue
            changed = np.asarray(np.not_equal(new, now)) if new.shape == now.shape else np.zeros(0, bool)
            if not changed.size or not self._is_fixed(name, changed):
                raise PlanError(
                    f"{node.name or node.output[0]} computes with numbers that follow from what is cut and from the "
                    "sizes of the inputs: protect its layers with ignore="
                )
            self.edits.overwrite_numbers(node.output[0], position, new, changed)

    def _is_fixed(self, name: str, changed: NDArray[np.bool_]) -> bool:
        """Return whether the numbers that change are the same for inputs of other sizes."""
        a, b = self.trace.hosts[name], self.other.hosts[name]
        return a.shape == b.shape and bool((a == b)[changed].all())
