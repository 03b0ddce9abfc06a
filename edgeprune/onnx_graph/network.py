"""The graph of an ONNX file as a module: its nodes are small calls of torch, its weights are parameters."""

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import Tensor, nn

from edgeprune.errors import TraceError, one_line
from edgeprune.onnx_graph.alone import Alone, names_read
from edgeprune.onnx_graph.files import FLOATS, STANDARD, OnnxFile
from edgeprune.onnx_graph.numbers import SIZES, ElementTypes, evaluated, sizes_of
from edgeprune.onnx_graph.operands import NotCovered, Operands, Shared, SharedList, attributes_of
from edgeprune.onnx_graph.ops import OPS, Function

_RANDOM = ("Random", "Bernoulli", "Multinomial")


@dataclass(frozen=True)
class Form:
    """How a tensor of the network lies beside the constant it was made of.

    Two nodes that read one constant have a tensor each: an exporter may have merged weights that are equal by chance.

    Attributes:
        constant: its name in the file.
        axes: for each axis of the tensor the constant's axis.
        rank: number of the constant's axes.
        reader: first result of the node that reads it.
        position: of the constant among the node's inputs; None where the node must find it under its name.
    """

    constant: str
    axes: tuple[int, ...]
    rank: int
    reader: str
    position: int | None

    def of_file(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a parameter's numbers as the constant has them."""
        order = np.argsort([*self.axes])
        rest = [axis for axis in range(self.rank) if axis not in self.axes]
        return np.expand_dims(array.transpose(order), tuple(rest)) if rest else array.transpose(order)


@dataclass
class Trace:
    """Hold what one run of the network shows of the file's values, by their names.

    Attributes:
        hosts: numbers that depend on sizes alone, not on weights or inputs.
        same: value -> the value that it is another name of.
    """

    hosts: dict[str, NDArray[Any]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)


class Node(nn.Module):
    """One node that torch runs, with the weights it reads as parameters, statistics as buffers."""

    def __init__(self, node: onnx.NodeProto, function: Function, opset: int) -> None:
        super().__init__()
        self._nodes, self.function, self._opset = SharedList([node]), function, opset
        self._attributes = attributes_of(node)
        self.fixed: list[str | None] = [None] * len(node.input)  # parameter at each input's place

    def hold(self, position: int, name: str, tensor: Tensor) -> None:
        """Let an input be a parameter of this module, or a buffer if it is a statistic.

        Args:
            position: of the input.
            name: of the parameter.
            tensor: its numbers.
        """
        if name.startswith("running_"):
            self.register_buffer(name, tensor)
        else:
            self.register_parameter(name, nn.Parameter(tensor))
        self.fixed[position] = name

    def forward(self, *values: Any) -> Any:
        """Return what the node gives."""
        filled = [
            v if name is None else getattr(self, name) for v, name in zip(values, self.fixed, strict=True)
        ]
        dtype = next(
            (v.dtype for v in filled if isinstance(v, Tensor) and v.is_floating_point()), torch.float32
        )
        return self.function(
            Operands(self._nodes[0], self._attributes, self._kept(filled), self._opset, dtype)
        )

    def _kept(self, values: list[Any]) -> list[Any]:
        """Return arrays as tensors where arithmetic wants them, the same ones in each run."""
        if self._nodes[0].op_type not in _ARITHMETIC:
            return values
        rank = max((v.dim() for v in values if isinstance(v, Tensor)), default=0)
        return [
            self._buffer(place, v) if isinstance(v, np.ndarray) and (v.size != 1 or v.ndim > rank) else v
            for place, v in enumerate(values)
        ]

    def _buffer(self, place: int, value: NDArray[Any]) -> Any:
        name = f"constant_{place}"
        known = self._buffers.get(name)
        if known is None:
            tensor = torch.from_numpy(np.array(value))
            self.register_buffer(
                name, tensor.float() if tensor.is_floating_point() else tensor, persistent=False
            )
            return self._buffers[name]
        same = tuple(known.shape) == value.shape and np.array_equal(known.cpu().numpy(), value)
        return known if same else value


_ARITHMETIC = {
    "Add", "Sub", "Mul", "Div", "Pow", "Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Sum",
    "Mean", "Min", "Max", "Where", "Concat", "Gather", "PRelu",
}  # fmt: skip


class OnnxNetwork(nn.Module):
    """The network of an ONNX file.

    Its arguments are the file's inputs in their order; it returns a tensor, or a tuple where the file has several
    outputs. All is computed in float32, or in float64 after `double()`.

    Attributes:
        file: the file.
        forms: name of a parameter or buffer -> the constant that it was made of.
        module_of: name of a node's first result -> name of its module.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.file = file
        self.forms: dict[str, Form] = {}
        self.module_of: dict[str, str] = {}
        self._types = ElementTypes(file)
        self._traces: dict[tuple[torch.Size, ...], Trace] = Shared()
        self.inputs = [value.name for value in file.inputs]
        self._outputs = [value.name for value in file.model.graph.output]
        self.steps: list[tuple[onnx.NodeProto, str | None]] = SharedList()
        self._host_constants: dict[str, NDArray[Any]] = {}
        self._evaluators: dict[str, ReferenceEvaluator] = Shared()
        self._readers = _readers(file)
        self._reading: dict[str, list[str]] | None = None
        self._hosts: set[str] = set()
        for number, node in enumerate(file.model.graph.node):
            if node.output[0] in file.aliases or node.op_type == "Constant" and node.domain in STANDARD:
                continue
            self._add(number, node)
        self._last_use = self._last_uses()
        self.eval()

    # --- making --------------------------------------------------------------------------------------

    def _add(self, number: int, node: onnx.NodeProto) -> None:
        if self._is_host(node):
            self._hosts |= set(node.output)
            self.steps.append((node, None))
            return
        name = self._free_name(node, number)
        self.module_of[node.output[0]] = name
        self.add_module(name, self._module(node, name))
        self.steps.append((node, name))

    def _module(self, node: onnx.NodeProto, path: str) -> nn.Module:
        function = OPS.get(node.op_type) if node.domain in STANDARD else None
        if function is None or any(a.HasField("g") for a in node.attribute):
            return self._alone(node, path, f"no rule for {node.op_type}")
        module = Node(node, function, self.file.opset)
        rank_of_weight = self._rank(node, 1)
        if node.op_type == "MatMul" and rank_of_weight == 2 and not self._is_parameter(node.input[0]):
            module.function = OPS["MatMul by a constant"]
        for position, constant in enumerate(node.input):
            if constant and self._is_parameter(constant) and position not in _NUMBERS.get(node.op_type, ()):
                axes = self._axes(node, position)
                label = _LABELS.get(node.op_type, {}).get(position, f"input_{position}")
                module.hold(position, label, _laid(self.file.array(constant), axes))
                rank = len(self.file.shape(constant))
                self.forms[f"{path}.{label}"] = Form(
                    self.file.source_of(constant), axes, rank, node.output[0], position
                )
        return module

    def _alone(self, node: onnx.NodeProto, path: str, reason: str) -> Alone:
        for name in [name for name in self.forms if name.rpartition(".")[0] == path]:
            del self.forms[name]
        names = names_read(node)
        constants = [name for name in names if self.file.is_constant(name)]
        inputs = [name for name in names if name not in constants]
        module = Alone(self.file, node, inputs, constants, self._types, reason)
        for number, name in enumerate(constants):
            if self._is_parameter(name):
                axes = tuple(range(len(self.file.shape(name))))
                module.register_parameter(f"input_{number}", nn.Parameter(_laid(self.file.array(name), axes)))
                self.forms[f"{path}.input_{number}"] = Form(
                    self.file.source_of(name), axes, len(axes), node.output[0], None
                )
        return module

    def _free_name(self, node: onnx.NodeProto, number: int) -> str:
        name = (node.name or f"{node.op_type}_{number}").replace(".", "_").strip("/") or f"node_{number}"
        while name in self._modules or hasattr(self, name):
            name += "_"
        return name

    def _rank(self, node: onnx.NodeProto, position: int) -> int | None:
        """Return the number of axes of a constant input; None where it is computed."""
        name = node.input[position] if len(node.input) > position else ""
        return len(self.file.shape(name)) if name and self._is_parameter(name) else None

    def _is_parameter(self, name: str) -> bool:
        """Return whether a value is written in the file and holds weights, not sizes or a single factor."""
        if not self.file.is_constant(name):
            return False
        kind = self.file.element_type(name)
        if kind not in FLOATS:
            return False
        return math.prod(self.file.shape(name)) > 1 or any(
            op in _LABELS and position in _LABELS[op] for op, position in self._readers[name]
        )

    def _axes(self, node: onnx.NodeProto, position: int) -> tuple[int, ...]:
        """Return in which order torch wants the axes of a constant."""
        shape = self.file.shape(node.input[position])
        rank = len(shape)
        if position == 1 and rank == 2:
            attributes = attributes_of(node)
            if node.op_type == "Gemm" and not attributes.get("transB", 0):
                return (1, 0)
            if node.op_type == "MatMul" and not self._is_parameter(node.input[0]):
                return (1, 0)
        wide = [axis for axis, size in enumerate(shape) if size > 1]
        if position == 1 and node.op_type == "PRelu" and rank > 1 and len(wide) <= 1:
            return (wide[0] if wide else 0,)
        if position == 2 and node.op_type == "Gemm" and rank == 2 and shape[0] == 1:
            return (1,)
        return tuple(range(rank))

    def _is_host(self, node: onnx.NodeProto) -> bool:
        """Return whether what a node gives follows from sizes and written numbers alone."""
        if node.op_type in SIZES and node.domain in STANDARD:
            return True
        if node.domain not in STANDARD or node.op_type.startswith(_RANDOM):
            return False
        if any(a.HasField("g") or a.graphs for a in node.attribute):
            return False
        names = [name for name in node.input if name]
        if any(name in self._hosts for name in names):  # sizes, and what they are multiplied by
            return all(name in self._hosts or self.file.is_constant(name) for name in names)
        return all(self._is_host_value(name) for name in names)

    def _is_host_value(self, name: str) -> bool:
        if name in self._hosts:
            return True
        return self.file.is_constant(name) and not self._is_parameter(name)

    def _last_uses(self) -> dict[int, list[str]]:
        last: dict[str, int] = {}
        for number, (node, _) in enumerate(self.steps):
            for name in names_read(node):
                last[name] = number
        done = defaultdict(list)
        for name, number in last.items():
            if name not in self._outputs and not self.file.is_constant(name):
                done[number].append(name)
        return done

    def held(self, path: str, position: int) -> tuple[str, Tensor] | None:
        """Return name and tensor of the weight at an input of a node; None where there is none.

        Args:
            path: of the node's module.
            position: of the input.
        """
        module = self._modules[path]
        name = module.fixed[position] if isinstance(module, Node) else None
        return None if name is None else (name, getattr(module, name))

    def readers_of(self, constant: str) -> list[str]:
        """Return the first results of the nodes that read a constant, and '' for the graph's own outputs."""
        if self._reading is None:
            self._reading = defaultdict(list)
            for node, _ in self.steps:
                for name in dict.fromkeys(map(self.file.source_of, names_read(node))):
                    self._reading[name].append(node.output[0])
        return [*self._reading.get(constant, ()), *([""] if constant in self._outputs else [])]

    @property
    def aliases_read(self) -> set[str]:
        """The other names of constants that nodes read them by."""
        return {
            name for node in self.file.model.graph.node for name in node.input if name in self.file.aliases
        }

    def written(self, name: str, tensor: Tensor, array: NDArray[Any]) -> NDArray[Any]:
        """Return a weight as the file has it: the very numbers of the file where they are unchanged.

        Args:
            name: of the parameter or buffer.
            tensor: it.
            array: the numbers of its constant.
        """
        form = self.forms[name]
        if np.array_equal(_turned(array, form.axes), tensor.detach().cpu().float().numpy()):
            return array
        return form.of_file(tensor.detach().cpu().numpy()).astype(array.dtype)

    # --- running -------------------------------------------------------------------------------------

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the file's graph gives."""
        results = self._run(inputs, None)
        return results[0] if len(results) == 1 else tuple(results)

    def trace(self, *inputs: Tensor) -> Trace:
        """Run the network and note its values; nodes that torch turns out not to cover are run alone from then on.

        What is noted depends on the inputs' sizes alone, so that each of them is run once.

        Raises:
            TraceError: it does not run on these inputs.
        """
        sizes = tuple(tensor.shape for tensor in inputs)
        while sizes not in self._traces:
            trace = Trace()
            try:
                with torch.no_grad():
                    self._run(inputs, trace)
                self._traces[sizes] = trace
            except _Uncovered as problem:
                alone = self._alone(problem.node, problem.path, f"no rule for {problem.reason}")
                self._modules[problem.path] = alone.eval()
                self._traces.clear()
        return self._traces[sizes]

    def _run(self, inputs: tuple[Tensor, ...], trace: Trace | None) -> list[Tensor]:
        if len(inputs) != len(self.inputs):
            raise TraceError(
                f"{self.file.name} takes {len(self.inputs)} input(s) ({', '.join(self.inputs)}), not {len(inputs)}"
            )
        values: dict[str, Any] = dict(zip(self.inputs, inputs, strict=True))
        for number, (node, path) in enumerate(self.steps):
            outputs = self._host_step(node, values) if path is None else self._step(node, path, values)
            for name, output in zip((n for n in node.output), outputs, strict=False):
                if name:
                    values[name] = output
                    _note(trace, name, output, node, values)
            for name in self._last_use[number]:
                values.pop(name, None)
        return [self._value(name, values) for name in self._outputs]

    def _value(self, name: str, values: dict[str, Any]) -> Any:
        if not name:
            return None
        if name in values:
            return values[name]
        if name not in self._host_constants:
            self._host_constants[name] = self.file.array(name)
        return self._host_constants[name]

    def _step(self, node: onnx.NodeProto, path: str, values: dict[str, Any]) -> tuple[Any, ...]:
        module = self._modules[path]
        if isinstance(module, Alone):
            result = module(*[self._value(name, values) for name in module.inputs])
            names = [name for name in node.output if name]
            by_name = dict(zip(names, result, strict=True))
            return tuple(by_name.get(name) for name in node.output)
        arguments = [
            None if fixed is not None else self._value(name, values)
            for name, fixed in zip(node.input, module.fixed, strict=True)  # type: ignore[union-attr, arg-type]
        ]
        try:
            result = module(*arguments)  # type: ignore[misc]
        except NotCovered as problem:
            raise _Uncovered(path, node, str(problem)) from problem
        return result if isinstance(result, tuple) else (result,)

    def _host_step(self, node: onnx.NodeProto, values: dict[str, Any]) -> list[NDArray[Any]]:
        sized = sizes_of(node, lambda name: self._value(name, values))
        if sized is not None:
            return sized
        return evaluated(
            node,
            {name: self._value(name, values) for name in node.input if name},
            self.file,
            self._evaluators,
        )


class _Uncovered(Exception):
    """A node that torch does not cover, found when it ran."""

    def __init__(self, path: str, node: onnx.NodeProto, reason: str) -> None:
        super().__init__(reason)
        self.path, self.node, self.reason = path, node, reason


def _laid(array: NDArray[Any], axes: tuple[int, ...]) -> Tensor:
    """Return a constant's numbers in torch's layout."""
    return torch.from_numpy(np.array(_turned(array, axes), dtype=np.float32, copy=True, order="C"))


def _turned(array: NDArray[Any], axes: tuple[int, ...]) -> NDArray[Any]:
    rest = tuple(axis for axis in range(array.ndim) if axis not in axes)
    return np.squeeze(array, rest) if rest else array.transpose(axes)


def _note(trace: Trace | None, name: str, output: Any, node: onnx.NodeProto, values: dict[str, Any]) -> None:
    if trace is None:
        return
    if not isinstance(output, Tensor):
        trace.hosts[name] = output
        return
    for source in node.input:
        if source and values.get(source) is output:
            trace.same[name] = source


def _readers(file: OnnxFile) -> dict[str, list[tuple[str, int]]]:
    readers = defaultdict(list)
    for node in file.model.graph.node:
        for position, name in enumerate(node.input):
            readers[name].append((node.op_type, position))
    return readers


# Inputs that are numbers and no weights, even where they are several.
_NUMBERS: dict[str, tuple[int, ...]] = {"Resize": (1, 2, 3), "Upsample": (1,), "Clip": (1, 2), "Pad": (2,)}

# Names of the constants that layers have, as torch calls them.
_LABELS: dict[str, dict[int, str]] = {
    "Conv": {1: "weight", 2: "bias"},
    "ConvTranspose": {1: "weight", 2: "bias"},
    "Gemm": {1: "weight", 2: "bias"},
    "MatMul": {1: "weight"},
    "BatchNormalization": {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"},
    "InstanceNormalization": {1: "weight", 2: "bias"},
    "LayerNormalization": {1: "weight", 2: "bias"},
    "GroupNormalization": {1: "weight", 2: "bias"},
    "PRelu": {1: "weight"},
}


def network_of(file: OnnxFile, *inputs: Tensor) -> OnnxNetwork:
    """Return the network of a file, all of whose nodes have run once on ``inputs``.

    Raises:
        TraceError: it does not run on them.
        ModelError: an operator is unknown to torch and to ONNX Runtime.
    """
    network = OnnxNetwork(file)
    try:
        network.trace(*inputs)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise TraceError(f"{file.name} does not run on its input ({one_line(error)[:160]})") from error
    return network
