"""Opaque parts of a network: their calls are neither recorded nor pruned."""

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgeprune.errors import TraceError
from edgeprune.recording.paths import is_inside
from edgeprune.recording.walks import named_modules

OPAQUE = "opaque"  # the name of the one call that such a part is in a record
WHY = "why"  # node.meta: why the part of such a call is kept whole
FLOPS = "flops"  # node.meta: what such a call computes; None where it could not be counted
CHOSEN = "it was asked for"

Parts = Mapping[str, "Opaque"]


@dataclass(frozen=True)
class Opaque:
    """A module that is run and not looked into.

    ``reason`` goes into a sentence: 'NAME is kept whole because ...'. ``unwatched`` says that it runs without the
    modes that watch a network, since it fails under them.
    """

    reason: str
    unwatched: bool = False

    def of(self, path: str) -> str:
        """Return the sentence about the module of that name."""
        return f"{path} is kept whole because {self.reason}"


def opaque_call(*tensors: Any) -> Any:
    """Stand for the run of a part that is kept whole; a record only names it."""
    raise NotImplementedError("a part that is kept whole is run by the network itself")


def chosen_parts(model: nn.Module, choice: Iterable[str | type]) -> dict[str, Opaque]:
    """Find the modules that ``choice`` names, by qualified name, class, or name of a class.

    Raises:
        TraceError: something in it is no module of the network, or the whole network.
    """
    parts: dict[str, Opaque] = {}
    for item in choice:
        for path in _matching(model, item):
            parts[path] = Opaque(CHOSEN)
    return parts


def scripted_parts(model: nn.Module) -> dict[str, Opaque]:
    """Find TorchScript modules with weights: neither their code nor their weights can be changed from Python."""
    parts: dict[str, Opaque] = {}
    for path, module in named_modules(model):
        if not path or not isinstance(module, torch.jit.ScriptModule) or outer_part(path, parts):
            continue
        if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
            parts[path] = Opaque("it is TorchScript: give the module itself, and script it after pruning")
    return parts


def declared_parts(model: nn.Module) -> dict[str, Opaque]:
    """Find the modules that say of themselves, by an attribute ``kept_whole``, why they are not to be looked into."""
    walked = named_modules(model)
    kinds = {kind for kind in {type(module) for _, module in walked} if hasattr(kind, "kept_whole")}
    named = [(path, m) for path, m in walked if path and (type(m) in kinds or "kept_whole" in vars(m))]
    reasons = {path: getattr(module, "kept_whole", None) for path, module in named}
    return {path: Opaque(reason) for path, reason in reasons.items() if isinstance(reason, str)}


def outer_part(path: str, parts: Iterable[str]) -> str | None:
    """Return the part that ``path`` is, or lies in."""
    return next((part for part in parts if is_inside(path, part)), None)


def outermost(parts: Parts) -> dict[str, Opaque]:
    """Leave out the parts that lie in others."""
    return {
        path: part
        for path, part in parts.items()
        if not any(other != path and is_inside(path, other) for other in parts)
    }


def modules_in(model: nn.Module, parts: Collection[str]) -> dict[int, str]:
    """Give for each module of ``parts``, by its id, the part that it belongs to."""
    owners: dict[int, str] = {}
    if not parts:
        return owners
    known = dict(model.named_modules(remove_duplicate=False))
    for path in sorted(parts, key=lambda part: part.count(".")):
        if path in known:
            for module in known[path].modules():
                owners.setdefault(id(module), path)
    return owners


def tensors_within(model: nn.Module, parts: Collection[str]) -> set[int]:
    """Give the ids of the parameters and buffers of ``parts``."""
    inside = modules_in(model, parts)
    if not inside:
        return set()
    return {
        id(tensor)
        for module in model.modules()
        if id(module) in inside
        for tensor in [*module._parameters.values(), *module._buffers.values()]
        if tensor is not None
    }


def _matching(model: nn.Module, item: str | type) -> list[str]:
    named = dict(model.named_modules(remove_duplicate=False))
    first = {id(module): path for path, module in model.named_modules()}
    if isinstance(item, str) and item in named and item:
        return [first[id(named[item])]]
    paths = [path for path, module in model.named_modules() if path and _is_a(module, item)]
    if paths:
        return paths
    if _is_a(model, item):
        raise TraceError(
            f"{_shown(item)} is the whole network: with it kept whole nothing can be pruned; name a part of it"
        )
    if not isinstance(item, str):
        raise TraceError(
            f"no module of {type(model).__name__} is a {_shown(item)}, which was to be kept whole"
        )
    raise TraceError(
        f"{item!r}, which was to be kept whole, is neither a module of {type(model).__name__} nor the class of one; "
        f"{_hint(item, named)}"
    )


def _hint(item: str, named: Mapping[str, nn.Module]) -> str:
    kinds = {kind.__name__ for path, module in named.items() if path for kind in _kinds(module)}
    names = [*(path for path in named if path), *sorted(kinds)]
    close = difflib.get_close_matches(item, names, n=5, cutoff=0.5)
    shown = ", ".join(close or [path for path in named if path and "." not in path][:8])
    return f"{'close names are' if close else 'its parts are'} {shown}"


def _is_a(module: nn.Module, item: str | type) -> bool:
    if isinstance(item, str):
        return item in {kind.__name__ for kind in _kinds(module)}
    return isinstance(module, item)


def _kinds(module: nn.Module) -> list[type]:
    """Return the classes of a module, without the base classes of all modules."""
    return [kind for kind in type(module).__mro__ if kind not in (nn.Module, object)]


def _shown(item: str | type) -> str:
    return item if isinstance(item, str) else item.__name__
