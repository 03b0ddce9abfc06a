"""Restore the scale of weights that masks have reduced."""

from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.ops import op_name
from edgeprune.recording.network import watch
from edgeprune.recording.record import VALUE

# Operations with a weight, each with a factor that a BatchNorm takes out again
SCALED = {*(f"conv{way}{n}d" for way in ("", "_transpose") for n in (1, 2, 3)), "linear"}


def restore_scale(model: nn.Module, example: Tensor | tuple[Any, ...], reference: dict[str, Tensor]) -> None:
    """Scale each layer that feeds a BatchNorm to the root mean square that its weight had before pruning.

    A mask ends well below one, so multiplying it into the weights makes them small. Before a BatchNorm the
    function does not change, but a step of SGD rotates small weights more, by the square of the factor: the
    effective learning rate would differ from that before the pruning phase. The norm's statistics are
    scaled alike, so that the function stays the same (except for the norm's epsilon).

    Args:
        model: the dense model, changed in place.
        example: an input, batch included, or a tuple of the arguments of forward.
        reference: weights before pruning, by name; only their root mean square is used.
    """
    record = watch(model, example if isinstance(example, tuple) else (example,))
    with torch.no_grad():
        for node in record.graph.nodes:
            norms = _norms_after(node)
            if not norms:
                continue
            weight, bias = _tensor(node, 1, "weight"), _tensor(node, 2, "bias")
            before = reference[str(node.args[1].target)].square().mean().sqrt()
            now = weight.square().mean().sqrt()
            if now > 0 and before > 0:
                _scale([weight, bias], norms, float(before / now))


def _norms_after(node: fx.Node) -> list[fx.Node]:
    """Return the BatchNorms that read such a layer's output, if nothing else does and each is used once."""
    if op_name(node) not in SCALED or not _is_used_once(node, 1):
        return []
    norms = list(node.users)
    is_fed = [op_name(norm) == "batch_norm" and norm.args[0] is node for norm in norms]
    return norms if norms and all(is_fed) and all(_is_used_once(norm, 1) for norm in norms) else []


def _is_used_once(node: fx.Node, place: int) -> bool:
    source = node.args[place] if len(node.args) > place else None
    return isinstance(source, fx.Node) and source.op == "get_attr" and len(source.users) == 1


def _tensor(node: fx.Node, place: int, name: str) -> Any:
    """Return a parameter or buffer among a call's arguments; None if there is none."""
    source = node.args[place] if len(node.args) > place else node.kwargs.get(name)
    return source.meta[VALUE] if isinstance(source, fx.Node) else None


def _scale(tensors: list[Any], norms: list[fx.Node], factor: float) -> None:
    for tensor in tensors:
        if isinstance(tensor, Tensor):
            tensor.mul_(factor)
    for norm in norms:
        mean, variance = _tensor(norm, 1, "running_mean"), _tensor(norm, 2, "running_var")
        if isinstance(mean, Tensor) and isinstance(variance, Tensor):
            mean.mul_(factor)
            variance.mul_(factor**2)
