"""Run a network again with taps at recorded calls, which see what a call is given or gives, or replace it.

Taps work above autograd, so gradients flow through what they put in.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from edgeprune.errors import PlanError
from edgeprune.recording.checkpoints import nothing_recomputed
from edgeprune.recording.contents import Replay
from edgeprune.recording.opaque import Parts
from edgeprune.recording.operands import map_arguments, tensors_in
from edgeprune.recording.record import CALL, CallSite
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.values import version_of
from edgeprune.recording.watching import Below, ModuleStack, WatchMode

Tap = Callable[[Tensor], "Tensor | None"]


@dataclass
class Taps:
    """What is done at which calls, by the calls' keys.

    ``before``: (place among the call's tensors, function of that tensor); ``after``: a function of the
    result, or of the tensor that the call wrote into; ``instead``: a function of (call, args, kwargs) that
    takes the call's place. A tap that returns None only looks. ``parts`` are the modules that are kept whole;
    ``replay`` puts in what content decided in another run.
    """

    before: dict[tuple[str, int], list[tuple[int, Tap]]] = field(default_factory=dict)
    after: dict[tuple[str, int], Tap] = field(default_factory=dict)
    instead: dict[tuple[str, int], Callable[..., Any]] = field(default_factory=dict)
    ops: dict[tuple[str, int], str] = field(default_factory=dict)
    last: dict[str, int] = field(
        default_factory=dict
    )  # number of the last such call of each layer of torch's
    parts: Parts = field(default_factory=dict)
    replay: Replay = field(default_factory=Replay)

    def add_before(self, node: fx.Node, tap: Tap, place: int = 0) -> None:
        """Let ``tap`` see one of the tensors that the call of ``node`` takes.

        Args:
            node: a recorded call.
            tap: gets the tensor and may return another in its place.
            place: which of the call's tensors, counted from 0.
        """
        self.before.setdefault(self._key(node), []).append((place, tap))

    def add_after(self, node: fx.Node, tap: Tap) -> None:
        """Let ``tap`` see what the call of ``node`` gives."""
        self.after[self._key(node)] = tap

    def put(self, node: fx.Node, function: Callable[..., Any]) -> None:
        """Let ``function`` take the place of the call of ``node``."""
        self.instead[self._key(node)] = function

    def _key(self, node: fx.Node) -> tuple[str, int]:
        site = node.meta[CALL]
        self.ops[site.key] = site.op
        if site.in_library:
            self.last[site.path] = max(site.number, self.last.get(site.path, 0))
        return site.key

    def key_of(self, site: CallSite) -> tuple[str, int]:
        """Return the key of a call: a layer that content lets run more often does then what it did before."""
        last = self.last.get(site.path, site.number)
        repeats = site.number > last and self.ops[site.path, last] == site.op
        return (site.path, last) if repeats else site.key


class TapMode(WatchMode):
    """Carries out taps while a network runs.

    What a tap puts in place of a tensor that a call wrote into stands for that tensor in all later calls,
    also where the code goes on with the tensor itself and not with the call's result.
    """

    def __init__(self, stack: ModuleStack, taps: Taps) -> None:
        super().__init__(stack)
        self.taps = taps
        self.reached: set[tuple[str, int]] = set()
        stack.watchers.append(self)
        self._replaced = ByTensor()  # tensor that was written into -> what stands for it

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call with its taps.

        Args:
            func: the function, method or overload that is called.
            op: its canonical name (see `names.name_of`).
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        key = self.taps.key_of(self.stack.next_call(op))
        args, kwargs = self.current((args, kwargs))
        if key not in self.taps.ops:
            return self.taps.replay(key, op, args, kwargs, func(*args, **kwargs))
        if self.taps.ops[key] != op:
            raise self._another_path(f"{op} at {key[0] or 'its top'} where {self.taps.ops[key]} was")
        self.reached.add(key)
        originals = tensors_in(args, kwargs)
        for place, tap in self.taps.before.get(key, ()):
            args, kwargs = _tapped(args, kwargs, place, tap)
        tensors = tensors_in(args, kwargs)
        result, written = self._carried_out(key, func, op, args, kwargs, tensors)
        result = self.taps.replay(key, op, args, kwargs, result)
        after = self.taps.after.get(key)
        if after is not None:
            result, written = _after(after, result, written)
        for original, tensor in zip(originals, tensors, strict=True):
            if written is not None and tensor is written[0] and original is not written[1]:
                self._replaced[original] = written[1]
        return result

    def _carried_out(
        self, key: tuple[str, int], func: Any, op: str, args: Any, kwargs: Any, tensors: list[Tensor]
    ) -> tuple[Any, tuple[Tensor, Tensor] | None]:
        """Carry out the call; return the result, and the written tensor with its replacement."""
        call = self.taps.instead.get(key)
        if call is not None:
            result = _apply_tap(call, func, args, kwargs)
            writes = _writes_by_name(func) and bool(tensors) and isinstance(result, Tensor)
            return result, (tensors[0], result) if writes else None
        versions = [version_of(tensor) for tensor in tensors]
        result = func(*args, **kwargs)
        if op in ("batch_norm", "instance_norm"):  # running statistics are no part of the result
            return result, None
        written = next((t for t, v in zip(tensors, versions, strict=True) if version_of(t) != v), None)
        return result, None if written is None else (written, written)

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out one call inside an opaque part, on the current values of its tensors.

        Args:
            func: the function, method or overload that is called.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        args, kwargs = self.current((args, kwargs))
        return func(*args, **kwargs)

    def entered_part(self, path: str, _: Any, __: Any) -> None:
        """Count the run, as the record does.

        Args:
            path: the part's name in the network.
            _: its positional arguments.
            __: its keyword arguments.
        """
        self.stack.next_part(path)

    def current(self, value: Any) -> Any:
        """Return ``value`` with written tensors replaced by the tensors that now stand for them."""
        if not self._replaced:
            return value

        def now(tensor: Any) -> Any:
            while isinstance(tensor, Tensor) and tensor in self._replaced:
                tensor = self._replaced[tensor]
            return tensor

        return map_arguments(value, now)

    def check_all_reached(self) -> None:
        """Raise PlanError unless every call with a tap was made."""
        missed = next((key for key in self.taps.ops if key not in self.reached), None)
        if missed is not None:
            op = self.taps.ops[missed]
            raise self._another_path(f"it did not come to {op} at {missed[0] or 'its top'}")

    def _another_path(self, what: str) -> PlanError:
        return PlanError(
            f"the network took another path than when it was watched: {what}; "
            "watch it on an input like those it runs on"
        )


def _after(after: Tap, result: Any, written: tuple[Tensor, Tensor] | None) -> tuple[Any, Any]:
    """Result and written tensor after a tap has seen the value of a call."""
    if written is None:
        replaced = _apply_tap(after, result)
        return (result if replaced is None else replaced), None
    # A tap may keep the value for its gradient, and the network write into it again.
    replaced = _apply_tap(after, written[1].clone() if torch.is_grad_enabled() else written[1])
    if replaced is None:
        return result, written
    return (replaced if result is written[1] else result), (written[0], replaced)


def _apply_tap(tap: Callable[..., Any], *values: Any) -> Any:
    """Return what a tap returns, and mark its errors so that they are not taken for the network's.

    It computes without modes: under a mode torch takes slower paths, which round differently.
    """
    try:
        with _disable_current_modes():
            return tap(*values)
    except Exception as error:
        error.passes_watch = True  # type: ignore[attr-defined]
        raise


def _writes_by_name(func: Any) -> bool:
    """Tell whether a function's name says that it writes into its first argument: x.add_(y), x += y."""
    name = getattr(func, "__name__", "")
    return name.startswith("__i") if name.startswith("__") else name.endswith("_")


def _tapped(args: Any, kwargs: Any, place: int, tap: Tap) -> tuple[Any, Any]:
    """Return the arguments with the result of ``tap`` in place of the ``place``-th tensor."""
    count = -1

    def visit(value: Any) -> Any:
        nonlocal count
        if not isinstance(value, Tensor):
            return value
        count += 1
        if count != place:
            return value
        replaced = _apply_tap(tap, value)
        return value if replaced is None else replaced

    return map_arguments(args, visit), map_arguments(kwargs, visit)


@contextmanager
def tapping(model: nn.Module, taps: Taps, watchers: Iterable[Any] = ()) -> Iterator[TapMode]:
    """Carry out taps in one run of ``model``, which the block makes, or goes on with inside of a call of it.

    Args:
        model: the network that was watched, or a copy of it.
        taps: what is done at which calls.
        watchers: told when modules begin and end, as a `WatchMode` is.
    """
    stack = ModuleStack(model, taps.parts)
    mode = TapMode(stack, taps)
    stack.watchers.extend(watchers)
    with nothing_recomputed(), stack.following(), mode, Below(mode):
        yield mode


def run_tapped(
    model: nn.Module,
    inputs: tuple[Any, ...],
    taps: Taps,
    *,
    all_reached: bool = False,
    watchers: Iterable[Any] = (),
) -> Any:
    """Run ``model``, in the mode it is in, with ``taps``; gradients are recorded where they would be.

    Args:
        model: the network that was watched, or a copy of it.
        inputs: the arguments of forward.
        taps: what is done at which calls.
        all_reached: whether every call that has a tap must be made.
        watchers: told when modules begin and end, as a `WatchMode` is.

    Raises:
        PlanError: the network took another path than when it was watched.
    """
    with tapping(model, taps, watchers) as mode:
        output = model(*inputs)
    if all_reached:
        mode.check_all_reached()
    return mode.current(output)
