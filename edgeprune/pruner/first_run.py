"""The first run of a network after its pruner was made: removals that are due before the first step."""

import weakref
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle


class FirstRun:
    """Calls a method before a network runs; a copy of the network does not trigger it.

    A state can be loaded into a pruner before the network runs, and the removals that come before the first step are
    then those of the state.
    """

    def __init__(self, method: Callable[[], None] | None = None) -> None:
        """Refer to a bound method without keeping its object alive; None does nothing."""
        self._method = None if method is None else weakref.WeakMethod(method)

    def attach(self, model: nn.Module) -> RemovableHandle:
        """Put this before each run of a network; return what removes it."""
        return model.register_forward_pre_hook(self, prepend=True)

    def __call__(self, *_: Any) -> None:
        method = None if self._method is None else self._method()
        if method is not None:
            method()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return FirstRun, ()
