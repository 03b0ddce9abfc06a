"""Replace a chain of movers by one gather, where the survivors have no grid inside it."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.survivors import is_broken
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.onnx_graph.label_runs import LabelRunner
from edgeprune.onnx_graph.ops import MOVERS


class Regathering:
    """Picks channels at the end of a chain from the last value before it that has a grid.

    ``replaced`` are the nodes that may be left out, by their first output: movers inside such chains.
    """

    def __init__(self, values: CutValues, runner: LabelRunner) -> None:
        self._values, self._runner = values, runner
        self._actual, self._before = values.actual, values.before.labels
        self.replaced: set[str] = set()
        self._made_by = {
            name: node for node, path in values.network.steps if path is not None for name in node.output
        }

    def after_broken(self, node: NodeProto, expected: dict[str, Any]) -> None:
        """Follow a mover inside a chain; at the chain's end put the gather. Raises Immovable where there is none."""
        data = [name for name in node.input if name in self._actual]
        if all(map(is_broken, expected.values())):
            if len(data) != 1:
                raise self._values.refusal(
                    [*data, *expected], node, "channels of several tensors are mixed there"
                )
            return
        self.regather(node, expected)

    def regather(self, node: NodeProto, expected: dict[str, Any]) -> None:
        """Let each result be channels of the last value before the chain that has a grid."""
        chain, origin = self._chain(node)
        names = [name for name in node.output if name]
        taken = self._positions(chain, origin)
        labels = self._before[origin]
        for number, name in enumerate(names):
            selection = None if taken is None else self._selection(taken[number], origin, name)
            refusal = self._values.refusal([origin, name], node, "they cannot be moved out exactly there")
            if selection is None or labels.dim() != self._before[name].dim():
                raise refusal
            axis, index = selection
            arrived = self._actual[origin].index_select(axis, torch.from_numpy(index))
            if not lb.matches(arrived, expected[name]):
                raise refusal
            self._values.edits.gather(node.output[0], origin, index, axis, name)
        self.replaced |= {step.output[0] for step in chain[:-1]}

    def _chain(self, node: NodeProto) -> tuple[list[NodeProto], str]:
        """Return the movers from the last value with a grid down to a node, and that value."""
        chain = [node]
        while True:
            data = [name for name in chain[0].input if name in self._actual]
            if len(data) != 1:
                raise self._values.refusal(
                    [*data, *filter(None, node.output)], node, "they cannot be moved out exactly there"
                )
            if not is_broken(self._actual[data[0]]):
                return chain, data[0]
            maker = self._made_by[data[0]]
            if maker.op_type not in MOVERS:
                raise self._values.refusal([data[0]], node, "they cannot be moved out exactly there")
            chain.insert(0, maker)

    def _positions(self, chain: list[NodeProto], origin: str) -> tuple[Tensor, ...] | None:
        """Return what the original chain makes of numbers that name each element of its origin."""
        shape = tuple(self._before[origin].shape)
        elements: dict[str, Any] = {origin: torch.arange(torch.Size(shape).numel()).view(shape)}
        result: tuple[Tensor, ...] | None = None
        for step in chain:
            result = self._runner.run(
                step, self._values.network.module_of[step.output[0]], elements, {}, original=True
            )
            if result is None:
                return None
            elements.update(zip((name for name in step.output if name), result, strict=False))
        return result

    def _selection(self, moved: Tensor, origin: str, name: str) -> tuple[int, NDArray[np.int64]] | None:
        """Return axis and positions in the cut origin that give the cut result, where one axis suffices."""
        labels, result = self._before[origin], self._before[name]
        wide, before, after = (
            lb.wide_axes(labels),
            self._values.survivors.index(labels),
            self._values.survivors.index(result),
        )
        if len(wide) != 1 or before is None or after is None or moved.dim() != labels.dim():
            return None
        axis, shape = wide[0], tuple(labels.shape)
        every = torch.arange(torch.Size(shape).numel()).view(shape)
        line = moved.movedim(axis, 0).reshape(moved.shape[axis], -1)[:, 0]
        along = torch.div(line, every.stride(axis), rounding_mode="floor") % shape[axis]
        same = every.index_select(axis, along)
        if moved.shape != same.shape or not bool((moved == same).all()):
            return None
        place = {int(i): position for position, i in enumerate(before[axis].tolist())}
        picked = [place.get(int(along[i]), -1) for i in after[axis].tolist()]
        return None if -1 in picked else (axis, np.array(picked, dtype=np.int64))
