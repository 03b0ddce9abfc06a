"""A forward that was written anew, in the place of a module's own."""

import importlib
import inspect
from dataclasses import dataclass
from types import CodeType, MethodType
from typing import Any

import torch
from torch import nn


class RewrittenForward:
    """The forward of a module, written anew from graphs, one for each mode; layers and tensors are the module's own.

    It stands on the instance, so the module keeps its class, methods, attributes and hooks.
    """

    def __init__(self, owner: nn.Module, sources: tuple[str, str], names: dict[str, Any]) -> None:
        self.owner, self.sources, self.names = owner, sources, names
        self._functions = self._compiled()

    @property
    def source(self) -> str:
        """Return the code of evaluation, and of training if it differs."""
        evaluation, training = self.sources
        return evaluation if evaluation == training else f"{evaluation}\n# in training:\n{training}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._functions[self.owner.training](self.owner, *args, **kwargs)

    @property
    def __code__(self) -> CodeType:  # torch.export asks a forward for it
        return self._functions[self.owner.training].__code__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(MethodType(self._functions[self.owner.training], self.owner))

    def _compiled(self) -> tuple[Any, ...]:
        functions = []
        for source in self.sources:
            scope = dict(self.names)
            exec(compile(source, f"<forward of {type(self.owner).__name__} by edgeprune>", "exec"), scope)
            functions.append(scope["forward"])
        return tuple(functions)

    def __getstate__(self) -> dict[str, Any]:
        names = {
            name: _Module(value.__name__) if isinstance(value, type(torch)) else value
            for name, value in self.names.items()
        }
        return {"owner": self.owner, "sources": self.sources, "names": names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        names = {
            name: importlib.import_module(value.name) if isinstance(value, _Module) else value
            for name, value in state["names"].items()
        }
        self.owner, self.sources, self.names = state["owner"], state["sources"], names
        self._functions = self._compiled()


@dataclass(frozen=True)
class _Module:
    """Stands for an imported module in a pickle."""

    name: str
