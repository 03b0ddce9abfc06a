"""Hooks around a network's forward that can be taken off and put on again."""

from collections.abc import Callable
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle


class ForwardHooks:
    """A hook before a network's forward, and one after it; both are put on at once.

    Args:
        model: that is called.
        before: called with (module, inputs, named inputs), before every other hook.
        after: called with (module, inputs, output), even if the call fails; returns the output.
    """

    def __init__(
        self,
        model: nn.Module,
        before: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None],
        after: Callable[[nn.Module, Any, Any], Any],
    ) -> None:
        self.model, self.before, self.after = model, before, after
        self._handles: list[RemovableHandle] = []
        self.attach()

    def attach(self) -> None:
        """Put the hooks on."""
        self._handles = [
            self.model.register_forward_pre_hook(self.before, prepend=True, with_kwargs=True),
            self.model.register_forward_hook(self.after, always_call=True),
        ]

    def remove(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
