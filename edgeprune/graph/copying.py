"""Copy a traced module without its example values, and without copying tensors that are replaced anyway."""

import copy
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

_PLAIN = (int, float, bool, str, type(None), torch.dtype, torch.device)


def copy_module(module: fx.GraphModule) -> fx.GraphModule:
    """A deep copy, without the example values that tracing left on the nodes."""
    graph, _ = copy_graph(module.graph)
    return assemble(copy_layers(module, {}), graph, module)


def copy_graph(graph: fx.Graph) -> tuple[fx.Graph, dict[fx.Node, fx.Node]]:
    """A copy with empty ``meta``, and which of its nodes stands for which."""
    new, places = fx.Graph(tracer_cls=graph._tracer_cls), dict[fx.Node, fx.Node]()
    result = new.graph_copy(graph, places)
    old_output = next(node for node in reversed(graph.nodes) if node.op == "output")
    places[old_output] = new.output(result)
    for node in new.nodes:
        node.meta = {}
    new._codegen = copy.deepcopy(graph._codegen)
    return new, places


def copy_layers(module: nn.Module, instead: dict[Tensor, Tensor]) -> nn.Module:
    """Layers and tensors of ``module`` in a plain container; ``instead`` maps tensors to their successors."""
    memo: dict[int, Any] = {id(old): new for old, new in instead.items()}
    root = nn.Module()
    root.training = module.training
    root._parameters = {name: _tensor(value, memo) for name, value in module._parameters.items()}
    root._buffers = {name: _tensor(value, memo) for name, value in module._buffers.items()}
    root._modules = {name: _layer(value, memo) for name, value in module._modules.items()}
    return root


def assemble(root: nn.Module, graph: fx.Graph, original: nn.Module) -> fx.GraphModule:
    """A module of ``graph`` with what it uses of ``root``."""
    module = fx.GraphModule(root, graph, class_name=type(original).__name__)
    return with_flags(module, original, set(root.modules()))


def with_flags(module: fx.GraphModule, original: nn.Module, own: set[nn.Module]) -> fx.GraphModule:
    """What torch.fx made anew (containers) takes the original's training flag."""
    for child in module.modules():
        if child not in own:
            child.training = original.training
    return module


def _layer(layer: nn.Module | None, memo: dict[int, Any]) -> Any:
    if layer is None or id(layer) in memo:
        return None if layer is None else memo[id(layer)]
    if hasattr(type(layer), "__deepcopy__"):
        return copy.deepcopy(layer, memo)
    new = memo[id(layer)] = type(layer).__new__(type(layer))
    new.__dict__ = {name: _state(name, value, memo) for name, value in layer.__dict__.items()}
    return new


def _state(name: str, value: Any, memo: dict[int, Any]) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if name in ("_parameters", "_buffers"):
        return type(value)((key, _tensor(item, memo)) for key, item in value.items())
    if name == "_modules":
        return type(value)((key, _layer(item, memo)) for key, item in value.items())
    if isinstance(value, (dict, set, list, tuple)) and not value:
        return type(value)()
    if isinstance(value, tuple) and all(isinstance(item, _PLAIN) for item in value):
        return value
    return copy.deepcopy(value, memo)


def _tensor(value: Tensor | None, memo: dict[int, Any]) -> Any:
    if value is None or id(value) in memo:
        return None if value is None else memo[id(value)]
    if type(value) is nn.Parameter:
        new: Any = nn.Parameter(value.detach().clone(), value.requires_grad)
    elif type(value) is Tensor and not value.requires_grad:
        new = value.clone()
    else:
        new = copy.deepcopy(value, memo)
    memo[id(value)] = new
    return new
