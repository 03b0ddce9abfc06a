"""Run movers on labels, and tell whether they move every element correctly."""

from collections.abc import Callable
from typing import Any

import torch.fx as fx

from edgeprune.graph import labels as lb
from edgeprune.graph.element_check import ElementCheck, Lookup
from edgeprune.graph.labels import matches
from edgeprune.graph.movers import cat_axis, run_mover
from edgeprune.graph.ops import op_name, source_of
from edgeprune.rewrite.context import RewriteContext


class MoverCheck:
    """Holds rewritten movers against the labels that must arrive, and against elements where labels repeat."""

    def __init__(self, context: RewriteContext) -> None:
        self.flow, self.liveness, self.actual = context.flow, context.liveness, context.actual
        self.element_check = ElementCheck(context.flow, context.liveness, context.survivors)

    def is_right(self, node: fx.Node, arrived: Any, expected: Any, again: Callable[[Lookup], Any]) -> bool:
        """Tell whether a rewritten operation moves every element correctly.

        Args:
            node: the original operation.
            arrived: the labels that the rewritten one gives.
            expected: those that it must give.
            again: runs it on other values of the nodes it reads.
        """
        return matches(arrived, expected) and (
            not self.element_check.is_needed(node, self.actual)
            or self.element_check.agree(node, again, self.actual)
        )

    def run(self, node: fx.Node, args: Any, kwargs: Any, lookup: "Lookup | None" = None) -> Any:
        """Return what a mover gives for these arguments; None where it cannot run on them.

        Args:
            node: the original operation.
            args: by position, as values.
            kwargs: by name.
            lookup: value of each node, for parts of a concatenation; None for the labels that arrive.
        """
        module = self.flow.layers.get(node)
        if op_name(node) == "cat" and not isinstance(source_of(node), fx.Node):
            parts = [n for n in source_of(node) if n not in self.liveness.empty]
            values = [lookup(n) if lookup else self.actual[n] for n in parts]
            args, kwargs = (values, cat_axis(node.args, node.kwargs)), {}
        try:
            return lb.run_on_labels(
                lambda *a, **k: run_mover(node, op_name(node), module, a, k), args, kwargs
            )
        except (RuntimeError, IndexError, ValueError, TypeError):
            return None
