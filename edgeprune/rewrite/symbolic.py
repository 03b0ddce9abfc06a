"""torch.fx tracing that carries shapes along, so that sizes may steer Python control flow.

Plain symbolic tracing stops at ``if x.shape[2] > 7`` or ``b, c, *_ = x.shape``. Here every node is
also run once, so a *size* may be compared, unpacked and looped over; a *tensor's content* may not, and
the error names the line of the user's code. What depends on the input is run on stand-ins with the
example's shapes; what does not (a buffer of indices) has its real values.
"""

import functools
import inspect
import keyword
import math
import operator
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx as fx
from torch import nn
from torch.fx._symbolic_trace import _orig_module_call
from torch.fx.proxy import Attribute, Proxy

from edgeprune.errors import TraceError
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import assign, nodes_in, op_name, spec_of
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.constants import out_of_place
from edgeprune.rewrite.copying import with_flags
from edgeprune.rewrite.normalize import normalize
from edgeprune.rewrite.shape_inference import dense, stand_in, worked_out

# Modules that draw random numbers are kept whole: traced in eval mode they would dissolve into nothing,
# and the pruned model would then train without them.
_STOCHASTIC = {"StochasticDepth", "DropPath", "DropBlock2d", "DropBlock3d"}


# Plain values that come from a tensor's content, not from its shape or type.
_DICT_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


def _is_plain(value: Any) -> bool:
    """Tell whether ``value`` holds no tensor: only such values may steer the trace."""
    if isinstance(value, (tuple, list)):
        return all(_is_plain(item) for item in value)
    return not isinstance(value, torch.Tensor)


def user_line() -> str:
    """Return 'file:line: code' of the innermost frame that is neither torch's nor ours."""
    own = str(inspect.getfile(fx)).rsplit("torch", 1)[0] + "torch"
    here = __file__.rsplit("edgeprune", 1)[0] + "edgeprune/rewrite"
    for frame in reversed(traceback.extract_stack()):
        name = frame.filename
        if not (name.startswith((own + "/", here)) or name.startswith("<")):
            return f"{name}:{frame.lineno}: {frame.line}"
    return "an unknown line"


class _ValueProxy(Proxy):
    """A proxy that answers len(), int() and comparisons from its example value when that is no tensor."""

    def __getattr__(self, name: str) -> Any:
        return _ValueAttribute(self, name)

    def _plain(self, what: str) -> Any:
        value = self.node.meta.get(VALUE)
        if _is_plain(value) and self.node not in self.tracer.content:  # type: ignore[attr-defined]
            return value
        raise TraceError(
            f"cannot trace this model: {what} of a tensor's content steers Python at {user_line()}; "
            "rewrite it with torch.where, or keep that part out of the traced forward"
        )

    def __len__(self) -> int:
        value = self.node.meta.get(VALUE)
        return len(value) if value is not None else self._plain("len()")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", assign, (self, index, value), {})

    def __int__(self) -> int:
        return int(self._plain("int()"))

    def __float__(self) -> float:
        return float(self._plain("float()"))

    def __index__(self) -> int:
        return int(self._plain("an index"))


def _in_place(name: str) -> Callable[[Proxy, Any], Any]:
    """`y += z` as a call that writes into y, which torch.fx takes for `y = y + z`; for sizes it is that."""
    writing, plain = getattr(operator, f"i{name.rstrip('_')}"), getattr(operator, name)

    def method(self: Proxy, other: Any) -> Any:
        if not isinstance(self.node.meta.get(VALUE), torch.Tensor):
            return plain(self, other)
        return self.tracer.create_proxy("call_function", writing, (self, other), {})

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "and", "or", "xor"):
    setattr(_ValueProxy, f"__i{_name}__", _in_place(_name if _name not in ("and", "or") else f"{_name}_"))


class _ValueAttribute(_ValueProxy, Attribute):
    """`x.shape`, `x.T`: as torch.fx has it, with the example value known."""

    def __init__(self, root: Proxy, attr: str) -> None:
        Attribute.__init__(self, root, attr)

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        return Attribute.node.fget(self)  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


_PLAIN = (int, float, bool, str, type(None))
_FIXED = (bool, str, type(None))  # arguments that steer Python: a trace holds for the value that they had


@dataclass(frozen=True)
class Argument:
    """One argument of a forward that is traced; ``keyword`` says that it can only be given by name."""

    name: str
    value: Any
    keyword: bool = False
    default: Any = inspect.Parameter.empty

    @property
    def fixed(self) -> bool:
        """Tell whether the trace holds for this value alone."""
        return isinstance(self.value, _FIXED)


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
            autowrap_modules=(math,), autowrap_functions=tuple(getattr(torch, n) for n in _CREATING)
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
        self._context = _context()
        self.content: set[fx.Node] = set()
        self._counted: set[fx.Node] = set()  # how many there are is decided by the content of a tensor

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if self._leaves is not None and self._leaves.keeps(module_qualified_name):
            return True
        if nn.utils.parametrize.is_parametrized(m):
            return False
        return type(m).__name__ in _STOCHASTIC or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> Proxy:
        return _ValueProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        # The common ones first: what torch.fx looks for in them takes longer than all the rest of a node.
        if type(a) in _PLAIN:
            return a
        return a.node if type(a) is _ValueProxy else super().create_arg(a)

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *rest: Any, **more: Any) -> Any:
        if _context() != self._context:
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
        if obj.node in self._counted and not _is_plain(value):
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


def _input_names(model: nn.Module, count: int) -> list[str]:
    """Return the names of the first ``count`` arguments of forward; the others keep their defaults."""
    parameters = list(inspect.signature(model.forward).parameters.values())
    named = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind == p.VAR_POSITIONAL for p in parameters)
    required = [p.name for p in named if p.default is p.empty]
    if count < len(required) or (count > len(named) and not variadic):
        raise TraceError(
            f"{type(model).__name__}.forward takes {len(required)} input(s) ({', '.join(required)}) but the "
            f"example has {count}; give a tuple with one tensor for each"
        )
    return [p.name for p in named[:count]] + [f"input_{i}" for i in range(count - len(named))]


def bound_arguments(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Argument]:
    """Return the arguments of one call of ``model``'s forward, in the order of its signature.

    Args:
        model: the module that is called.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        TraceError: forward does not take these.
    """
    signature = inspect.signature(model.forward)
    try:
        values = signature.bind(*args, **kwargs).arguments
    except TypeError as error:
        raise TraceError(f"{type(model).__name__}.forward does not take these arguments: {error}") from error
    arguments = []
    for name, value in values.items():
        parameter = signature.parameters[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            arguments += [Argument(f"input_{number}", item) for number, item in enumerate(value)]
        elif parameter.kind is parameter.VAR_KEYWORD:
            _check_keywords(model, value)
            arguments += [Argument(key, item, keyword=True) for key, item in value.items()]
        else:
            only = parameter.kind is parameter.KEYWORD_ONLY
            arguments.append(Argument(name, value, only, parameter.default))
    return arguments


def _check_keywords(model: nn.Module, values: dict[str, Any]) -> None:
    """Refuse keywords that are no names: they become source code, and may come from a file."""
    for key in values:
        if not key.isidentifier() or keyword.iskeyword(key):
            raise TraceError(
                f"{type(model).__name__}.forward takes the keyword {ascii(key)}, which is no name"
            )


@contextmanager
def _taking(model: nn.Module, arguments: list[Argument]) -> Iterator[str]:
    """Give the model's class a method with just these arguments in the block; yield its name.

    torch.fx traces every argument of the method it is given: with None for a default it would go astray.
    """
    names, method = ", ".join(a.name for a in arguments), "edgeprune_forward"
    parameters = [(a.name, repr(a.value) if a.fixed else a.name, a.keyword) for a in arguments]
    passed = ", ".join(f"{name}={value}" if keyword else value for name, value, keyword in parameters)
    scope: dict[str, Any] = {}
    exec(f"def {method}(self, {names}): return self.forward({passed})", scope)
    code = scope[method].__code__
    own = getattr(type(model).forward, "__globals__", {})
    setattr(type(model), method, types.FunctionType(code, own))
    try:
        yield method
    finally:
        delattr(type(model), method)


_CREATING = ("zeros", "ones", "full", "empty", "rand", "randn")


@contextmanager
def _creating(tracer: ValueTracer) -> Iterator[None]:
    """Record `torch.zeros(n, ...)`, where n may be a traced size, as a call and not a constant, in the block."""
    originals = {name: getattr(torch, name) for name in _CREATING}

    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def create(*args: Any, **kwargs: Any) -> Any:
            proxies: list[Proxy] = []
            fx.node.map_aggregate((args, kwargs), lambda v: proxies.append(v) if isinstance(v, Proxy) else v)
            sizes = args[0] if args and isinstance(args[0], (tuple, list)) else args
            if tracer._running or not (proxies or len(sizes) > 1):
                return function(*args, **kwargs)
            return tracer.create_proxy("call_function", function, args, kwargs)

        return create

    for name, function in originals.items():
        setattr(torch, name, traced(function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(torch, name, function)


@contextmanager
def _no_own_gradients() -> Iterator[None]:
    """Refuse functions that bring their own gradient: a trace would see through them."""
    original = vars(torch.autograd.Function)["apply"]  # the class method itself, not bound to Function

    def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Proxy) for value in (*args, *kwargs.values())):
            raise TraceError(
                f"cannot trace this model: {kind.__name__} has a gradient of its own at {user_line()}"
            )
        return original.__func__(kind, *args, **kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


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


def _context() -> tuple[bool, ...]:
    """What decides how calls are carried out, besides their arguments."""
    return (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"))


def trace(model: nn.Module, inputs: tuple[Any, ...]) -> fx.GraphModule:
    """Trace ``model`` in eval mode on ``inputs``; every node's value is in ``node.meta[VALUE]``.

    The model's own tensors are shared, not copied, and its training flags are put back.

    Raises:
        TraceError: the model's Python depends on a tensor's content, or it does not run on ``inputs``.
    """
    _check_inputs(inputs)
    arguments = [
        Argument(name, value) for name, value in zip(_input_names(model, len(inputs)), inputs, strict=True)
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
            entered.enter_context(_no_own_gradients())
            method = entered.enter_context(_taking(model, arguments))
            tracer = ValueTracer(model, tuple(a.value for a in arguments), leaves)
            tracer.traced_func_name = method
            entered.enter_context(_creating(tracer))
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


def _check_inputs(inputs: tuple[Any, ...]) -> None:
    for value in inputs:
        if not isinstance(value, (torch.Tensor, list, tuple, dict)):
            raise TraceError(
                f"an example input is of type {type(value).__name__}, not a tensor: "
                "give a torch tensor, or a tuple with one for each argument of forward"
            )


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
