"""Cut nodes that move elements: their sizes, splits and indices are made to fit what is left."""

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import NodeProto
from torch import Tensor

from edgeprune.graph.survivors import is_broken
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.onnx_graph.label_runs import LabelRunner
from edgeprune.onnx_graph.operands import attributes_of
from edgeprune.onnx_graph.regathering import Regathering


class MoverCutter:
    """Changes the numbers of movers; what no numbers can do becomes a gather."""

    def __init__(self, values: CutValues) -> None:
        self._values, self._runner = values, LabelRunner(values)
        self._actual, self._before = values.actual, values.before.labels
        self.regathering = Regathering(values, self._runner)

    def move(self, node: NodeProto, path: str, expected: dict[str, Any]) -> None:
        """Make a mover move what is left; a chain that has no grid inside becomes one gather at its end.

        Args:
            node: the mover.
            path: of its module.
            expected: labels that its results must have.

        Raises:
            Immovable: it cannot; these channels have to stay.
        """
        names = [name for name in node.input if name in self._actual]
        if any(is_broken(self._actual[name]) for name in names) or is_broken(list(expected.values())):
            self.regathering.after_broken(node, expected)
            return
        if self._runner.moves_right(node, path, expected, {}):
            return
        attempt = _ATTEMPTS.get(node.op_type)
        if attempt is not None and attempt(self, node, path, expected):
            return
        self.regathering.regather(node, expected)

    def _reshape(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        target = expected[node.output[0]].shape
        now = self._values.numbers(node.input[1]).reshape(-1)
        same = 0 if node.op_type == "Reshape" and not attributes_of(node).get("allowzero", 0) else None
        free = (-1,) if node.op_type == "Reshape" else (1,)
        source = self._runner.operand(node, path, 0, self._actual, original=False)
        if len(now) != len(target) or not isinstance(source, Tensor):
            return False
        sizes = {}
        for place, size in enumerate(now.tolist()):
            copied = same is not None and size == same
            value = source.shape[place] if copied and place < source.dim() else size
            if value not in (*free, target[place]):
                sizes[place] = int(target[place])
        new = now.copy()
        for place, size in sizes.items():
            new[place] = size
        if not self._runner.moves_right(node, path, expected, {1: new}):
            return False
        return self._values.overwrite(node, 1, sizes) is not None

    def _split(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        axis = attributes_of(node).get("axis", 0)
        names = [name for name in node.output if name]
        sizes = np.array([int(expected[name].shape[axis]) for name in names], dtype=np.int64)
        key = node.output[0]
        if (
            not self._runner.moves_right(node, path, expected, {1: sizes, "num_outputs": None})
            or not (sizes > 0).all()
        ):
            return False
        if self._values.network.file.opset < 13:
            self._values.edits.set_attribute(key, "split", sizes.tolist())
            return True
        self._values.edits.set_attribute(key, "num_outputs", None)
        self._values.edits.set_input(key, 1, sizes, "sizes")
        return True

    def _gather(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        """Gather by constant indices: by where these channels are now."""
        if node.input[1] in self._actual or node.input[0] not in self._actual:
            return False
        labels = self._before[node.input[0]]
        axis = attributes_of(node).get("axis", 0) % labels.dim()
        before = self._values.survivors.index(labels)
        index = self._values.numbers(node.input[1])
        if before is None:
            return False
        place = {int(i): position for position, i in enumerate(before[axis].tolist())}
        flat = [int(i) % labels.shape[axis] for i in index.reshape(-1)]
        if index.ndim > 1 and any(i not in place for i in flat):
            return False
        left = np.array([place[i] for i in flat if i in place], dtype=index.dtype)
        left = left.reshape(index.shape) if index.ndim != 1 else left
        if index.ndim == 0 and not left.size or not self._runner.moves_right(node, path, expected, {1: left}):
            return False
        self._values.edits.set_input(node.output[0], 1, left, "channels")
        return True


_ATTEMPTS: dict[str, Callable[[MoverCutter, NodeProto, str, dict[str, Any]], bool]] = {
    "Reshape": MoverCutter._reshape,
    "Expand": MoverCutter._reshape,
    "Split": MoverCutter._split,
    "Gather": MoverCutter._gather,
}
