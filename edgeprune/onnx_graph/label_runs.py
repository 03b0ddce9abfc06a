"""Run single movers of a file on labels, or on numbers that name elements."""

from typing import Any

import numpy as np
from onnx import NodeProto

from edgeprune.graph import labels as lb
from edgeprune.graph.survivors import is_broken
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.onnx_graph.operands import NotCovered, Operands, attributes_of
from edgeprune.onnx_graph.ops import OPS


class LabelRunner:
    """Runs the movers of a file that is being cut."""

    def __init__(self, values: CutValues) -> None:
        self._values, self._actual = values, values.actual

    def moves_right(
        self, node: NodeProto, path: str, expected: dict[str, Any], changes: dict[str | int, Any]
    ) -> bool:
        """Return whether a mover gives the labels that must arrive, with some of its numbers changed.

        Args:
            node: the mover.
            path: of its module.
            expected: labels of its results.
            changes: attributes by name and inputs by position.
        """
        moved = self.run(node, path, self._actual, changes)
        names = [name for name in node.output if name]
        return moved is not None and all(
            lb.matches(part, expected[name]) for part, name in zip(moved, names, strict=False)
        )

    def run(
        self,
        node: NodeProto,
        path: str,
        tensors: dict[str, Any],
        changes: dict[str | int, Any],
        original: bool = False,
    ) -> tuple[Any, ...] | None:
        """Run a mover on labels, or on numbers that name elements; None where it cannot.

        Args:
            node: the mover.
            path: of its module.
            tensors: what it is given, by name.
            changes: attributes by name and inputs by position that are others than in the file.
            original: sizes and parameters are those of the uncut file.
        """
        attributes = {**attributes_of(node), **{k: v for k, v in changes.items() if isinstance(k, str)}}
        for name in [name for name, value in attributes.items() if value is None]:
            del attributes[name]
        count = max([len(node.input), *(k + 1 for k in changes if isinstance(k, int))])
        inputs = [self.operand(node, path, place, tensors, original) for place in range(len(node.input))]
        inputs += [None] * (count - len(inputs))
        for place, value in changes.items():
            if isinstance(place, int):
                inputs[place] = value
        if any(is_broken(value) for value in inputs if not isinstance(value, np.ndarray)):
            return None

        def call(*values: Any) -> Any:
            if node.op_type == "Concat":
                return lb.cat(list(values), attributes["axis"])
            return OPS[node.op_type](Operands(node, attributes, values, self._values.network.file.opset))

        try:
            result = lb.run_on_labels(call, tuple(inputs), {})
        except (RuntimeError, IndexError, ValueError, TypeError, NotCovered):
            return None
        return result if isinstance(result, tuple) else (result,)

    def operand(self, node: NodeProto, path: str, place: int, tensors: dict[str, Any], original: bool) -> Any:
        """Return one operand of a node; None where it has none there.

        Args:
            node: the node.
            path: of its module.
            place: of the operand among its inputs.
            tensors: labels by name.
            original: sizes and parameters are those of the uncut file.
        """
        name = node.input[place]
        if not name:
            return None
        if name in tensors:
            return tensors[name]
        held = self._values.network.held(path, place)
        if held is not None:
            labels = self._values.before.of_parameter(f"{path}.{held[0]}", held[1])
            return labels if original else self._values.survivors.of(labels)
        if original:
            return (
                self._values.trace.hosts.get(name, None)
                if name in self._values.trace.hosts
                else self._values.network.file.array(name)
            )
        return self._values.numbers(name)
