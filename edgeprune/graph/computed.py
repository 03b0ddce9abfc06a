"""Weights that are not a parameter themselves: what computes them, and what to do so that they can be pruned."""

from typing import Any

import torch.fx as fx
from torch import nn
from torch.nn.utils import parametrize, prune

from edgeprune.recording.record import CALL, Record
from edgeprune.recording.walks import named_modules

COMPUTED = (
    "the weight of this layer is computed from a parameter, and not one itself: "
    "to prune what it reads, put a plain layer with the computed weight in its place"
)
FROM_INPUT = "the weight of this layer is computed from the network's input"
_QUANTISED = "this part is prepared for quantisation: prune the network first, then prepare it for QAT"
_TOOLS = ("torch.ao.", "torch.quantization.", "torchao.", "pytorch_quantization.", "modelopt.", "brevitas.")
_PARAMETRISATION = ".parametrizations."

# Hooks and parametrisations of torch's: their names there, and what takes them off.
_HOOKS = {
    "WeightNorm": ("weight_norm", "nn.utils.remove_weight_norm"),
    "SpectralNorm": ("spectral_norm", "nn.utils.remove_spectral_norm"),
}
_PARAMETRISATIONS = {
    "_WeightNorm": "weight_norm",
    "_SpectralNorm": "spectral_norm",
    "_Orthogonal": "orthogonal",
}
_REMOVAL = "nn.utils.parametrize.remove_parametrizations"


def layer_of(tensor: str) -> str:
    """Return the path of the layer that has a parameter of this name, also where a weight is computed from it.

    A parameter of the network itself goes by its own name.
    """
    return tensor.rsplit(".", 1)[0].partition(_PARAMETRISATION)[0]


def named(module: fx.GraphModule | Record, node: fx.Node, reason: str, *, static: bool) -> tuple[str, str]:
    """Return why a call protects channels, with what to do about it, and the layer it belongs to; '' as it is called.

    Args:
        module: the record that the call is of.
        node: the call.
        reason: why, as its rule has it.
        static: whether the call works on parameters alone.
    """
    if CALL not in node.meta or not isinstance(module, Record):
        return reason, ""
    path = node.meta[CALL].path
    if _is_quantised(module.model, path):
        return _QUANTISED, path
    if reason != COMPUTED and not static:
        return reason, ""
    outer = path.partition(_PARAMETRISATION)[0]
    layer = module.model.get_submodule(outer)
    means = _means(layer)
    return (f"the weight of this layer is computed by {means}", outer) if means else (reason, "")


def _is_quantised(model: nn.Module, path: str) -> bool:
    """Tell whether a module, or one around it, is a quantisation tool's."""
    parts = path.split(".") if path else []
    outer = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(_is_tools(model.get_submodule(name)) for name in outer)


def quantised_parts(model: nn.Module) -> tuple[str, ...]:
    """Return a note on the parts that are prepared for quantisation, if there are such."""
    parts = [name for name, part in named_modules(model) if name and _is_tools(part)]
    if not parts:
        return ()
    more = f" and {len(parts) - 1} other parts are" if len(parts) > 1 else " is"
    return (f"{parts[0]}{more} prepared for quantisation: prune the network first, then prepare it for QAT",)


def _is_tools(module: nn.Module) -> bool:
    return type(module).__module__.startswith(_TOOLS)


def _means(layer: nn.Module) -> str:
    """Say what computes a layer's weight and how to remove it; '' where its own forward does."""
    for hook in layer._forward_pre_hooks.values():
        kind = type(hook)
        if kind.__name__ in _HOOKS and kind.__module__.startswith("torch.nn.utils."):
            name, removal = _HOOKS[kind.__name__]
            return _advice(name, removal)
        if isinstance(hook, prune.BasePruningMethod):
            return "a prune hook: remove the prune hook first (nn.utils.prune.remove)"
    if not parametrize.is_parametrized(layer):
        return ""
    lists: Any = layer.parametrizations
    listed = [part for parts in lists.values() for part in parts]
    kinds = [type(part).__name__ for part in listed]
    return _advice(" and ".join(_PARAMETRISATIONS.get(kind, kind) for kind in kinds), _REMOVAL)


def _advice(name: str, removal: str) -> str:
    return f"{name}: take it off ({removal}), prune, then put it on again"
