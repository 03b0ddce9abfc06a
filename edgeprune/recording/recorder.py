"""Watch a network run its own forward and note every call.

The user's Python runs as it is: hooks, dicts, state on self, custom autograd functions, branches. A
`TorchFunctionMode` sees each call of torch's interface; what runs below it (scripted functions) is seen by a
`TorchDispatchMode`. So nothing computes on a recorded tensor unseen.
"""

import inspect
import linecache
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from edgeprune.errors import TraceError
from edgeprune.recording.checkpoints import nothing_recomputed
from edgeprune.recording.names import name_of
from edgeprune.recording.record import CALL, VALUE, WRITES, CallSite, Record, Visit
from edgeprune.recording.untouched import untouched

# Questions about a tensor that its content does not answer: not calls of the network.
QUESTIONS = frozenset(
    [
        "shape",
        "dtype",
        "device",
        "ndim",
        "layout",
        "requires_grad",
        "is_cuda",
        "is_cpu",
        "is_meta",
        "is_sparse",
        "is_quantized",
        "is_nested",
        "is_mkldnn",
        "is_leaf",
        "is_mps",
        "is_xla",
        "is_xpu",
        "grad",
        "grad_fn",
        "grad_set",
        "requires_grad_set",
        "name",
        "names",
        "itemsize",
        "nbytes",
        "is_sparse_csr",
        "size",
        "dim",
        "ndimension",
        "numel",
        "nelement",
        "stride",
        "is_floating_point",
        "is_complex",
        "is_contiguous",
        "is_tensor",
        "element_size",
        "get_device",
        "storage_offset",
        "result_type",
        "is_same_size",
        "is_inference",
        "is_conj",
        "is_neg",
        "is_signed",
        "has_names",
        "len",
        "hash",
        "can_cast",
        "get_default_dtype",
        "is_autocast_enabled",
        "untyped_storage",
        "storage",
        "data_ptr",
        "register_hook",
        "retain_grad",
        "requires_grad_",
        "backward",
        "format",
        "repr",
        "str",
        "reduce_ex",
        "deepcopy",
        "is_storage",
        "is_grad_enabled",
        "set_grad_enabled",
        "is_nonzero_hint",
        "finfo",
        "iinfo",
        "broadcast_shapes",
        "promote_types",
        "is_ipu",
        "is_vulkan",
        "is_maia",
        "is_mtia",
        "volatile",
        "output_nr",
        "_version",
        "get_num_threads",
        "get_rng_state",
        "typename",
    ]
)
_OWN = f"{Path(torch.__file__).parent}{os.sep}"
_HERE = tuple(f"{Path(__file__).parents[1] / room}{os.sep}" for room in ("recording", "graph", "rewrite"))


class ModuleStack:
    """The modules that are running, outermost first, by global forward hooks: nothing is put on the user's modules."""

    def __init__(self, model: nn.Module) -> None:
        self.paths = [""]
        self.watchers: list[Any] = []  # told when a module begins and ends
        self.mode: WatchMode | None = None
        self._names = {id(module): name for name, module in model.named_modules()}
        self._leaves = {name for name, module in model.named_modules() if not module._modules}
        self._library = {name for name, module in model.named_modules() if is_library(module)}
        self._counts: dict[str, int] = defaultdict(int)

    @contextmanager
    def following(self) -> Iterator["ModuleStack"]:
        """Follow the modules that run in the block."""
        entering = torch_module.register_module_forward_pre_hook(self._enter)
        leaving = torch_module.register_module_forward_hook(self._leave, with_kwargs=True, always_call=True)
        try:
            yield self
        finally:
            entering.remove()
            leaving.remove()
            # torch leaves this entry behind, and warns of global hooks ever after in torch.compile.
            torch_module._global_forward_hooks_with_kwargs.pop(leaving.id, None)

    def _enter(self, module: nn.Module, args: Any) -> None:
        # torch gives such hooks no keyword arguments; its frame has them.
        kwargs = sys._getframe(1).f_locals.get("kwargs", {})
        path = self._names.get(id(module))
        self.paths.append(self.paths[-1] if path is None else path)
        with self._unseen():
            for watcher in self.watchers:
                watcher.entered(module, path, args, kwargs)

    def _leave(self, module: nn.Module, args: Any, *rest: Any) -> None:
        kwargs, result = (
            rest if len(rest) == 2 else ({}, rest[0])
        )  # after an error torch leaves out the kwargs
        with self._unseen():
            for watcher in self.watchers:
                watcher.left(module, self._names.get(id(module)), (args, kwargs), result)
        if len(self.paths) > 1:
            self.paths.pop()

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """What watchers compute is not a part of the network."""
        if self.mode is not None:
            self.mode.depth += 1
        try:
            yield
        finally:
            if self.mode is not None:
                self.mode.depth -= 1

    def next_call(self, op: str) -> CallSite:
        """Return the place of the call that is being made, without its line."""
        path = self.paths[-1]
        number = self._counts[path]
        self._counts[path] += 1
        return CallSite(path, number, op, path in self._leaves, path in self._library)


class Below(TorchDispatchMode):
    """Lets calls that reach ATen without passing torch's interface (scripted functions) be seen by the other mode."""

    def __init__(self, mode: "WatchMode") -> None:
        super().__init__()
        self._mode = mode

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not wrap the dispatch for torch.compile: that would import all of torch._dynamo, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._mode.depth or func.namespace in ("prim", "profiler"):
            return func(*args, **(kwargs or {}))
        return self._mode.__torch_function__(func, types, args, kwargs)


class WatchMode(TorchFunctionMode):
    """Calls `on_call` for the outermost calls of torch's interface, in the same order in every run."""

    def __init__(self, stack: ModuleStack) -> None:
        super().__init__()
        self.stack = stack
        stack.mode = self
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = name_of(func)
        if self.depth or op in QUESTIONS or (op == "add" and _is_counter(args)):
            return func(*args, **kwargs)
        self.depth += 1
        try:
            return self.on_call(func, op, args, kwargs)
        finally:
            self.depth -= 1

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call."""
        raise NotImplementedError


class Recorder(WatchMode):
    """Notes each call as a node of a graph."""

    def __init__(self, model: nn.Module, stack: ModuleStack) -> None:
        super().__init__(stack)
        self.graph = fx.Graph()
        self.constants: dict[str, Tensor] = {}
        self._nodes = WeakIdKeyDictionary()
        self._attributes: dict[int, str] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            self._attributes.setdefault(id(tensor), name)
        self._dynamic: set[fx.Node] = set()  # depends on the input
        self._memory: dict[fx.Node, fx.Node] = {}  # the first node in the same memory
        self._families: dict[fx.Node, list[fx.Node]] = defaultdict(list)
        self._writes: list[tuple[fx.Node, fx.Node]] = []
        self.visits: list[Visit] = []
        self._running: list[Visit] = []
        stack.watchers.append(self)

    # --- modules -------------------------------------------------------------------------------------

    def entered(self, module: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """A module begins to run."""
        visit = Visit("" if path is None else path, None, first=len(self.graph.nodes))
        if path is not None and not is_library(module):  # torch's own layers are never rewritten
            visit.args, visit.kwargs = self._structure(tuple(args)), self._structure(dict(kwargs))
            visit.tensors = tensors_of((args, kwargs))
            self.visits.append(visit)
        self._running.append(visit)

    def left(self, module: nn.Module, path: str | None, arguments: tuple[Any, Any], result: Any) -> None:
        """A module has run, with the arguments that its own hooks made of those it was called with."""
        visit = self._running.pop()
        visit.last = len(self.graph.nodes)
        if path is None or is_library(module):
            return
        visit.result = self._structure(result)
        visit.own_arguments = [id(t) for t in tensors_of(arguments)] == [id(t) for t in visit.tensors]
        visit.tensors = []

    # --- values --------------------------------------------------------------------------------------

    def input(self, tensor: Tensor, name: str) -> None:
        """Make ``tensor`` an input of the network."""
        node = self.graph.placeholder(name)
        node.meta[VALUE] = hollow(tensor)
        self._dynamic.add(node)
        self._know(tensor, node, node)

    def output(self, value: Any) -> None:
        """End the graph with the tensors of ``value``."""
        node = self.graph.output(tuple(self._argument(t) for t in tensors_of(value)))
        node.meta[VALUE] = None

    def _know(self, tensor: Tensor, node: fx.Node, memory: fx.Node) -> None:
        self._nodes[tensor] = node
        self._memory[node] = memory
        self._families[memory].append(node)

    def _argument(self, value: Any) -> Any:
        """The node of a tensor, the same in containers; other values as they are."""
        if isinstance(value, Tensor):
            node = self._nodes.get(value)
            return self._constant(value) if node is None else node
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (tuple, list)):
            return (
                type(value)(self._argument(v) for v in value)
                if type(value) in (tuple, list)
                else tuple(self._argument(v) for v in value)
            )
        if isinstance(value, dict):
            return {k: self._argument(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(self._argument(value.start), self._argument(value.stop), self._argument(value.step))
        return value

    def _structure(self, value: Any) -> Any:
        """Nodes in plain containers; the tensors of any other object as a tuple of nodes."""
        if isinstance(value, (Tensor, int, float, bool, str, type(None))):
            return self._argument(value)
        if type(value) in (tuple, list):
            return type(value)(self._structure(item) for item in value)
        if type(value) is dict:
            return {key: self._structure(item) for key, item in value.items()}
        return tuple(self._argument(tensor) for tensor in tensors_of(value))

    def _constant(self, tensor: Tensor) -> fx.Node:
        """A parameter, a buffer, or a tensor from outside the run."""
        name = self._attributes.get(id(tensor))
        if name is None:
            name = f"_constant_{len(self.constants)}"
            self.constants[name] = tensor
        node = self._create("get_attr", name)
        node.meta[VALUE] = tensor
        self._know(tensor, node, node)
        return node

    def _create(self, kind: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        return self.graph.create_node(kind, target, args, kwargs or {})

    # --- calls ---------------------------------------------------------------------------------------

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and note it."""
        site = self.stack.next_call(op)
        tensors = tensors_of((args, kwargs))
        versions = [version_of(t) for t in tensors]
        result = func(*args, **kwargs)
        outputs = tensors_of(result)
        if not tensors and not outputs:
            return result
        written = next((t for t, v in zip(tensors, versions, strict=True) if version_of(t) != v), None)
        if op in ("batch_norm", "instance_norm"):  # running statistics follow the data; that is not a write
            written = None
        node = self._create("call_function", func, self._argument(tuple(args)), self._argument(dict(kwargs)))
        node.meta[CALL] = replace(site, line=user_line())
        if any(n in self._dynamic for n in node.all_input_nodes):
            self._dynamic.add(node)
        if written is not None:
            self._write(node, written)
        self._note_outputs(node, result, outputs, tensors, written)
        return result

    def _write(self, node: fx.Node, tensor: Tensor) -> None:
        before = self._nodes.get(tensor)
        if before is None:
            before = self._constant(tensor)
        self._writes.append((node, before))

    def _note_outputs(
        self, node: fx.Node, result: Any, outputs: list[Tensor], tensors: list[Tensor], written: Tensor | None
    ) -> None:
        value = written if written is not None and not outputs else result
        node.meta[VALUE] = self._value(node, value)
        if written is not None:
            self._know(written, node, self._memory[self._writes[-1][1]])
            outputs = [t for t in outputs if t is not written]
        if isinstance(result, Tensor):
            if result is not written and not any(result is t for t in tensors):
                self._know(result, node, self._shared(result, node, tensors))
            elif result is not written:
                self._nodes[result] = node  # x.contiguous() of what is: the same tensor by another name
                self._memory.setdefault(node, self._memory.get(self._nodes[result], node))
            return
        self._split(node, result, tensors)

    def _split(self, node: fx.Node, result: Any, tensors: list[Tensor]) -> None:
        """A node for each tensor of a call that gave several."""
        import operator

        if not isinstance(result, (tuple, list, dict)):
            return
        for key, item in result.items() if isinstance(result, dict) else enumerate(result):
            if isinstance(item, Tensor):
                part = self._create("call_function", operator.getitem, (node, key))
                part.meta[VALUE] = self._value(node, item)
                part.meta["part"] = True
                if node in self._dynamic:
                    self._dynamic.add(part)
                self._know(item, part, self._shared(item, part, tensors))
            elif isinstance(item, (tuple, list)):
                part = self._create("call_function", operator.getitem, (node, key))
                part.meta[VALUE] = self._value(node, item)
                part.meta["part"] = True
                if node in self._dynamic:
                    self._dynamic.add(part)
                self._split(part, item, tensors)

    def _shared(self, tensor: Tensor, node: fx.Node, tensors: list[Tensor]) -> fx.Node:
        """The first node whose memory ``tensor`` lies in."""
        key = _storage(tensor)
        for other in tensors:
            if key is not None and _storage(other) == key and other in self._nodes:
                return self._memory[self._nodes[other]]
        return node

    def _value(self, node: fx.Node, value: Any) -> Any:
        """What is kept of a result: numbers where the input does not decide them, else the shape alone."""
        if node in self._dynamic:
            return hollow(value)
        return _mapped(value, lambda t: t.detach().clone() if t.numel() < 2**22 else hollow(t))

    # --- the end -------------------------------------------------------------------------------------

    def finish(self) -> fx.Graph:
        """Mark the in-place calls that change memory which is used by another name later."""
        order = {node: place for place, node in enumerate(self.graph.nodes)}
        for node, before in self._writes:
            family = self._families[self._memory[before]]
            late = [
                n
                for n in family
                if n not in (node, before)
                and order[n] < order[node]
                and any(order[u] > order[node] for u in n.users)
            ]
            if late:
                node.meta[WRITES] = [*late, before]
        return self.graph


def watch(model: nn.Module, inputs: tuple[Any, ...], *, training: bool = False) -> Record:
    """Run ``model`` on ``inputs`` and record its calls; nothing of the model or of random state is changed.

    Args:
        model: the user's network, in any mode.
        inputs: the arguments of forward: tensors, or lists, tuples and dicts of them.
        training: record the training mode instead of evaluation.

    Raises:
        TraceError: the model does not run on ``inputs``.
    """
    _check_arguments(model, inputs)
    stack = ModuleStack(model)
    recorder = Recorder(model, stack)
    for number, tensor in enumerate(tensors_of(inputs)):
        recorder.input(tensor, f"input_{number}")
    with untouched(model), torch.no_grad():
        model.train(training)
        output = run_watched(model, inputs, recorder)
        recorder.output(output)
    return Record(model, recorder.finish(), training, recorder.constants, recorder.visits)


def _check_arguments(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Raise a TraceError that says what to do where forward cannot take the example."""
    parameters, signature = [], None
    try:
        signature = inspect.signature(model.forward)
        signature.bind(*inputs)
    except ValueError:  # a builtin without a signature
        pass
    except TypeError as error:
        for parameter in signature.parameters.values() if signature else ():
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                parameters.append(parameter.name)
        raise TraceError(
            f"{type(model).__name__}.forward takes {len(parameters)} input(s) ({', '.join(parameters)}) but the "
            f"example has {len(inputs)}; give a tuple with one tensor for each"
        ) from error
    if not tensors_of(inputs):
        kinds = ", ".join(type(value).__name__ for value in inputs) or "nothing"
        raise TraceError(
            f"the example input ({kinds}) holds no tensor: "
            "give a torch tensor, or a tuple with one for each argument of forward"
        )


def run_watched(model: nn.Module, inputs: tuple[Any, ...], mode: WatchMode) -> Any:
    """Run ``model`` under ``mode``; an error of the user's code becomes a TraceError that names its line."""
    try:
        with ExitStack() as entered:
            entered.enter_context(nothing_recomputed())
            entered.enter_context(mode.stack.following())
            entered.enter_context(mode)
            entered.enter_context(Below(mode))
            return model(*inputs)
    except (TraceError, KeyboardInterrupt):
        raise
    except Exception as error:
        if getattr(error, "passes_watch", False):
            raise
        raise TraceError(
            f"the model does not run on the example input ({type(error).__name__}: {first_line(error)}) "
            f"at {raised_at(error)}; check the example's shape and type"
        ) from error


# --- small things --------------------------------------------------------------------------------------


def is_library(module: nn.Module) -> bool:
    """Whether a module is one of torch's own layers, so that nothing is written into its forward for one network."""
    forward = getattr(type(module), "forward", None)  # a scripted module's class has none
    return not module._modules and getattr(forward, "__module__", "").startswith(
        ("torch.nn.", "torch.ao.nn.")
    )


def hollow(value: Any) -> Any:
    """Zeros of stride 0 in place of every tensor: its shape and type without its memory."""
    return _mapped(value, _hollow_tensor)


def _hollow_tensor(t: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.int8 if t.is_quantized else t.dtype).expand(t.shape)


def _mapped(value: Any, function: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return tuple(_mapped(v, function) for v in value)
    if isinstance(value, dict):
        return {k: _mapped(v, function) for k, v in value.items()}
    return value


def tensors_of(value: Any, _depth: int = 0) -> list[Tensor]:
    """All tensors of nested containers, dataclasses and plain objects, in order."""
    if isinstance(value, Tensor):
        return [value]
    if (
        isinstance(
            value, (str, bytes, int, float, bool, type(None), torch.dtype, torch.device, nn.Module, type)
        )
        or _depth > 8
    ):
        return []
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_of(v, _depth + 1)]
    if isinstance(value, (tuple, list, set, frozenset)):
        return [t for v in value for t in tensors_of(v, _depth + 1)]
    if isinstance(value, slice):
        return tensors_of((value.start, value.stop, value.step), _depth + 1)
    state = getattr(value, "__dict__", None)
    return tensors_of(state, _depth + 1) if isinstance(state, dict) and not callable(value) else []


def _is_counter(args: Any) -> bool:
    """Whether a call counts something (BatchNorm's batches, in training only): that is not a part of the network."""
    return (
        bool(args) and isinstance(args[0], Tensor) and args[0].dim() == 0 and not args[0].is_floating_point()
    )


def version_of(tensor: Tensor) -> int:
    """How often a tensor was written into; inference tensors do not count."""
    try:
        return tensor._version
    except RuntimeError:
        return 0


def _storage(tensor: Tensor) -> int | None:
    try:
        return tensor.untyped_storage()._cdata
    except (RuntimeError, NotImplementedError):
        return None


def user_line() -> str:
    """Return 'file:line: code' of the innermost running frame that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_OWN, *_HERE, "<")):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def with_code(line: str) -> str:
    """Add the code to 'file:line'."""
    name, _, number = line.rpartition(":")
    code = linecache.getline(name, int(number)).strip() if number.isdigit() else ""
    return f"{line}: {code}" if code else line or "an unknown line"


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def raised_at(error: BaseException) -> str:
    """The innermost frame of an error's traceback that is the user's own code."""
    import traceback

    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((_OWN, *_HERE, "<")):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "an unknown line"
