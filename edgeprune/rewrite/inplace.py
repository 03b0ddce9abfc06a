"""Give the user's own network what was cut from a copy of it and proved there."""

from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.rewrite.alternatives import take_alternatives
from edgeprune.rewrite.history import HISTORY
from edgeprune.rewrite.rewritten_forward import RewrittenForward


def move_into(model: nn.Module, dense: nn.Module) -> None:
    """Make ``model`` what ``dense``, a cut copy of it, is; ``dense`` is not to be used afterwards.

    Modules, parameters and buffers stay the objects they are, so hooks, tied weights and lists of parameters hold; an
    optimizer's state does not fit any more, and gradients of cut tensors are dropped.
    """
    own = dict(model.named_modules(remove_duplicate=False))
    for name, part in dense.named_modules(remove_duplicate=False):
        module = own.get(name)
        if module is None or type(module) is not type(part):  # an Identity in place of what has gone
            path, _, leaf = name.rpartition(".")
            own[path]._modules[leaf] = part
        elif not isinstance(module, torch.jit.ScriptModule):
            _take(module, part)
    torch.clear_autocast_cache()  # it has the weights of before, where this happens inside of autocast
    if HISTORY in vars(dense):
        vars(model)[HISTORY] = vars(dense)[HISTORY]


def _take(module: nn.Module, part: nn.Module) -> None:
    for tensors, cut in ((module._parameters, part._parameters), (module._buffers, part._buffers)):
        _take_tensors(tensors, cut)
    for name, value in vars(part).items():
        own = vars(module).get(name)
        if name.startswith("_"):
            continue
        if isinstance(value, Tensor):
            # A weight that a hook computes is still of the sizes, and the history, of before.
            if not isinstance(own, Tensor) or own.shape != value.shape or not own.is_leaf:
                vars(module)[name] = value
        elif isinstance(value, (int, tuple)) and own != value:
            setattr(module, name, value)
    forward = vars(part).get("forward")
    if isinstance(forward, RewrittenForward):
        module.forward = RewrittenForward(module, forward.sources, forward.names)
    take_alternatives(module, part)


def _take_tensors(tensors: dict[str, Any], cut: dict[str, Any]) -> None:
    for name, new in cut.items():
        old = tensors.get(name)
        if old is None or new is None:
            tensors[name] = new
            continue
        if old.shape != new.shape:
            old.grad = None
            # A loss that is still at hand keeps torch's note of the old shape, which a change of type lets go.
            old.data = old.data.new_empty(0, dtype=torch.half if old.dtype != torch.half else torch.float)
        old.data = new.data
