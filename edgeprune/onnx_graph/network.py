"""The graph of an ONNX file as a module: its nodes are small calls of torch, its weights are parameters."""

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
from edgeprune.files.onnx_nodes import names_read
from edgeprune.onnx_graph.alone import Alone
from edgeprune.onnx_graph.files import STANDARD, OnnxFile
from edgeprune.onnx_graph.node_modules import Node, NodeModules, turned
from edgeprune.onnx_graph.numbers import evaluated, sizes_of
from edgeprune.onnx_graph.operands import NotCovered, Shared, SharedList


@dataclass
class Trace:
    """Hold what one run of the network shows of the file's values, by their names.

    Attributes:
        hosts: numbers that depend on sizes alone, not on weights or inputs.
        same: value -> the value that it is another name of.
    """

    hosts: dict[str, NDArray[Any]] = field(default_factory=dict)
    same: dict[str, str] = field(default_factory=dict)


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
        self.module_of: dict[str, str] = {}
        self._making = NodeModules(file)
        self.forms = self._making.forms
        self._traces: dict[tuple[torch.Size, ...], Trace] = Shared()
        self.inputs = [value.name for value in file.inputs]
        self._outputs = [value.name for value in file.model.graph.output]
        self.steps: list[tuple[onnx.NodeProto, str | None]] = SharedList()
        self._host_constants: dict[str, NDArray[Any]] = {}
        self._evaluators: dict[str, ReferenceEvaluator] = Shared()
        self._reading: dict[str, list[str]] | None = None
        for number, node in enumerate(file.model.graph.node):
            if node.output[0] in file.aliases or node.op_type == "Constant" and node.domain in STANDARD:
                continue
            self._add(number, node)
        self._last_use = self._last_uses()
        self.eval()

    # --- making --------------------------------------------------------------------------------------

    def _add(self, number: int, node: onnx.NodeProto) -> None:
        if self._making.is_host(node):
            self._making.note_host(node)
            self.steps.append((node, None))
            return
        name = self._free_name(node, number)
        self.module_of[node.output[0]] = name
        self.add_module(name, self._making.module(node, name))
        self.steps.append((node, name))

    def _free_name(self, node: onnx.NodeProto, number: int) -> str:
        name = (node.name or f"{node.op_type}_{number}").replace(".", "_").strip("/") or f"node_{number}"
        while name in self._modules or hasattr(self, name):
            name += "_"
        return name

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
        if np.array_equal(turned(array, form.axes), tensor.detach().cpu().float().numpy()):
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
                alone = self._making.alone(problem.node, problem.path, f"no rule for {problem.reason}")
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


def _note(trace: Trace | None, name: str, output: Any, node: onnx.NodeProto, values: dict[str, Any]) -> None:
    if trace is None:
        return
    if not isinstance(output, Tensor):
        trace.hosts[name] = output
        return
    for source in node.input:
        if source and values.get(source) is output:
            trace.same[name] = source


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
