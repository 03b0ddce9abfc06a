"""The modules and tensors of a network with their names, as torch's own walks give them, in one quick loop."""

from typing import Any

import torch
from torch import Tensor, nn

Walked = list[tuple[str, nn.Module]]


def named_modules(model: nn.Module, *, repeated: bool = False) -> list[tuple[str, nn.Module]]:
    """Return what ``model.named_modules()`` yields, in its order.

    Args:
        model: the network.
        repeated: whether a module with several names is listed under each.
    """
    named = [("", model)]
    seen = {id(model)}

    def visit(module: nn.Module, prefix: str) -> None:
        for name, part in module._modules.items():
            if part is None or id(part) in seen:
                continue
            if not repeated:
                seen.add(id(part))
            named.append((prefix + name, part))
            if part._modules:
                visit(part, f"{prefix}{name}.")

    visit(model, "")
    return named


def modules(model: nn.Module) -> list[nn.Module]:
    """Return what ``model.modules()`` yields."""
    return [module for _, module in named_modules(model)]


def set_mode(model: nn.Module, training: bool, parts: list[nn.Module] | None = None) -> None:
    """Do what ``model.train(training)`` does, at once where no module has a say in it.

    Args:
        model: the network.
        training: the mode.
        parts: its modules, where they are known.
    """
    parts = modules(model) if parts is None else parts
    if not all(_is_plain_about_mode(kind) for kind in set(map(type, parts))):
        model.train(training)
        return
    for part in parts:
        vars(part)["training"] = training


def _is_plain_about_mode(kind: type[nn.Module]) -> bool:
    own = kind.train is not nn.Module.train or kind.__setattr__ is not nn.Module.__setattr__
    return not (own or hasattr(kind, "training") or issubclass(kind, torch.jit.ScriptModule))


def named_parameters(model: nn.Module, *, repeated: bool = False) -> dict[str, nn.Parameter]:
    """Return what ``model.named_parameters()`` yields; ``repeated`` gives a shared one under all its names."""
    return _named(named_modules(model, repeated=repeated), "_parameters", repeated=repeated)


def named_buffers(model: nn.Module, *, repeated: bool = False) -> dict[str, Tensor]:
    """Return what ``model.named_buffers()`` yields; ``repeated`` gives a shared one under all its names."""
    return _named(named_modules(model, repeated=repeated), "_buffers", repeated=repeated)


def named_tensors(
    model: nn.Module, *, repeated: bool = False, walked: Walked | None = None
) -> dict[str, Tensor]:
    """Return the parameters by name, and then the buffers.

    Args:
        model: the network.
        repeated: whether a shared one is listed under all its names.
        walked: the modules, where they are known.
    """
    walked = named_modules(model, repeated=repeated) if walked is None else walked
    return {
        **_named(walked, "_parameters", repeated=repeated),
        **_named(walked, "_buffers", repeated=repeated),
    }


def _named(walked: Walked, holder: str, *, repeated: bool) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    seen: set[int] = set()
    for path, module in walked:
        prefix = f"{path}." if path else ""
        for name, tensor in getattr(module, holder).items():
            if tensor is not None and id(tensor) not in seen:
                tensors[prefix + name] = tensor
                if not repeated:
                    seen.add(id(tensor))
    return tensors


def plain_name(name: str) -> str:
    """Return the name that a parameter has without torch's parametrisations."""
    if "parametrizations." not in name:
        return name
    return name.replace("parametrizations.", "").removesuffix(".original")
