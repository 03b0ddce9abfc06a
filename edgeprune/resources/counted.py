"""What is counted in the graph: FLOPs, parameters, bytes of memory."""

from typing import TYPE_CHECKING, Any

from edgeprune.resources.base import GrowingCost, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from edgeprune.graph.classes import Bools, Graph, Ints
    from edgeprune.resources.base import WidthCost


class Counted(Resource):
    """A total that the graph keeps by its name."""

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:
        """Return the total when (classes,) ``keep`` stay."""
        return float(getattr(graph, self.name)(keep))

    def by_widths(self, graph: "Graph") -> "WidthCost":
        """Return the total by widths, with `moved`."""
        return graph.by_widths(self.name)

    def growing(self, graph: "Graph", keep: "Bools") -> GrowingCost:
        """Return the running total, which costs no more than the axes that grow."""
        return GrowingTotal(self, graph, keep)


class GrowingTotal(GrowingCost):
    """A running total of the graph's."""

    def __init__(self, resource: Resource, graph: "Graph", keep: "Bools") -> None:
        self.name, self.meter = resource.name, graph.meter([resource.name], keep)

    def after(self, classes: "Ints") -> tuple[float, Any]:
        """Return the total with ``classes`` too, and what `take` needs to go on from there."""
        costs, kept = self.meter.after(classes)
        return float(round(costs[self.name])), kept

    def take(self, after: Any) -> None:
        """Go on from there."""
        self.meter.take(after)


class Flops(Counted):
    """Multiply-adds of one inference."""

    name = "flops"

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:  # noqa: ARG002
        """Return the multiply-adds of one forward pass, as fvcore counts them (batch included)."""
        import logging
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", FutureWarning
            )  # of torch's, at what fvcore does when it is imported
            from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model.eval(), example)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
        return float(analysis.total())


class Params(Counted):
    """Parameters, buffers not counted."""

    name = "params"

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:  # noqa: ARG002
        """Return how many parameters a model has."""
        return float(sum(parameter.numel() for parameter in model.parameters()))


class Memory(Counted):
    """Bytes of the weights and of the activations that are there at once, in float32."""

    name = "memory"
    unit = "bytes"
    units = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    shown = "MB"
