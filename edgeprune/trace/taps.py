"""Run a network again with taps at recorded calls: look at what a call is given or gives, or put something else there.

Taps work above autograd, so gradients flow through what they put in.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import PlanError
from edgeprune.trace.record import CALL
from edgeprune.trace.recorder import Below, ModuleStack, WatchMode

Tap = Callable[[Tensor], "Tensor | None"]


@dataclass
class Taps:
    """What is done at which calls, by the calls' keys.

    ``before``: (place among the call's tensors, function of that tensor); ``after``: a function of the result;
    ``instead``: a function of (call, args, kwargs) that takes the call's place. A tap that returns None only looks.
    """

    before: dict[tuple[str, int], list[tuple[int, Tap]]] = field(default_factory=dict)
    after: dict[tuple[str, int], Tap] = field(default_factory=dict)
    instead: dict[tuple[str, int], Callable[..., Any]] = field(default_factory=dict)
    ops: dict[tuple[str, int], str] = field(default_factory=dict)

    def add_before(self, node: fx.Node, tap: Tap, place: int = 0) -> None:
        """Let ``tap`` see the ``place``-th tensor that the call of ``node`` is given."""
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
        return site.key


class TapMode(WatchMode):
    """Carries out taps while a network runs."""

    def __init__(self, stack: ModuleStack, taps: Taps) -> None:
        super().__init__(stack)
        self.taps = taps
        self.reached: set[tuple[str, int]] = set()

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call with its taps."""
        key = self.stack.next_call(op).key
        if key not in self.taps.ops:
            return func(*args, **kwargs)
        if self.taps.ops[key] != op:
            raise PlanError(
                f"the network took another path than when it was watched: {op} at {key[0] or 'its top'} "
                f"where {self.taps.ops[key]} was; watch it on an input like those it runs on"
            )
        self.reached.add(key)
        for place, tap in self.taps.before.get(key, ()):
            args, kwargs = _tapped(args, kwargs, place, tap)
        call = self.taps.instead.get(key)
        result = func(*args, **kwargs) if call is None else call(func, args, kwargs)
        after = self.taps.after.get(key)
        replaced = after(result) if after is not None else None
        return result if replaced is None else replaced


def _tapped(args: Any, kwargs: Any, place: int, tap: Tap) -> tuple[Any, Any]:
    """Arguments in which the ``place``-th tensor is what ``tap`` made of it."""
    count = -1

    def visit(value: Any) -> Any:
        nonlocal count
        if not isinstance(value, Tensor):
            return value
        count += 1
        if count != place:
            return value
        replaced = tap(value)
        return value if replaced is None else replaced

    new = _map(args, visit), _map(kwargs, visit)
    return new


def _map(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _map(item, function) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_map(item, function) for item in value)
    return function(value)


def run_tapped(model: nn.Module, inputs: tuple[Any, ...], taps: Taps) -> Any:
    """Run ``model``, in the mode it is in, with ``taps``; gradients are recorded where they would be."""
    stack = ModuleStack(model)
    mode = TapMode(stack, taps)
    with stack.following(), mode, Below(mode):
        return model(*inputs)
