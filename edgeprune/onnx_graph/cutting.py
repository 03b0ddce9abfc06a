"""Apply a keep-plan to an ONNX file: constants are sliced, and numbers in nodes that hold widths are made to fit."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import NodeProto, helper
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Remap
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ordering import channel_orders
from edgeprune.graph.plan import Plan
from edgeprune.graph.survivors import Immovable, Survivors, is_broken, left_alone
from edgeprune.onnx_graph.alone import names_read
from edgeprune.onnx_graph.edits import Edits
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import OnnxNetwork, Trace, network_of
from edgeprune.onnx_graph.numbers import evaluated, sizes_of
from edgeprune.onnx_graph.operands import NotCovered, Operands, attributes_of
from edgeprune.onnx_graph.ops import MOVERS, OPS
from edgeprune.onnx_graph.values import Values
from edgeprune.recording.record import CALL
from edgeprune.rewrite.proof import prove
from edgeprune.rewrite.tensors import kept_indices


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
            file = _Cut(network, graph, plan, values, trace, other).run()
            break
        except Immovable as immovable:
            plan = left_alone(plan, immovable)
    cut = network_of(file, *graph.inputs)
    cut.to(next((p.dtype for p in network.parameters()), torch.float32))
    prove(graph, plan, cut, ())
    return CutFile(file, cut, plan)


class _Cut:
    """One attempt at a keep-plan; ``actual`` holds the labels of values as they are in the cut file."""

    def __init__(
        self, network: OnnxNetwork, graph: Graph, plan: Plan, values: Values, trace: Trace, other: Trace
    ) -> None:
        self.network, self.graph, self.plan = network, graph, plan
        self.values, self.trace, self.other = values, trace, other
        reorders = bool(graph.flow.remaps) and not plan.keep.all()
        self.orders = channel_orders(graph, plan.keep) if reorders else {}
        self.survivors = Survivors(graph, plan.keep, self.orders)
        self.edits = Edits(network.file)
        self.actual: dict[str, Any] = {
            name: self.survivors.of(values.labels[name]) for name in network.inputs
        }
        self.hosts: dict[str, NDArray[Any]] = {}
        self.remaps = {remap.node.meta[CALL].path: remap for remap in graph.flow.remaps}
        self.replaced: set[str] = (
            set()
        )  # nodes that may be left out: movers inside a chain that a gather replaced
        self.made_by = {
            name: node for node, path in network.steps if path is not None for name in node.output
        }

    def run(self) -> OnnxFile:
        """Return the cut file; raises Immovable for channels that have to stay."""
        self._constants()
        for node, path in self.network.steps:
            if path is None:
                self._numbers(node)
            else:
                self._node(node, path)
        self._shapes()
        return self.edits.finish(self.replaced)

    # --- constants -----------------------------------------------------------------------------------

    def _constants(self) -> None:
        """Cut the constants; readers of one constant that need different parts of it get copies of their own."""
        kept = kept_indices(self.graph, self.plan.keep, self.orders)
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        parts: dict[str, list[tuple[str, NDArray[Any]]]] = defaultdict(list)
        for name, form in self.network.forms.items():
            array = self.network.written(name, tensors[name])
            for axis, index in sorted(kept.get(name, {}).items()):
                if not len(index):
                    self._refuse_empty(self.graph.param_axes[name, axis], name)
                array = np.take(array, index, form.axes[axis])
            parts[form.constant].append((name, array))
        for constant, readers in parts.items():
            self._put(constant, readers)

    def _refuse_empty(self, classes: NDArray[np.int64], name: str) -> None:
        used = classes[classes >= 0]
        raise Immovable(used[:1], name.rpartition(".")[0], "a layer needs at least one channel")

    def _put(self, constant: str, readers: list[tuple[str, NDArray[Any]]]) -> None:
        """Write what the readers of a constant need of it: once where that is the same."""
        before = self.network.file.array(constant)
        distinct: list[tuple[NDArray[Any], str]] = []
        # A node that is run alone finds the constant by its name, so that its part keeps the name.
        fixed = [name for name, _ in readers if self.network.forms[name].position is None]
        others = [
            name
            for name in self.network.readers_of(constant)
            if name not in {self.network.forms[n].reader for n, _ in readers}
        ]
        if fixed or others:
            distinct.append((before, constant))
        for name, array in readers:
            form = self.network.forms[name]
            known = next((label for part, label in distinct if _equal(part, array)), None)
            if known is None:
                known = constant if not distinct else self.edits.file.add(constant, array, like=constant)
                distinct.append((array, known))
                if known == constant and array is not before and not _equal(array, before):
                    self.edits.file.put(constant, array)
            if form.position is not None and known != constant:
                self.edits.rewire(form.reader, form.position, known)

    # --- nodes ---------------------------------------------------------------------------------------

    def _numbers(self, node: NodeProto) -> None:
        """Compute sizes as the cut file does."""
        sized = sizes_of(node, lambda name: self.actual[name] if name in self.actual else self._host(name))
        if sized is None:
            inputs = {name: self._host(name) for name in node.input if name}
            sized = evaluated(node, inputs, self.network.file, {})
        self.hosts.update(zip(node.output, sized, strict=False))

    def _host(self, name: str) -> NDArray[Any]:
        return self.hosts[name] if name in self.hosts else self.network.file.array(name)

    def _node(self, node: NodeProto, path: str) -> None:
        outputs = [name for name in node.output if name]
        expected = {name: self.survivors.of(self.values.labels[name]) for name in outputs}
        sources = [name for name in names_read(node) if name in self.actual]
        for name in outputs:
            self._check_not_empty(name, expected[name], path)
        unchanged = all(self._is_whole(name) for name in [*sources, *outputs])
        if not unchanged:
            if path in self.remaps:
                self._remap(node, self.remaps[path])
            elif node.op_type in MOVERS:
                self._move(node, path, expected)
            else:
                self._keep_numbers(node, sources, expected)
        self.actual.update(expected)

    def _check_not_empty(self, name: str, expected: Any, path: str) -> None:
        if isinstance(expected, Tensor) and expected.numel() == 0 and self.values.labels[name].numel():
            classes = self.graph.classes_of(lb.core(self.values.labels[name])).reshape(-1)
            self._refuse_empty(classes, f"{path}.")

    def _is_whole(self, name: str) -> bool:
        """Return whether a value loses nothing, and keeps its order."""
        labels, actual = self.values.labels[name], self.actual.get(name)
        after = self.survivors.of(labels) if actual is None else actual
        return not is_broken(after) and lb.matches(after, labels)

    def _refuse(self, names: list[str], node: NodeProto, why: str) -> Immovable:
        vectors = [
            self.graph.classes_of(lb.core(t)).reshape(-1)
            for n in names
            for t in tensors_in(self.values.labels[n])
        ]
        classes = np.unique(np.concatenate(vectors)) if vectors else np.zeros(0, dtype=np.int64)
        return Immovable(classes[classes >= 0], node.name or node.output[0], why)

    def _keep_numbers(self, node: NodeProto, sources: list[str], expected: dict[str, Any]) -> None:
        """Make the numbers of a node that moves nothing agree with its channels: groups, sizes."""
        names = [*sources, *expected]
        if any(is_broken(self.actual[name]) for name in sources) or any(map(is_broken, expected.values())):
            raise self._refuse(names, node, "channels are mixed with positions there")
        if node.op_type in ("Conv", "ConvTranspose"):
            group = attributes_of(node).get("group", 1)
            channels = self.values.labels[node.input[0]].shape[1]
            if group > 1 and group == channels:
                self.edits.set_attribute(node.output[0], "group", int(self.actual[node.input[0]].shape[1]))
        elif node.op_type in ("Resize", "Upsample") and len(node.input) > 3 and node.input[3]:
            self._resize(node, expected[node.output[0]])
        elif node.op_type == "GroupNormalization":
            channels = self.values.labels[node.input[0]].shape[1]
            groups = attributes_of(node)["num_groups"]
            left = int(self.actual[node.input[0]].shape[1])
            self.edits.set_attribute(node.output[0], "num_groups", groups * left // channels)

    def _resize(self, node: NodeProto, expected: Tensor) -> None:
        axes = attributes_of(node).get("axes", list(range(expected.dim())))
        self._overwrite(node, 3, {place: int(expected.shape[axis]) for place, axis in enumerate(axes)})

    # --- movers --------------------------------------------------------------------------------------

    def _move(self, node: NodeProto, path: str, expected: dict[str, Any]) -> None:
        """Make a mover move what is left; a chain that has no grid inside becomes one gather at its end."""
        names = [name for name in node.input if name in self.actual]
        if any(is_broken(self.actual[name]) for name in names) or is_broken(list(expected.values())):
            self._after_broken(node, expected)
            return
        if self._moves_right(node, path, expected, {}):
            return
        attempt = _ATTEMPTS.get(node.op_type)
        if attempt is not None and attempt(self, node, path, expected):
            return
        self._regather(node, expected)

    def _moves_right(
        self, node: NodeProto, path: str, expected: dict[str, Any], changes: dict[str | int, Any]
    ) -> bool:
        """Return whether a mover gives the labels that must arrive, with some of its numbers changed.

        Args:
            node: the mover.
            path: of its module.
            expected: labels of its results.
            changes: attributes by name and inputs by position.
        """
        moved = self._run_on(node, path, self.actual, changes)
        names = [name for name in node.output if name]
        return moved is not None and all(
            lb.matches(part, expected[name]) for part, name in zip(moved, names, strict=False)
        )

    def _run_on(
        self,
        node: NodeProto,
        path: str,
        tensors: dict[str, Any],
        changes: dict[str | int, Any],
        original: bool = False,
    ) -> tuple[Any, ...] | None:
        """Run a mover on labels, or on numbers that name elements; None where it cannot."""
        attributes = {**attributes_of(node), **{k: v for k, v in changes.items() if isinstance(k, str)}}
        for name in [name for name, value in attributes.items() if value is None]:
            del attributes[name]
        count = max([len(node.input), *(k + 1 for k in changes if isinstance(k, int))])
        inputs = [self._operand(node, path, place, tensors, original) for place in range(len(node.input))]
        inputs += [None] * (count - len(inputs))
        for place, value in changes.items():
            if isinstance(place, int):
                inputs[place] = value
        if any(is_broken(value) for value in inputs if not isinstance(value, np.ndarray)):
            return None

        def call(*values: Any) -> Any:
            if node.op_type == "Concat":
                return lb.cat(list(values), attributes["axis"])
            return OPS[node.op_type](Operands(node, attributes, values, self.network.file.opset))

        try:
            result = lb.run_on_labels(call, tuple(inputs), {})
        except (RuntimeError, IndexError, ValueError, TypeError, NotCovered):
            return None
        return result if isinstance(result, tuple) else (result,)

    def _operand(
        self, node: NodeProto, path: str, place: int, tensors: dict[str, Any], original: bool
    ) -> Any:
        name = node.input[place]
        if not name:
            return None
        if name in tensors:
            return tensors[name]
        held = self.network.held(path, place)
        if held is not None:
            labels = self.values.of_parameter(f"{path}.{held[0]}", held[1])
            return labels if original else self.survivors.of(labels)
        if original:
            return (
                self.trace.hosts.get(name, None)
                if name in self.trace.hosts
                else self.network.file.array(name)
            )
        return self._host(name)

    def _overwrite(self, node: NodeProto, position: int, sizes: dict[int, int]) -> NDArray[Any] | None:
        """Return the numbers at an input with some of them replaced, and note the change; None where that is unsafe.

        Args:
            node: the node.
            position: of the input that holds them.
            sizes: place -> what must stand there.
        """
        now = self._host(node.input[position])
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

    def _is_fixed(self, name: str, changed: NDArray[np.bool_]) -> bool:
        """Return whether the numbers that change are the same for inputs of other sizes."""
        a, b = self.trace.hosts[name], self.other.hosts[name]
        return a.shape == b.shape and bool((a == b)[changed].all())

    def _reshape(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        target = expected[node.output[0]].shape
        now = self._host(node.input[1]).reshape(-1)
        same = 0 if node.op_type == "Reshape" and not attributes_of(node).get("allowzero", 0) else None
        free = (-1,) if node.op_type == "Reshape" else (1,)
        source = self._operand(node, path, 0, self.actual, original=False)
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
        if not self._moves_right(node, path, expected, {1: new}):
            return False
        return self._overwrite(node, 1, sizes) is not None

    def _split(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        axis = attributes_of(node).get("axis", 0)
        names = [name for name in node.output if name]
        sizes = np.array([int(expected[name].shape[axis]) for name in names], dtype=np.int64)
        key = node.output[0]
        if (
            not self._moves_right(node, path, expected, {1: sizes, "num_outputs": None})
            or not (sizes > 0).all()
        ):
            return False
        if self.network.file.opset < 13:
            self.edits.set_attribute(key, "split", sizes.tolist())
            return True
        self.edits.set_attribute(key, "num_outputs", None)
        self.edits.set_input(key, 1, sizes, "sizes")
        return True

    def _gather(self, node: NodeProto, path: str, expected: dict[str, Any]) -> bool:
        """Gather by constant indices: by where these channels are now."""
        if node.input[1] in self.actual or node.input[0] not in self.actual:
            return False
        labels = self.values.labels[node.input[0]]
        axis = attributes_of(node).get("axis", 0) % labels.dim()
        before = self.survivors.index(labels)
        index = self._host(node.input[1])
        if before is None:
            return False
        place = {int(i): position for position, i in enumerate(before[axis].tolist())}
        flat = [int(i) % labels.shape[axis] for i in index.reshape(-1)]
        if index.ndim > 1 and any(i not in place for i in flat):
            return False
        left = np.array([place[i] for i in flat if i in place], dtype=index.dtype)
        left = left.reshape(index.shape) if index.ndim != 1 else left
        if index.ndim == 0 and not left.size or not self._moves_right(node, path, expected, {1: left}):
            return False
        self.edits.set_input(node.output[0], 1, left, "channels")
        return True

    # --- gathers -------------------------------------------------------------------------------------

    def _after_broken(self, node: NodeProto, expected: dict[str, Any]) -> None:
        data = [name for name in node.input if name in self.actual]
        if all(map(is_broken, expected.values())):
            if len(data) != 1:
                raise self._refuse([*data, *expected], node, "channels of several tensors are mixed there")
            return
        self._regather(node, expected)

    def _regather(self, node: NodeProto, expected: dict[str, Any]) -> None:
        """Let each result be channels of the last value before the chain that has a grid."""
        chain, origin = self._chain(node)
        names = [name for name in node.output if name]
        taken = self._positions(chain, origin)
        labels = self.values.labels[origin]
        for number, name in enumerate(names):
            selection = None if taken is None else self._selection(taken[number], origin, name)
            refusal = self._refuse([origin, name], node, "they cannot be moved out exactly there")
            if selection is None or labels.dim() != self.values.labels[name].dim():
                raise refusal
            axis, index = selection
            arrived = self.actual[origin].index_select(axis, torch.from_numpy(index))
            if not lb.matches(arrived, expected[name]):
                raise refusal
            self.edits.gather(node.output[0], origin, index, axis, name)
        self.replaced |= {step.output[0] for step in chain[:-1]}

    def _chain(self, node: NodeProto) -> tuple[list[NodeProto], str]:
        """Return the movers from the last value with a grid down to a node, and that value."""
        chain = [node]
        while True:
            data = [name for name in chain[0].input if name in self.actual]
            if len(data) != 1:
                raise self._refuse(
                    [*data, *filter(None, node.output)], node, "they cannot be moved out exactly there"
                )
            if not is_broken(self.actual[data[0]]):
                return chain, data[0]
            maker = self.made_by[data[0]]
            if maker.op_type not in MOVERS:
                raise self._refuse([data[0]], node, "they cannot be moved out exactly there")
            chain.insert(0, maker)

    def _positions(self, chain: list[NodeProto], origin: str) -> tuple[Tensor, ...] | None:
        """Return what the original chain makes of numbers that name each element of its origin."""
        shape = tuple(self.values.labels[origin].shape)
        elements: dict[str, Any] = {origin: torch.arange(torch.Size(shape).numel()).view(shape)}
        result: tuple[Tensor, ...] | None = None
        for step in chain:
            result = self._run_on(step, self.network.module_of[step.output[0]], elements, {}, original=True)
            if result is None:
                return None
            elements.update(zip((name for name in step.output if name), result, strict=False))
        return result

    def _selection(self, moved: Tensor, origin: str, name: str) -> tuple[int, NDArray[np.int64]] | None:
        """Return axis and positions in the cut origin that give the cut result, where one axis suffices."""
        labels, result = self.values.labels[origin], self.values.labels[name]
        wide, before, after = lb.wide_axes(labels), self.survivors.index(labels), self.survivors.index(result)
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

    # --- pads of channels ----------------------------------------------------------------------------

    def _remap(self, node: NodeProto, remap: Remap) -> None:
        """Pad by as many zero channels as are left, or else pick channels from what is padded by one."""
        place = {index: position for position, index in enumerate(self.survivors.order_of(remap.inputs))}
        source = [place.get(int(remap.source[i]), -1) for i in self.survivors.order_of(remap.outputs)]
        passing = [position for position, i in enumerate(source) if i >= 0]
        low = passing[0] if passing else 0
        high = len(source) - low - len(place)
        plain = source == [-1] * low + list(range(len(place))) + [-1] * max(high, 0) and high >= 0
        self._set_pads(node, remap.axis, (low, high) if plain else (0, 1))
        if plain:
            return
        key = node.output[0]
        padded_name = self.edits.free_name(f"{key}_padded")
        self.edits.node(key).output[0] = padded_name
        index = np.array([len(place) if i < 0 else i for i in source], dtype=np.int64)
        indices = self.edits.file.add(f"{key}_channels", index)
        name = self.edits.free_name(f"{node.name or key}_channels")
        gather = helper.make_node("Gather", [padded_name, indices], [key], name=name, axis=remap.axis)
        self.edits.insert_after(key, gather)

    def _set_pads(self, node: NodeProto, axis: int, pair: tuple[int, int]) -> None:
        attributes = attributes_of(node)
        if self.network.file.opset < 11:
            pads = list(attributes["pads"])
            pads[axis], pads[axis + len(pads) // 2] = pair
            self.edits.set_attribute(node.output[0], "pads", pads)
            return
        count = len(self._host(node.input[1])) // 2
        axes = (
            [int(a) for a in self._host(node.input[3])]
            if len(node.input) > 3 and node.input[3]
            else list(range(count))
        )
        rank = self.values.labels[node.input[0]].dim()
        where = [a % rank for a in axes].index(axis)
        if self._overwrite(node, 1, {where: pair[0], where + count: pair[1]}) is None:
            raise self._refuse([node.input[0], node.output[0]], node, "their padding follows from sizes")

    # --- the file ------------------------------------------------------------------------------------

    def _shapes(self) -> None:
        """Make the shapes that are written in the file agree."""
        file = self.edits.file
        for value in [*file.model.graph.value_info, *file.model.graph.input]:
            dims = value.type.tensor_type.shape.dim
            before, after = self._shapes_of(value.name)
            if len(dims) != len(before) or len(before) != len(after):
                continue
            for dim, size, left in zip(dims, before, after, strict=True):
                if size != left and dim.HasField("dim_value"):
                    dim.dim_value = left

    def _shapes_of(self, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the shapes of a value before and after."""
        if self.edits.file.is_constant(name) and self.network.file.is_constant(name):
            return self.network.file.array(name).shape, self.edits.file.array(name).shape
        labels, actual = self.values.labels.get(name), self.actual.get(name)
        if isinstance(labels, Tensor) and isinstance(actual, Tensor):
            return tuple(labels.shape), tuple(actual.shape)
        return (), ()


_ATTEMPTS: dict[str, Callable[[_Cut, NodeProto, str, dict[str, Any]], bool]] = {
    "Reshape": _Cut._reshape,
    "Expand": _Cut._reshape,
    "Split": _Cut._split,
    "Gather": _Cut._gather,
}


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
