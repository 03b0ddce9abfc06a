"""Watch a network run its own forward and note every call.

The user's Python runs as it is: hooks, dicts, state on self, custom autograd functions, branches. A
`TorchFunctionMode` sees each call of torch's interface; what runs below it (scripted functions) is seen by a
`TorchDispatchMode`. So nothing computes on a recorded tensor unseen.
"""

import inspect
import linecache
import operator
import os
import sys
from collections import OrderedDict, defaultdict
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn, overrides
from torch.nn.modules import module as torch_module
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch as python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from edgeprune.errors import TraceError
from edgeprune.recording.checkpoints import nothing_recomputed
from edgeprune.recording.contents import CONTENT, decided, is_discrete
from edgeprune.recording.flops import flops_of
from edgeprune.recording.modes import mode_reads
from edgeprune.recording.names import name_of
from edgeprune.recording.opaque import (
    FLOPS,
    OPAQUE,
    WHY,
    Opaque,
    Parts,
    modules_in,
    opaque_call,
    outer_part,
    scripted_parts,
    tensors_within,
)
from edgeprune.recording.record import CALL, SIZED, VALUE, WRITES, CallSite, Record, Visit, container
from edgeprune.recording.uncomputed import stand_in
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
# Questions for an address: who asks it computes, or writes, where torch does not see it.
_ADDRESSES = frozenset(["data_ptr", "untyped_storage", "storage"])
_SIZES = frozenset(["shape", "size"])
_WITHOUT_TENSORS = frozenset([str, bytes, int, float, bool, type(None), torch.dtype, torch.device])
_CONTAINERS = frozenset([dict, OrderedDict, list, tuple, set])
_DEEPEST = 8  # containers in containers that are looked into
_UNSEEN = "it gives a tensor that was made where it cannot be seen"
_OWN = f"{Path(torch.__file__).parent}{os.sep}"
_HERE = tuple(f"{Path(__file__).parents[1] / room}{os.sep}" for room in ("recording", "graph", "rewrite"))


class ModuleStack:
    """The modules that are running, outermost first, by global forward hooks: nothing is put on the user's modules."""

    def __init__(self, model: nn.Module, parts: Parts | None = None) -> None:
        """``parts`` are kept whole: what runs in them is no call of the network."""
        self.paths = [""]
        self.watchers: list[Any] = []  # told when a module begins and ends
        self.mode: WatchMode | None = None
        self.parts: Parts = parts or {}
        self.inside = 0  # modules that run in a part that is kept whole, with that part itself
        self.failed: tuple[BaseException, str] | None = (
            None  # an error, and the innermost module it came from
        )
        self._owners = modules_in(model, self.parts)
        self._suspended = Suspended()
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
            self._suspended.end()
            entering.remove()
            leaving.remove()
            # torch leaves this entry behind, and warns of global hooks ever after in torch.compile.
            torch_module._global_forward_hooks_with_kwargs.pop(leaving.id, None)

    def _enter(self, module: nn.Module, args: Any) -> None:
        # torch gives such hooks no keyword arguments; its frame has them.
        kwargs = sys._getframe(1).f_locals.get("kwargs", {})
        if self.inside:
            self.inside += 1
            return
        path = self._names.get(id(module))
        self.paths.append(self.paths[-1] if path is None else path)
        if path is not None and id(module) in self._owners:
            self._enter_part(path, self.parts[self._owners[id(module)]], args, kwargs)
            return
        self._tell("entered", module, path, args, kwargs)

    def _enter_part(self, path: str, part: Opaque, args: Any, kwargs: Any) -> None:
        self.inside = 1
        self._tell("entered_part", path, args, kwargs)
        if part.unwatched:
            self._suspended.begin()

    def _leave(self, module: nn.Module, args: Any, *rest: Any) -> Any:
        # After an error torch leaves out the kwargs.
        raised = len(rest) == 1
        kwargs, result = ({}, rest[0]) if raised else rest
        if raised:
            self._note_error()
        if self.inside:
            return self._leave_part(result)
        self._tell("left", module, self._names.get(id(module)), (args, kwargs), result)
        if len(self.paths) > 1:
            self.paths.pop()
        return None

    def _leave_part(self, result: Any) -> Any:
        """The end of a part that is kept whole, or of a module in it; a watcher may put another result there."""
        self.inside -= 1
        if self.inside:
            return None
        self._suspended.end()
        return self._tell("left_part", self.paths.pop(), result)

    def _note_error(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and (self.failed is None or self.failed[0] is not error):
            self.failed = (error, self.paths[-1])

    def _tell(self, event: str, *about: Any) -> Any:
        """Tell the watchers; what they compute is not a part of the network."""
        if self.mode is not None:
            self.mode.depth += 1
        try:
            answer = None
            for watcher in self.watchers:
                other = getattr(watcher, event)(*about)
                answer = answer if other is None else other
            return answer
        finally:
            if self.mode is not None:
                self.mode.depth -= 1

    def next_call(self, op: str) -> CallSite:
        """Return the place of the call that is being made, without its line."""
        path = self.paths[-1]
        number = self._counts[path]
        self._counts[path] += 1
        return CallSite(path, number, op, path in self._leaves, path in self._library)

    def next_part(self, path: str) -> CallSite:
        """Return the place of the run of a part that is kept whole: for the network it is one layer."""
        number = self._counts[path]
        self._counts[path] += 1
        return CallSite(path, number, OPAQUE, in_layer=True, in_library=True)


class Suspended:
    """Takes our modes away while a part runs that fails under them, and puts them back."""

    def __init__(self) -> None:
        self._modes: list[tuple[Any, Any]] = []  # a mode, and what puts it back

    def begin(self) -> None:
        """Take the modes off."""
        for count, pop, push in (
            (overrides._len_torch_function_stack, overrides._pop_mode, overrides._push_mode),
            (
                python_dispatch._len_torch_dispatch_stack,
                python_dispatch._pop_mode,
                python_dispatch._push_mode,
            ),
        ):
            modes = [pop() for _ in range(count())]
            for mode in reversed(modes):
                if isinstance(mode, (WatchMode, Below)):
                    self._modes.append((mode, push))
                else:
                    push(mode)

    def end(self) -> None:
        """Put back what was taken off, if anything."""
        while self._modes:
            mode, push = self._modes.pop()
            push(mode)


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
        if self._mode.stack.inside and not self._mode.depth:
            return self._mode.on_inner_call(func, args, kwargs or {})
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
        if self.stack.inside and not self.depth:
            return self.on_inner_call(func, args, kwargs)
        op = name_of(func)
        if not self.depth and op in _ADDRESSES:
            self.on_address(args)
        if not self.depth and op in _SIZES:
            self.on_size(args)
        if self.depth or not is_call(func, op, args):
            return func(*args, **kwargs)
        # What watches below torch's interface has nothing to see inside a call, and costs time.
        below = python_dispatch._get_current_dispatch_mode()
        if not isinstance(below, Below):  # a mode of the user's own has come above it
            below = None
        if below is not None:
            python_dispatch._pop_mode()
        self.depth += 1
        try:
            return self.on_call(func, op, args, kwargs)
        finally:
            self.depth -= 1
            if below is not None:
                python_dispatch._push_mode(below)

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call."""
        raise NotImplementedError

    def on_address(self, args: Any) -> None:
        """The address of a tensor is asked for."""

    def on_size(self, args: Any) -> None:
        """The size of a tensor is asked for."""

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out one call in a part that is kept whole."""
        return func(*args, **kwargs)

    def entered(self, module: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """A module begins to run."""

    def left(self, module: nn.Module, path: str | None, arguments: tuple[Any, Any], result: Any) -> None:
        """A module has run, with the arguments that its own hooks made of those it was called with."""

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """A part that is kept whole begins to run."""

    def left_part(self, path: str, result: Any) -> Any:
        """It has run; what is returned, if anything, takes the place of its result."""


class Recorder(WatchMode):
    """Notes each call as a node of a graph."""

    def __init__(self, model: nn.Module, stack: ModuleStack, *, quick: bool = False) -> None:
        super().__init__(stack)
        self.quick = quick  # costly calls are not computed
        self.asked_content = False
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
        self._within = tensors_within(model, stack.parts)
        self._passage: Passage | None = None
        self._made_within = (
            WeakIdKeyDictionary()
        )  # tensors that a part made, which may come out by another way
        self.foreign: dict[str, str] = {}  # modules whose tensors are not known, with the reason
        self.strangers: dict[
            tuple[str, int], Tensor
        ] = {}  # tensors of unknown origin, by the module that has them
        self.reads_mode = True  # whether the network may do something else in the other mode
        self.unseen: Container[tuple[str, int]] = ()  # of these, what is known to depend on the input
        self._held = _held_tensors(model)
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

    # --- parts that are kept whole -------------------------------------------------------------------

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """A part begins to run: what it is given is protected."""
        visit = Visit(path, self._structure(tuple(args)), first=len(self.graph.nodes))
        visit.kwargs = self._structure(dict(kwargs))
        self.visits.append(visit)
        site = replace(self.stack.next_part(path), line=user_line())
        self._passage = Passage(visit, site)
        for tensor in tensors_of((args, kwargs)):
            self._passage.admit(tensor)

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out a call in a part: of interest is what it reads of the rest of the network, and what it makes."""
        assert self._passage is not None
        for tensor in tensors_of((args, kwargs)):
            if self._enters(tensor):
                self._passage.admit(tensor)
        result = func(*args, **kwargs)
        self._passage.flops += flops_of(func, args, result)
        for tensor in tensors_of(result):
            if tensor not in self._nodes and id(tensor) not in self._attributes:
                self._made_within[tensor] = self._passage
        return result

    def _enters(self, tensor: Tensor) -> bool:
        if id(tensor) in self._within:
            return False
        return tensor in self._nodes or id(tensor) in self._attributes

    def left_part(self, path: str, result: Any) -> Any:
        """A part has run: one call, with a value for each tensor that it gave or wrote into."""
        passage, self._passage = self._passage, None
        assert passage is not None
        part = self.stack.parts[outer_part(path, self.stack.parts) or path]
        node = self._create("call_function", opaque_call, tuple(self._argument(t) for t in passage.entering))
        node.meta |= {
            CALL: passage.site,
            WHY: part.of(path),
            FLOPS: None if part.unwatched else passage.flops,
            VALUE: (),
        }
        passage.node = node
        self._dynamic.add(node)
        for tensor in passage.written():
            before = self._nodes[tensor]
            self._writes.append((node, before))
            self._part_of(passage, tensor, self._memory[before])
        for tensor in tensors_of(result):
            if not any(tensor is other for other in passage.entering):
                self._part_of(passage, tensor)
        passage.visit.result = self._structure(result)
        passage.visit.last = len(self.graph.nodes)
        return None

    def _part_of(self, passage: "Passage", tensor: Tensor, memory: fx.Node | None = None) -> fx.Node:
        """One tensor of what a part gave."""
        node = passage.node
        assert node is not None
        part = self._create("call_function", operator.getitem, (node, len(node.meta[VALUE])))
        part.meta |= {VALUE: hollow(tensor), "part": True}
        node.meta[VALUE] = (*node.meta[VALUE], part.meta[VALUE])
        self._dynamic.add(part)
        self._know(tensor, part, memory or self._shared(tensor, part, passage.entering))
        return part

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
            if node is None and value in self._made_within:  # kept on a module, say
                node = self._part_of(self._made_within[value], value)
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
        if name is None and id(tensor) not in self._held:
            path = self.stack.paths[-1]
            stranger = (path, sum(other == path for other, _ in self.strangers))
            self.strangers[stranger] = tensor
            if stranger in self.unseen:
                return self._made_unseen(tensor)
        if name is None:
            name = f"_constant_{len(self.constants)}"
            self.constants[name] = tensor
        node = self._create("get_attr", name)
        node.meta[VALUE] = tensor
        self._know(tensor, node, node)
        return node

    def _in_reach(self) -> list[fx.Node]:
        """All that the network's own code could have read so far: what it made, and what modules gave."""
        passed: set[fx.Node] = set()
        for visit in self.visits:
            fx.node.map_arg((visit.args, visit.kwargs, visit.result), passed.add)
        return [n for n in self.graph.nodes if n in self._dynamic and (n in passed or container(n) == "")]

    def _made_unseen(self, tensor: Tensor) -> fx.Node:
        """A tensor that depends on the input, though no call has made it: on what, is not known."""
        node = self._create("call_function", opaque_call, tuple(self._in_reach()))
        why = f"a tensor is made where it cannot be seen, and used at {with_code(user_line())}"
        # It is no call of the code: those keep their numbers.
        node.meta[CALL] = CallSite(self.stack.paths[-1], -len(self.strangers), OPAQUE, line=user_line())
        node.meta |= {WHY: why, FLOPS: 0, VALUE: ()}
        self._dynamic.add(node)
        return self._part_of(Passage(Visit("", None), node.meta[CALL], node=node), tensor)

    def _create(self, kind: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        return self.graph.create_node(kind, target, args, kwargs or {}, _node_name(target))

    # --- calls ---------------------------------------------------------------------------------------

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and note it."""
        site = self.stack.next_call(op)
        tensors = tensors_of((args, kwargs))
        versions = [version_of(t) for t in tensors]
        result = stand_in(func, args, kwargs) if self.quick else None
        if result is None:
            result = func(*args, **kwargs)
        outputs = tensors_of(result)
        self._note_foreign(site.path, [*tensors, *outputs])
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
        if self.quick:
            self._stop_at_content(node, result, outputs)
        return result

    def _stop_at_content(self, node: fx.Node, result: Any, outputs: list[Tensor]) -> None:
        """End a quick run where the network asks for what is in a tensor: there may be zeros in place of numbers."""
        sources = [n for n in node.all_input_nodes if n in self._dynamic]
        picks = any(is_discrete(tensor) for n in sources for tensor in tensors_of(n.meta[VALUE]))
        if sources and (CONTENT in node.meta or picks or (not outputs and result is not None)):
            self.asked_content = True
            raise ContentAsked

    def on_address(self, args: Any) -> None:
        """The address of a tensor is asked for: what is done with it is not seen."""
        path = self.stack.paths[-1]
        if any(self._nodes.get(t) in self._dynamic for t in tensors_of(args)):
            self.foreign.setdefault(path, "it reads memory by its address, which cannot be followed")

    def on_size(self, args: Any) -> None:
        """The size of a tensor is asked for: numbers in later calls may follow it."""
        node = self._nodes.get(args[0])
        if node is not None:
            node.meta[SIZED] = True

    def _note_foreign(self, path: str, tensors: list[Tensor]) -> None:
        """Tensors of other memory or with a dispatch of their own mean what we do not know."""
        for tensor in tensors:
            if path not in self.foreign and is_foreign(tensor):
                self.foreign[path] = f"it computes with {describe_foreign(tensor)}, which cannot be followed"

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
        if written is None and node in self._dynamic:
            content = decided(node.meta[CALL].op, tensors, result)
            if content is not None:
                node.meta[CONTENT] = content
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
                node.meta[WRITES] = [*node.meta.get(WRITES, []), *late, before]
        return self.graph


@dataclass
class Passage:
    """One run of a part that is kept whole: the tensors that enter it, as they were then."""

    visit: Visit
    site: CallSite
    entering: list[Tensor] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    flops: int = 0
    node: fx.Node | None = None

    def admit(self, tensor: Tensor) -> None:
        """Note a tensor before it is used."""
        if not any(tensor is other for other in self.entering):
            self.entering.append(tensor)
            self.versions.append(version_of(tensor))

    def written(self) -> list[Tensor]:
        """The tensors that were written into since."""
        return [t for t, v in zip(self.entering, self.versions, strict=True) if version_of(t) != v]


class ContentAsked(BaseException):
    """The network asks for what is in a tensor; no code that catches errors may catch this."""


class NotWatched(Exception):
    """A network cannot be watched for what happens in the module ``path``."""

    def __init__(self, parts: dict[str, Opaque], error: TraceError | None = None) -> None:
        super().__init__(", ".join(parts))
        self.parts, self.error = parts, error


def watch(
    model: nn.Module, inputs: tuple[Any, ...], *, training: bool = False, parts: Parts | None = None
) -> Record:
    """Run ``model`` on ``inputs`` and record its calls; nothing of the model or of random state is changed.

    A module that cannot be watched is kept whole, with the reason, or else the one around it.

    Args:
        model: the user's network, in any mode.
        inputs: the arguments of forward: tensors, or lists, tuples and dicts of them.
        training: record the training mode instead of evaluation.
        parts: modules that are kept whole anyhow.

    Raises:
        TraceError: the model does not run on ``inputs``, or only where it is not watched.
    """
    _check_arguments(model, inputs)
    known = {**scripted_parts(model), **(parts or {})}
    while True:
        try:
            return _watched(model, inputs, known, training=training)
        except NotWatched as problem:
            if problem.error is not None and not _runs_alone(model, inputs, training=training):
                raise problem.error from problem.error.__cause__
            for path, part in problem.parts.items():
                _widen(model, known, path, part, problem.error)


def _watched(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: dict[str, Opaque],
    *,
    training: bool,
    unseen: Container[tuple[str, int]] | None = None,
) -> Record:
    """One run; ``unseen`` are the tensors that depend on the input though no call made them, once that is known."""
    recorder = _recorded_quickly(model, inputs, parts, training=training) if unseen is None else None
    if recorder is None:
        recorder = _recorded(model, inputs, parts, training=training, unseen=unseen or ())
    if any(recorder.foreign):
        raise NotWatched(foreign_parts(recorder))
    if recorder.strangers and unseen is None:
        depending = _depending(model, inputs, parts, recorder.strangers, training=training)
        within = {path: Opaque(_UNSEEN) for path, _ in depending if path}
        if within:
            raise NotWatched(within)
        if depending:
            return _watched(model, inputs, parts, training=training, unseen=depending)
    return Record(
        model,
        recorder.finish(),
        training,
        recorder.constants,
        recorder.visits,
        dict(parts),
        recorder.reads_mode,
        recorder.quick,
    )


def _recorded_quickly(
    model: nn.Module, inputs: tuple[Any, ...], parts: Parts, *, training: bool
) -> Recorder | None:
    """Record without computing what costs most.

    None where the network asks for what is in its tensors, or anything is out of the ordinary.
    """
    if parts:
        return None
    try:
        recorder = _recorded(model, inputs, parts, training=training, quick=True)
    except (ContentAsked, NotWatched, TraceError):
        return None
    plain = not (recorder.asked_content or recorder.foreign or recorder.strangers)
    return recorder if plain else None


def _recorded(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: Parts,
    *,
    training: bool,
    unseen: Container[tuple[str, int]] = (),
    quick: bool = False,
) -> Recorder:
    stack = ModuleStack(model, parts)
    recorder = Recorder(model, stack, quick=quick)
    recorder.unseen = unseen
    for number, tensor in enumerate(tensors_of(inputs)):
        recorder.input(tensor, f"input_{number}")
    with untouched(model), torch.no_grad():
        model.train(training)
        try:
            with mode_reads(model) as reads:
                output = run_watched(model, inputs, recorder)
        except TraceError as error:
            cause = error.__cause__
            if cause is None:
                raise
            if any(recorder.foreign):
                raise NotWatched(foreign_parts(recorder)) from error
            path = stack.failed[1] if stack.failed is not None and stack.failed[0] is cause else ""
            reason = f"it cannot be watched ({type(cause).__name__}: {first_line(cause)})"
            raise NotWatched({path: Opaque(reason, unwatched=True)}, error) from error
        recorder.output(output)
    recorder.reads_mode = reads.differs
    return recorder


def foreign_parts(recorder: Recorder) -> dict[str, Opaque]:
    """Give the modules that compute with what cannot be followed; the network's own code is none."""
    return {path: Opaque(reason) for path, reason in recorder.foreign.items() if path}


def _depending(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: Parts,
    strangers: dict[tuple[str, int], Tensor],
    *,
    training: bool,
) -> set[tuple[str, int]]:
    """Which tensors of unknown origin are others for another input."""
    try:
        others = _recorded(model, _disturbed(inputs), parts, training=training).strangers
    except (NotWatched, TraceError):
        return set()
    return {
        key
        for key, tensor in strangers.items()
        if key in others and others[key] is not tensor and not _are_equal(tensor, others[key])
    }


def _disturbed(value: Any) -> Any:
    """The inputs with other numbers in place of those that are not whole."""
    generator = torch.Generator().manual_seed(0)

    def other(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or is_foreign(tensor):
            return tensor
        return tensor + torch.rand(tensor.shape, generator=generator).to(tensor)

    return fx.node.map_aggregate(value, lambda item: other(item) if isinstance(item, Tensor) else item)


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())


def _runs_alone(model: nn.Module, inputs: tuple[Any, ...], *, training: bool) -> bool:
    """Whether the network runs where nobody watches."""
    with untouched(model), torch.no_grad():
        model.train(training)
        try:
            model(*inputs)
        except Exception:
            return False
    return True


def _widen(
    model: nn.Module, parts: dict[str, Opaque], path: str, part: Opaque, error: TraceError | None
) -> None:
    """Keep a module whole that could not be watched; the one around where that did not help."""
    around = outer_part(path, parts)
    if around is not None and part.unwatched and not parts[around].unwatched:
        parts[around] = replace(parts[around], unwatched=True)
        return
    while path and outer_part(path, parts) is not None:
        path = path.rpartition(".")[0]
    if not path:
        cause = error.__cause__ if error is not None else None
        place = "" if cause is None else f" at {raised_at(cause)}"
        raise TraceError(
            f"{type(model).__name__} runs, but as a whole {part.reason}{place}: put that code into a module of "
            "its own, which is then kept whole"
        ) from error
    parts[path] = part


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


@lru_cache(maxsize=1 << 14)
def _node_name(target: Any) -> str:
    """Return what torch.fx names nodes of ``target`` after; it would look for it by regular expressions each time."""
    return fx.Graph()._target_to_str(target)


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
    if is_foreign(t):
        return torch.zeros(()).expand(() if t.is_nested else t.shape)
    return torch.zeros((), dtype=torch.int8 if t.is_quantized else t.dtype).expand(t.shape)


def is_foreign(tensor: Tensor) -> bool:
    """Whether a tensor is of a class with a dispatch of its own, or of another memory than plain strided numbers."""
    kind = type(tensor)
    if kind is not Tensor and kind.__torch_dispatch__ is not Tensor.__torch_dispatch__:
        return True
    return tensor.layout is not torch.strided or tensor.is_nested


def describe_foreign(tensor: Tensor) -> str:
    """Return what a person would call such a tensor."""
    if type(tensor) not in (Tensor, nn.Parameter):
        return f"tensors of {type(tensor).__name__}"
    return "nested tensors" if tensor.is_nested else f"tensors of layout {str(tensor.layout)[6:]}"


def _mapped(value: Any, function: Any) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, (tuple, list)):
        return tuple(_mapped(v, function) for v in value)
    if isinstance(value, dict):
        return {k: _mapped(v, function) for k, v in value.items()}
    return value


def _held_tensors(model: nn.Module) -> set[int]:
    """The ids of all tensors that modules hold, in attributes of any kind."""
    held: set[int] = set()
    for module in model.modules():
        for name, value in vars(module).items():
            kind = type(value)
            if kind in _WITHOUT_TENSORS or name == "_modules" or (kind in _CONTAINERS and not value):
                continue
            held.update(map(id, tensors_of(value)))
    return held


def tensors_of(value: Any) -> list[Tensor]:
    """All tensors of nested containers, dataclasses and plain objects, in order."""
    tensors: list[Tensor] = []
    _collect(value, tensors, 0)
    return tensors


def _collect(value: Any, tensors: list[Tensor], depth: int) -> None:
    if isinstance(value, Tensor):
        tensors.append(value)
        return
    if type(value) in _WITHOUT_TENSORS or depth > _DEEPEST:
        return
    items: Any
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, (tuple, list, set, frozenset)):
        items = value
    elif isinstance(value, slice):
        items = value.start, value.stop, value.step
    elif isinstance(value, (str, bytes, int, float, nn.Module, type)):
        return
    else:
        state = getattr(value, "__dict__", None)
        if not isinstance(state, dict) or callable(value):
            return
        items = state.values()
    for item in items:
        _collect(item, tensors, depth + 1)


def is_call(func: Any, op: str, args: Any) -> bool:
    """Tell whether ``func``, known as ``op``, is a call of the network: no question, and no count of batches."""
    return op not in QUESTIONS and not (op == "add" and _is_counter(func, args))


def _is_counter(func: Any, args: Any) -> bool:
    """Whether a call counts something (BatchNorm's batches, in training only): that is not a part of the network."""
    counts = getattr(func, "__name__", "") in ("add_", "__iadd__", "add_.Tensor", "add_.Scalar")
    target = args[0] if args else None
    return counts and isinstance(target, Tensor) and target.dim() == 0 and not target.is_floating_point()


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
