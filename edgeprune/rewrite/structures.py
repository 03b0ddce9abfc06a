"""Nested containers of a call's arguments and results, taken apart."""

from typing import Any

import torch.fx as fx


def fx_nodes(value: Any) -> list[fx.Node]:
    """Return all nodes of nested containers, in order."""
    if isinstance(value, fx.Node):
        return [value]
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [n for item in value for n in fx_nodes(item)]
    return []


def unpacked(value: Any) -> Any:
    """Unpack slices, so that tensors inside them are seen."""
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if isinstance(value, dict):
        return {k: unpacked(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [unpacked(v) for v in value]
    return value
