"""Apply a keep-plan to an ONNX file: constants are sliced, and numbers in nodes that hold widths are made to fit."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from onnx import NodeProto, helper
from torch import Tensor

from edgeprune.files.onnx_nodes import names_read
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.graph.survivors import Immovable, is_broken, left_alone
from edgeprune.onnx_graph.cut_constants import cut_constants
from edgeprune.onnx_graph.cut_movers import MoverCutter
from edgeprune.onnx_graph.cut_pads import cut_pad
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from edgeprune.onnx_graph.numbers import evaluated, sizes_of
from edgeprune.onnx_graph.operands import attributes_of
from edgeprune.onnx_graph.ops import ELEMENTWISE, MOVERS
from edgeprune.onnx_graph.values import Values
from edgeprune.recording.record import CALL
from edgeprune.rewrite.proof import prove

# What they compute with is content, not a size, also where a size was turned into it.
_TAKE_CONTENT = ELEMENTWISE | {"Mod", "Clip"}


@dataclass(frozen=True)
class CutFile:
    """A file without the pruned channels, its network, and the plan as it was carried out."""

    file: OnnxFile
    network: OnnxNetwork
    plan: Plan


def cut_file(
    network: OnnxNetwork, graph: Graph, plan: Plan, second: tuple[Tensor, ...] | None = None
) -> CutFile:
    """Cut the dropped channels out of a copy of the network's file, and prove it.

    Weights are the network's own: those that were changed since it was read are written as they are now.

    Args:
        network: of the file.
        graph: its coupled channels.
        plan: which are kept.
        second: inputs of other sizes, where the file has dynamic axes: numbers that differ between the two runs
            follow from sizes, and are left as they are computed.

    Raises:
        PlanError: ``plan`` was made for another network, or the result cannot be proved.
    """
    plan.check(graph)
    trace = network.trace(*graph.inputs)
    other = network.trace(*second) if second is not None else trace
    values = Values(network, graph, trace)
    while True:
        try:
            file = _Cut(CutValues(network, graph, plan, values, trace, other), plan).run()
            break
        except Immovable as immovable:
            plan = left_alone(plan, immovable)
    cut = network_of(file, *graph.inputs)
    cut.to(next((p.dtype for p in network.parameters()), torch.float32))
    prove(graph, plan, cut, ())
    return CutFile(file, cut, plan)


class _Cut:
    """One attempt at a keep-plan: goes over the nodes in the order in which they run."""

    def __init__(self, values: CutValues, plan: Plan) -> None:
        self._values, self._plan = values, plan
        self._actual, self._before = values.actual, values.before.labels
        self._movers = MoverCutter(values)
        self._remaps = {remap.node.meta[CALL].path: remap for remap in values.graph.flow.remaps}
        self._mixers = {consumer.node.meta[CALL].path for consumer in values.graph.flow.consumers}

    def run(self) -> OnnxFile:
        """Return the cut file; raises Immovable for channels that have to stay."""
        cut_constants(self._values, self._plan.keep)
        for node, path in self._values.network.steps:
            if path is None:
                self._numbers(node)
            else:
                self._node(node, path)
        _write_shapes(self._values)
        return self._values.edits.finish(
            {*self._movers.regathering.replaced, *self._values.network.aliases_read}
        )

    # --- nodes ---------------------------------------------------------------------------------------

    def _numbers(self, node: NodeProto) -> None:
        """Compute sizes as the cut file does."""
        sized = sizes_of(
            node,
            lambda name: self._actual[name] if name in self._actual else self._values.numbers(name),
        )
        if sized is None:
            inputs = {name: self._values.numbers(name) for name in node.input if name}
            sized = evaluated(node, inputs, self._values.network.file, {})
        self._values.hosts.update(zip(node.output, sized, strict=False))

    def _node(self, node: NodeProto, path: str) -> None:
        outputs = [name for name in node.output if name]
        expected = {name: self._values.survivors.of(self._before[name]) for name in outputs}
        sources = [name for name in names_read(node) if name in self._actual]
        for name in outputs:
            self._values.check_not_empty(name, expected[name], path)
        unchanged = all(self._values.is_whole(name) for name in [*sources, *outputs])
        if not unchanged or self._is_renumbered(node):
            if path in self._remaps:
                cut_pad(self._values, node, self._remaps[path])
            elif node.op_type in MOVERS:
                self._movers.move(node, path, expected)
            elif node.op_type == "ReduceMean" and path in self._mixers:
                self._mean(node)
            elif node.op_type in _TAKE_CONTENT:
                self._values.keep_factors(node)
            else:
                self._keep_numbers(node, sources, expected)
        self._actual.update(expected)

    def _is_renumbered(self, node: NodeProto) -> bool:
        """Return whether a node is given sizes that are computed from what was cut elsewhere."""
        hosts, before = self._values.hosts, self._values.trace.hosts
        return any(
            name in hosts and name in before and not np.array_equal(hosts[name], before[name])
            for name in node.input
        )

    def _mean(self, node: NodeProto) -> None:
        """Let a mean over channels divide by their original number, since the masked network's does."""
        before, after = self._before[node.input[0]].numel(), self._actual[node.input[0]].numel()
        if before == after:
            return
        key, edits = node.output[0], self._values.edits
        mean = edits.free_name(f"{key}_of_kept")
        edits.node(key).output[0] = mean
        share = edits.file.add(f"{mean}_share", np.array(after / before, edits.file.float_type))
        edits.insert_after(key, helper.make_node("Mul", [mean, share], [key], name=f"{mean}_scaled"))

    def _keep_numbers(self, node: NodeProto, sources: list[str], expected: dict[str, Any]) -> None:
        """Make the numbers of a node that moves nothing agree with its channels: groups, sizes."""
        names = [*sources, *expected]
        if any(is_broken(self._actual[name]) for name in sources) or any(map(is_broken, expected.values())):
            raise self._values.refusal(names, node, "channels are mixed with positions there")
        if node.op_type in ("Conv", "ConvTranspose"):
            group = attributes_of(node).get("group", 1)
            channels = self._before[node.input[0]].shape[1]
            if group > 1 and group == channels:
                self._values.edits.set_attribute(
                    node.output[0], "group", int(self._actual[node.input[0]].shape[1])
                )
        elif node.op_type in ("Resize", "Upsample") and len(node.input) > 3 and node.input[3]:
            self._resize(node, expected[node.output[0]])
        elif node.op_type == "GroupNormalization":
            channels = self._before[node.input[0]].shape[1]
            groups = attributes_of(node)["num_groups"]
            left = int(self._actual[node.input[0]].shape[1])
            self._values.edits.set_attribute(node.output[0], "num_groups", groups * left // channels)

    def _resize(self, node: NodeProto, expected: Tensor) -> None:
        axes = attributes_of(node).get("axes", list(range(expected.dim())))
        self._values.overwrite(node, 3, {place: int(expected.shape[axis]) for place, axis in enumerate(axes)})


def _write_shapes(values: CutValues) -> None:
    """Make the shapes that are written in the file agree."""
    file = values.edits.file
    for value in [*file.model.graph.value_info, *file.model.graph.input]:
        dims = value.type.tensor_type.shape.dim
        before, after = _shapes_of(values, value.name)
        if len(dims) != len(before) or len(before) != len(after):
            continue
        for dim, size, left in zip(dims, before, after, strict=True):
            if size != left and dim.HasField("dim_value"):
                dim.dim_value = left


def _shapes_of(values: CutValues, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of a value before and after."""
    if values.edits.file.is_constant(name) and values.network.file.is_constant(name):
        return values.network.file.array(name).shape, values.edits.file.array(name).shape
    labels, actual = values.before.labels.get(name), values.actual.get(name)
    if isinstance(labels, Tensor) and isinstance(actual, Tensor):
        return tuple(labels.shape), tuple(actual.shape)
    return (), ()
