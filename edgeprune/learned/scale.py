"""Give convolutions back the size of weights that masks took from them."""

import torch
import torch.fx as fx
from torch import Tensor, nn


def restore_scale(model: fx.GraphModule, reference: dict[str, Tensor]) -> None:
    """Scale each convolution that feeds a BatchNorm to the root mean square its weight had before pruning.

    A mask ends well below one, and multiplied into the weights it makes them small. In front of a
    BatchNorm that changes nothing that is computed, but one step of SGD then turns the weights further by
    the square of it: the learning rate would mean another thing after the pruning phase than before. The
    norm's statistics are scaled alike, so the function stays (but for the norm's epsilon).

    Args:
        model: the dense model, changed in place.
        reference: weights before pruning, by name; only their root mean square is looked at.
    """
    with torch.no_grad():
        for node in model.graph.nodes:
            norms = _norms_after(model, node)
            if not norms:
                continue
            conv = model.get_submodule(str(node.target))
            before = reference[f"{node.target}.weight"].square().mean().sqrt()
            now = conv.weight.square().mean().sqrt()  # type: ignore[operator]
            if now > 0 and before > 0:
                _scale(conv, norms, float(before / now))


def _norms_after(model: fx.GraphModule, node: fx.Node) -> list[nn.Module]:
    """The BatchNorms that read a convolution's output, if nothing else does and each is used once."""
    if node.op != "call_module" or not isinstance(model.get_submodule(str(node.target)), nn.Conv2d):
        return []
    if any(n is not node and n.target == node.target for n in model.graph.nodes if n.op == "call_module"):
        return []
    norms = [model.get_submodule(str(u.target)) for u in node.users if u.op == "call_module"]
    if len(norms) != len(node.users) or not all(isinstance(n, nn.BatchNorm2d) for n in norms):
        return []
    return norms


def _scale(conv: nn.Module, norms: list[nn.Module], factor: float) -> None:
    for tensor in (conv.weight, conv.bias):
        if isinstance(tensor, Tensor):
            tensor.mul_(factor)
    for norm in norms:
        if isinstance(norm.running_mean, Tensor) and isinstance(norm.running_var, Tensor):
            norm.running_mean.mul_(factor)
            norm.running_var.mul_(factor**2)
