"""Follow a network while it runs: its modules, and the calls of torch that it makes.

The user's Python runs as it is: hooks, dicts, state on self, custom autograd functions, branches. A
`TorchFunctionMode` sees each call of torch's interface; what runs below it (scripted functions) is seen by a
`TorchDispatchMode`. So nothing computes on a tensor unseen.
"""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn, overrides
from torch.nn.modules import module as torch_module
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils import _python_dispatch as python_dispatch
from torch.utils._python_dispatch import TorchDispatchMode

from edgeprune.errors import TraceError
from edgeprune.recording.checkpoints import nothing_recomputed
from edgeprune.recording.lines import at_line, first_line
from edgeprune.recording.names import name_of
from edgeprune.recording.opaque import (
    OPAQUE,
    Opaque,
    Parts,
    modules_in,
)
from edgeprune.recording.record import CallSite
from edgeprune.recording.walks import named_modules

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
# Questions that an image of another size may answer otherwise.
OF_SIZES = _SIZES | frozenset(
    [
        "numel",
        "nelement",
        "stride",
        "is_contiguous",
        "is_same_size",
        "broadcast_shapes",
        "len",
        "storage_offset",
        "untyped_storage",
        "storage",
        "data_ptr",
        "nbytes",
        "format",
        "repr",
        "str",
        "reduce_ex",
        "deepcopy",
        "volatile",
    ]
)


class ContentAsked(BaseException):
    """The network asks for what is in a tensor; no code that catches errors may catch this."""


class ModuleStack:
    """The modules that are running, outermost first, by global forward hooks: nothing is put on the user's modules."""

    def __init__(self, model: nn.Module, parts: Parts | None = None) -> None:
        """Follow ``model``; ``parts`` are opaque: what runs inside them is not a call of the network."""
        self.paths = [""]
        self.watchers: list[Any] = []  # notified when a module begins and ends
        self.mode: WatchMode | None = None
        self.parts: Parts = parts or {}
        self.inside = 0  # modules that run in a part that is kept whole, with that part itself
        self.failed: tuple[BaseException, str] | None = (
            None  # an error, and the innermost module it came from
        )
        self._owners = modules_in(model, self.parts)
        self._suspended = Suspended()
        self.walked = walked = named_modules(model)
        self._names = {id(module): name for name, module in walked}
        self._leaves = {name for name, module in walked if not module._modules}
        self._layers = {id(module): name for name, module in walked if is_library(module)}  # torch's own
        self._library = set(self._layers.values())
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
        if self.inside:
            self.inside += 1
            return
        path = self._names.get(id(module))
        self.paths.append(self.paths[-1] if path is None else path)
        part = path is not None and id(module) in self._owners
        if not part and id(module) in self._layers:  # torch's own layers are never rewritten: nobody asks
            return
        # torch gives such hooks no keyword arguments; its frame has them.
        kwargs = sys._getframe(1).f_locals.get("kwargs", {})
        if path is not None and part:
            self._enter_part(path, self.parts[self._owners[id(module)]], args, kwargs)
            return
        self._notify("entered", module, path, args, kwargs)

    def _enter_part(self, path: str, part: Opaque, args: Any, kwargs: Any) -> None:
        self.inside = 1
        self._notify("entered_part", path, args, kwargs)
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
        if id(module) not in self._layers:
            self._notify("left", module, self._names.get(id(module)), (args, kwargs), result)
        if len(self.paths) > 1:
            self.paths.pop()
        return None

    def _leave_part(self, result: Any) -> Any:
        """Leave an opaque part, or a module inside it; a watcher may replace the part's result."""
        self.inside -= 1
        if self.inside:
            return None
        self._suspended.end()
        return self._notify("left_part", self.paths.pop(), result)

    def _note_error(self) -> None:
        error = sys.exc_info()[1]
        if error is not None and (self.failed is None or self.failed[0] is not error):
            self.failed = (error, self.paths[-1])

    def _notify(self, event: str, *about: Any) -> Any:
        """Notify the watchers of an event; what they compute is not part of the network."""
        if self.mode is not None:
            self.mode.depth += 1
        try:
            if len(self.watchers) == 1:
                return getattr(self.watchers[0], event)(*about)
            result = None
            for watcher in self.watchers:
                replacement = getattr(watcher, event)(*about)
                result = result if replacement is None else replacement
            return result
        finally:
            if self.mode is not None:
                self.mode.depth -= 1

    def next_call(self, op: str, line: str = "") -> CallSite:
        """Return the place of the call that is being made, at ``line`` of the user's code."""
        path = self.paths[-1]
        number = self._counts[path]
        self._counts[path] += 1
        return CallSite(path, number, op, path in self._leaves, path in self._library, line)

    def next_part(self, path: str, line: str = "") -> CallSite:
        """Return the place of the run of an opaque part: for the network it is one layer."""
        number = self._counts[path]
        self._counts[path] += 1
        return CallSite(path, number, OPAQUE, in_layer=True, in_library=True, line=line)


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
            if not self.depth:
                self.on_question(op)
            return func(*args, **kwargs)
        # What watches below torch's interface has nothing to see inside a call, and costs time.
        below = python_dispatch._get_current_dispatch_mode()
        if not isinstance(below, Below):  # a mode of the user's own has come above it
            below = None
        if below is not None:
            python_dispatch._pop_torch_dispatch_stack(None)
        self.depth += 1
        try:
            return self.on_call(func, op, args, kwargs)
        finally:
            self.depth -= 1
            if below is not None:
                python_dispatch._push_on_torch_dispatch_stack(below)

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call.

        Args:
            func: the function, method or overload that is called.
            op: its canonical name (see `names.name_of`).
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        raise NotImplementedError

    def on_address(self, args: Any) -> None:
        """Note that the network reads the address of a tensor."""

    def on_question(self, op: str) -> None:
        """Note that the network asks about a tensor what its content does not answer."""

    def on_size(self, args: Any) -> None:
        """Note that the network reads the size of a tensor."""

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out one call inside an opaque part.

        Args:
            func: the function, method or overload that is called.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        return func(*args, **kwargs)

    def entered(self, module: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """Note that a module begins to run that is none of torch's own layers.

        Args:
            module: the module.
            path: its name in the network; None for a module the network does not hold.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """

    def left(self, module: nn.Module, path: str | None, arguments: tuple[Any, Any], result: Any) -> None:
        """Note that a module has run that is none of torch's own layers.

        Args:
            module: the module.
            path: its name in the network; None for a module the network does not hold.
            arguments: positional and keyword arguments, as its own hooks changed them.
            result: its result.
        """

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """Note that an opaque part begins to run.

        Args:
            path: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """

    def left_part(self, path: str, result: Any) -> Any:
        """Note that an opaque part has run; a result that is not None replaces the part's own."""


def is_call(func: Any, op: str, args: Any) -> bool:
    """Tell whether ``func`` is a call of the network: not a query, nor an update of a batch counter.

    Args:
        func: the function, method or overload that is called.
        op: its canonical name (see `names.name_of`).
        args: its positional arguments.
    """
    return op not in QUESTIONS and not (op == "add" and _is_counter(func, args))


def _is_counter(func: Any, args: Any) -> bool:
    """Tell whether a call updates a counter (BatchNorm's batches, in training), which is not part of the network."""
    counts = getattr(func, "__name__", "") in ("add_", "__iadd__", "add_.Tensor", "add_.Scalar")
    target = args[0] if args else None
    return counts and isinstance(target, Tensor) and target.dim() == 0 and not target.is_floating_point()


def is_library(module: nn.Module) -> bool:
    """Tell whether a module is one of torch's own layers, whose forward is never rewritten for one network."""
    forward = getattr(type(module), "forward", None)  # a scripted module's class has none
    return not module._modules and getattr(forward, "__module__", "").startswith(
        ("torch.nn.", "torch.ao.nn.")
    )


def run_watched(model: nn.Module, inputs: tuple[Any, ...], mode: WatchMode) -> Any:
    """Run a model under a mode that watches its calls.

    Args:
        model: the network.
        inputs: its positional inputs.
        mode: watches the calls.

    Raises:
        TraceError: the model's own code fails; the message names its line. Or it has lazy layers without weights.
    """
    if lazy := [name for name, parameter in model.named_parameters() if is_lazy(parameter)]:
        raise TraceError(
            f"lazy layers have no weights yet ({lazy[0]}): run the network once on an example first, as in model(x)"
        )
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
            f"the model does not run on the example input ({type(error).__name__}: {first_line(error)})"
            f"{at_line(error)}; check the example's shape and type"
        ) from error
