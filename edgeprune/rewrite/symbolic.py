"""torch.fx tracing that carries shapes along, so that sizes may steer Python control flow.

Plain symbolic tracing stops at ``if x.shape[2] > 7`` or ``b, c, *_ = x.shape``. Here every node is
also run once, so a *size* may be compared, unpacked and looped over; a *tensor's content* may not, and
the error names the line of the user's code. What depends on the input is run on stand-ins with the
example's shapes; what does not (a buffer of indices) has its real values.
"""

import inspect
import math
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx as fx
from torch import nn
from torch.fx._symbolic_trace import _orig_module_call
from torch.fx.proxy import Proxy

from edgeprune.errors import TraceError
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import nodes_in, op_name, spec_of
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.constants import out_of_place
from edgeprune.rewrite.copying import with_flags
from edgeprune.rewrite.forward_arguments import Argument, check_inputs, input_names, taking
from edgeprune.rewrite.normalize import normalize
from edgeprune.rewrite.proxies import ValueProxy, holds_no_tensor, user_line
from edgeprune.rewrite.shape_inference import dense, stand_in, worked_out
from edgeprune.rewrite.torch_patches import CREATING, calling_context, creating_calls, no_own_gradients

# Modules that draw random numbers are kept whole: traced in eval mode they would dissolve into nothing,
# and the pruned model would then train without them.
_STOCHASTIC = {"StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d"}


_PLAIN = (int, float, bool, str, type(None))
_DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


@dataclass
class Leaves:
    """Modules that a trace leaves as they are.

    Attributes:
        keeps: says of a module, by its name inside the traced one, whether it stays.
        value: gives what the next run of such a module gives: a structure of tensors without memory.
        nodes: the calls of such modules, filled by the trace, with what ``value`` was asked for.
        lasting: calls that depend on parameters, constants and sizes alone, filled by the trace: they give the same
            each time.
    """

    keeps: Callable[[str], bool]
    value: Callable[[str], Any]
    nodes: dict[fx.Node, int] = field(default_factory=dict)
    lasting: set[fx.Node] = field(default_factory=set)


class ValueTracer(fx.Tracer):
    """Traces ``root`` while running it on ``inputs``; each node's value stands in ``node.meta``."""

    def __init__(self, model: nn.Module, inputs: tuple[Any, ...], leaves: Leaves | None = None) -> None:
        """``inputs`` are the values of forward's arguments."""
        super().__init__(
            autowrap_modules=(math,), autowrap_functions=tuple(getattr(torch, n) for n in CREATING)
        )
        named = [*model.named_parameters(), *model.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._layers = dict(model.named_modules(remove_duplicate=False))
        device = next((tensor.device for _, tensor in named), None)
        self._inputs = [stand_in(value, device) for value in inputs]
        self._leaves = leaves
        self._device = device
        self._running = False
        self._static: set[fx.Node] = set()
        self._context = calling_context()
        self.content: set[fx.Node] = set()
        self._counted: set[fx.Node] = set()  # how many there are is decided by the content of a tensor

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self._leaves is not None and self._leaves.keeps(module_qualified_name):
            return True
        if nn.utils.parametrize.is_parametrized(m):
            return False
        return type(m).__name__ in _STOCHASTIC or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> Proxy:
        return ValueProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        # The common ones first: what torch.fx looks for in them takes longer than all the rest of a node.
        if type(a) in _PLAIN:
            return a
        return a.node if type(a) is ValueProxy else super().create_arg(a)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        if calling_context() != self._context:
            raise TraceError(
                f"cannot trace this model: a part runs under no_grad or autocast at {user_line()}"
            )
        proxy = super().create_proxy(kind, target, args, kwargs, *rest, **more)
        proxy.node.meta[VALUE] = self._value(proxy.node)
        return proxy

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._inputs.pop(0)
        if node.op == "output":
            return None
        if node.op == "call_module" and self._leaves is not None and self._leaves.keeps(str(node.target)):
            self._leaves.nodes[node] = len(self._leaves.nodes)
            return stand_in(self._leaves.value(str(node.target)), self._device)
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), self._known)
        inputs = node.all_input_nodes
        if spec_of(node).reads_content or any(n in self.content for n in inputs):
            self.content.add(node)
        if _counts_by_content(node) or any(n in self._counted for n in inputs):
            self._counted.add(node)
        if all(n in self._static or not tensors_in(n.meta[VALUE]) for n in inputs):
            self._static.add(node)
            self._note_lasting(node)
            return self._run(node, args, kwargs)
        stand_in_value = self._worked_out(node, args, kwargs)
        return stand_in(self._run_either(node, args, kwargs)) if stand_in_value is None else stand_in_value

    def _note_lasting(self, node: fx.Node) -> None:
        if self._leaves is None or node in self.content or spec_of(node).random:
            return
        if all(n in self._leaves.lasting for n in node.all_input_nodes if n in self._static):
            self._leaves.lasting.add(node)

    def _worked_out(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        self._running = True  # reading a layer's attributes must leave no trace
        try:
            layer = self._layers[str(node.target)] if node.op == "call_module" else None
            return worked_out(node, layer, args, kwargs)
        finally:
            self._running = False

    def _run_either(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        """Run on stand-ins, or on numbers where an operation refuses them (one that writes in place)."""
        try:
            return self._run(node, args, kwargs)
        except Exception:
            self._running = True  # making numbers must leave no trace
            args, kwargs = dense(args), dense(kwargs)
            return self._run(node, args, kwargs)

    def _known(self, node: fx.Node) -> Any:
        if VALUE not in node.meta and node.op == "get_attr":  # made by torch.fx for a tensor made in forward
            node.meta[VALUE] = _attribute(self.root, str(node.target))
            self._static.add(node)
            self._note_lasting(node)
        return node.meta[VALUE]

    def _run(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        self._running = True
        try:
            with torch.no_grad():
                return self._call(node, args, kwargs)
        finally:
            self._running = False

    def _call(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "get_attr":
            return _attribute(self.root, str(node.target))
        if node.op == "call_module":
            layer = self._layers[str(node.target)]
            with _evaluating(layer):  # only the shape counts, and statistics must not move
                return _orig_module_call(layer, *args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        return out_of_place(node.target)(*args, **kwargs)

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        if self._running:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._running:
            return attr_val
        name = self._names.get(id(attr_val)) if isinstance(attr_val, torch.Tensor) else None
        if name is not None:
            if name not in parameter_proxy_cache:
                parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
            return parameter_proxy_cache[name]
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def to_bool(self, obj: Proxy) -> bool:
        return bool(obj._plain("a comparison"))

    def iter(self, obj: Any) -> Iterator[Any]:
        value: Any = obj.node.meta.get(VALUE)
        if isinstance(value, dict):
            return iter(value)
        if isinstance(value, _DICT_VIEWS):
            return self._iter_view(obj)
        if value is None or (isinstance(value, torch.Tensor) and value.dim() == 0):
            obj._plain("a loop")
        if obj.node in self._counted and not holds_no_tensor(value):
            raise TraceError(
                f"cannot trace this model: a loop goes over what was picked by content at {user_line()}"
            )
        return iter([obj[i] for i in range(len(value))])

    def _iter_view(self, obj: Any) -> Iterator[Any]:
        """d.keys(), d.values(), d.items() of a dict argument."""
        owner: Any = self.proxy(obj.node.args[0])
        kind, keys = str(obj.node.target), list(self._known(owner.node))
        if kind == "keys":
            return iter(keys)
        return iter([owner[k] if kind == "values" else (k, owner[k]) for k in keys])

    def keys(self, obj: Proxy) -> Any:
        value = obj.node.meta.get(VALUE)
        return value.keys() if isinstance(value, dict) else super().keys(obj)


def _counts_by_content(node: fx.Node) -> bool:
    """Tell whether the content of a tensor decides how large the result of a call is: y[y > 0], nonzero."""
    name = op_name(node)
    if name == "getitem":
        picks = nodes_in(node.args[1])
        return any(getattr(n.meta[VALUE], "dtype", None) is torch.bool for n in picks)
    if name == "where":
        return len(node.args) == 1
    return spec_of(node).selects and name not in ("topk", "argmax", "sort", "argsort")


def _attribute(root: nn.Module, path: str) -> Any:
    for name in path.split("."):
        root = getattr(root, name)
    return root


@contextmanager
def _evaluating(layer: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in layer.modules() if module.training]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def trace(model: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule:
    """Trace ``model`` in eval mode on ``inputs``; every node's value is in ``node.meta[VALUE]``.

    The model's own tensors are shared, not copied, and its training flags are put back.

    Raises:
        TraceError: the model's Python depends on a tensor's content, or it does not run on ``inputs``.
    """
    check_inputs(inputs)
    arguments = [
        Argument(name, value) for name, value in zip(input_names(model, len(inputs)), inputs, strict=True)
    ]
    tracer, graph = _traced(model, arguments, None, training=False)
    return _module(model, tracer, graph, revive=True)


def trace_forward(
    model: nn.Module, arguments: list[Argument], leaves: Leaves, *, training: bool
) -> fx.GraphModule:
    """Trace the forward of ``model`` alone, in one mode: modules inside stay calls.

    Args:
        model: the module.
        arguments: of its forward, with values on which it runs.
        leaves: which modules inside stay, and what they give.
        training: the mode.

    Raises:
        TraceError: its Python depends on a tensor's content, or does more than a graph can say.
    """
    tracer, graph = _traced(model, arguments, leaves, training=training)
    return _module(model, tracer, graph, revive=False)


def _traced(
    model: nn.Module, arguments: list[Argument], leaves: Leaves | None, *, training: bool
) -> tuple[ValueTracer, fx.Graph]:
    modes = {module: module.training for module in model.modules()}
    model.train(training)
    try:
        with ExitStack() as entered:
            entered.enter_context(torch.enable_grad())  # so that a no_grad inside is seen
            entered.enter_context(no_own_gradients())
            method = entered.enter_context(taking(model, arguments))
            tracer = ValueTracer(model, tuple(a.value for a in arguments), leaves)
            tracer.traced_func_name = method
            entered.enter_context(creating_calls(tracer, lambda: tracer._running))
            graph = tracer.trace(model)
    except TraceError:
        raise
    except fx.proxy.TraceError as error:
        raise TraceError(f"cannot trace this model: {_first_line(error)} at {_raised_at(error)}") from error
    except Exception as error:
        raise TraceError(
            f"the model does not run on the example input ({type(error).__name__}: {_first_line(error)}) "
            f"at {_raised_at(error)}; check the example's shape and type"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    for node in graph.nodes:
        if node.op == "get_attr":
            tracer._known(node)
        elif (
            node.op == "call_function" and VALUE not in node.meta
        ):  # torch.fx makes named tuples and dataclasses so
            parts = fx.node.map_arg((node.args, node.kwargs), lambda n: n.meta[VALUE])
            node.meta[VALUE] = (*parts[0], *parts[1].values())
    return tracer, graph


def _module(model: nn.Module, tracer: ValueTracer, graph: fx.Graph, *, revive: bool) -> fx.GraphModule:
    """Return the traced module; containers that torch.fx made anew take the model's training flag."""
    traced = fx.GraphModule(tracer.root, graph, class_name=type(model).__name__)
    own = set(model.modules())
    if normalize(traced, revive=revive):  # made anew, so that it holds no more than its graph uses
        return with_flags(fx.GraphModule(traced, traced.graph, class_name=type(model).__name__), model, own)
    return with_flags(traced, model, own)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _raised_at(error: BaseException) -> str:
    """Return the innermost frame of the traceback that is the user's own code."""
    own = str(inspect.getfile(fx)).rsplit("torch", 1)[0] + "torch/"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((own, "<")) and "edgeprune/rewrite" not in frame.filename:
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "an unknown line"
