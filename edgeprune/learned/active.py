"""Count what is left of a network while channels are off: parameters and FLOPs."""

from functools import cached_property

from edgeprune.graph.classes import Bools, Graph


class ActiveSize:
    """Counts what remains of one graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def _unpruned(self) -> tuple[int, int]:
        return self.graph.params(), self.graph.flops()

    def of(self, keep: Bools) -> dict[str, float]:
        """Return the parameters and FLOPs, as numbers and as fractions of the unpruned model."""
        params, flops = self.graph.params(keep), self.graph.flops(keep)
        return {
            "params": params,
            "flops": flops,
            "params_fraction": params / self._unpruned[0],
            "flops_fraction": flops / self._unpruned[1],
        }
