"""Sizes and flags in a rewritten graph: what they are now, and where they must stay as they were."""

from typing import Any

import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name
from edgeprune.graph.survivors import is_broken
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext

_SIZE_QUESTIONS = {"size", "shape", "numel", "nelement"}


class Sizes:
    """Values of nodes that are not tensors, and sizes of tensors that are created."""

    def __init__(self, context: RewriteContext) -> None:
        self.flow, self.survivors = context.flow, context.survivors
        self.editor, self.actual = context.editor, context.actual

    def value(self, node: fx.Node) -> Any:
        """Return a size or a flag: sizes as they are for the survivors, the rest as on the example."""
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.actual[n])
        if is_broken([args, kwargs]):
            raise self.survivors.refuse([self.flow.values[n] for n in node.all_input_nodes], node)
        question = args[1] if op_name(node) == "getattr" else op_name(node)
        if tensors_in([args, kwargs]) and question not in _SIZE_QUESTIONS:
            return node.meta[VALUE]
        try:
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            return node.target(*args, **kwargs)  # type: ignore[operator]
        except Exception:  # whatever the user's arithmetic does on a size it never saw
            return node.meta[VALUE]

    def keep_literals(self, node: fx.Node) -> None:
        """Keep a size that enters the arithmetic (x / x.shape[1]) as it was."""
        new = self.editor.new[node]
        changed = {
            self.editor.new[n]: n.meta[VALUE]
            for n in node.all_input_nodes
            if not tensors_in(n.meta[VALUE]) and self.actual[n] != n.meta[VALUE]
        }
        if changed:
            new.args, new.kwargs = fx.node.map_arg((new.args, new.kwargs), lambda n: changed.get(n, n))

    def created(self, node: fx.Node, labels: Any) -> Any:
        """Rewrite torch.zeros(sizes) and its like to the sizes of what stays; return the labels."""
        expected = self.survivors.of(labels)
        if not isinstance(expected, Tensor):
            raise self.survivors.refuse(labels, node)
        new, place = self.editor.new[node], 1 if op_name(node).startswith("new_") else 0
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.actual[n])
        if "size" in node.kwargs:
            new.update_kwarg("size", _sizes(new.kwargs["size"], kwargs["size"], expected.shape))
        elif isinstance(node.args[place], (tuple, list)):
            new.update_arg(place, _sizes(new.args[place], args[place], expected.shape))
        elif not isinstance(args[place], tuple):
            new.args = (*new.args[:place], *_sizes(new.args[place:], args[place:], expected.shape))
        else:
            new.update_arg(place, _sizes(new.args[place], args[place], expected.shape))
        return expected


def _sizes(written: Any, values: Any, shape: torch.Size) -> Any:
    """Return sizes as they are written where they give ``shape``, else numbers."""
    if isinstance(written, fx.Node):  # x.shape as it is
        return written if tuple(values) == tuple(shape) else tuple(shape)
    return tuple(n if v == w else w for n, v, w in zip(written, values, shape, strict=True))
