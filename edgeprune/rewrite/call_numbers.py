"""Numbers among a call's arguments: a width that stands among them is one that the user's code computes with."""

from typing import Any

import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.ops import OPS, source_of
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.structures import unpacked

# Their sizes are held against the labels, so that the numbers need not be.
_SIZED = {"new_zeros", "new_ones", "new_full", "new_empty", "expand", "interpolate", "upsample"}
_PLAIN = {int, float, bool, str, type(None)}


def changed_numbers(node: fx.Node, op: str, args: Any, kwargs: Any, source_labels: Any) -> str | None:
    """Say how the numbers of a call differ from the recorded ones; None where they are the same.

    Numbers of groups follow the channels.

    Args:
        node: the recorded call.
        op: its canonical name (see `names.name_of`).
        args: positional arguments of the call that is made.
        kwargs: its keyword arguments.
        source_labels: gives the labels of a recorded value.
    """
    if op in _SIZED or _are_given_the_same(node, op, args, kwargs):
        return None
    before, after = numbers_of(op, node.args, node.kwargs), numbers_of(op, args, kwargs)
    if before.get("groups", 1) > 1:
        left, labels = tensors_of((args, kwargs))[:2], source_labels(source_of(node))
        axis = 1 if op == "group_norm" else labels.dim() - (left[1].dim() - 1)
        channels = labels.shape[axis]
        if op == "group_norm" or before["groups"] == channels:
            before["groups"] = before["groups"] * left[0].shape[axis] // channels
    if before == after:
        return None
    if before.get("groups") != after.get("groups"):
        return f"{op} has another number of groups"
    if before.keys() != after.keys():
        return f"{op} is given other arguments"
    return "a width enters the arithmetic"


def _are_given_the_same(node: fx.Node, op: str, args: Any, kwargs: Any) -> bool:
    """Tell whether a call without groups is given tensors where the recorded one was, and else the same numbers.

    For plain arguments, as those of layers are; false where it takes a closer look.

    Args:
        node: the recorded call.
        op: its canonical name.
        args: positional arguments of the other.
        kwargs: its keyword arguments.
    """
    if len(node.args) != len(args) or node.kwargs.keys() != kwargs.keys() or op == "group_norm":
        return False
    if op.startswith("conv") and (args[6] if len(args) > 6 else kwargs.get("groups", 1)) != 1:
        return False
    pairs = [*zip(node.args, args, strict=True), *((node.kwargs[key], item) for key, item in kwargs.items())]
    return all(_is_the_same(before, after) for before, after in pairs)


def _is_the_same(before: Any, after: Any) -> bool:
    kind = type(before)
    if kind is fx.Node:
        return isinstance(after, Tensor)
    if kind is not type(after) or (
        kind not in _PLAIN and (kind is not tuple or set(map(type, before)) != {int})
    ):
        return False
    return bool(before == after)


def numbers_of(op: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the numbers among a call's arguments, by place; sizes of created tensors are left out.

    The index of an assignment is left out too: the labels prove it.

    Args:
        op: its canonical name (see `names.name_of`).
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    args, kwargs = list(args), dict(kwargs)
    if op == "setitem":
        args = args[2:]
    if op in OPS and OPS[op].creates:
        kept = {"full": 1, "new_full": 2}.get(op, len(args))
        args, kwargs = args[kept:], {key: value for key, value in kwargs.items() if key == "fill_value"}
    place = 1 if op == "group_norm" else 6 if op.startswith("conv") else None
    numbers = {}
    for key, value in [*enumerate(args), *kwargs.items()]:
        name = "groups" if place is not None and key in (place, "groups", "num_groups") else str(key)
        if value is None or isinstance(value, (Tensor, fx.Node)):
            continue
        for number, leaf in enumerate(lb.flat(unpacked(value))):
            if isinstance(leaf, (int, float)):
                numbers[name if name == "groups" else f"{name}.{number}"] = leaf
    return numbers
