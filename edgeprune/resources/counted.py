"""Resources that are counted in the graph: FLOPs, parameters, bytes of memory."""

from typing import TYPE_CHECKING, Any

from edgeprune.resources.base import GrowingCost, Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from edgeprune.graph.classes import Bools, Graph, Ints
    from edgeprune.resources.base import WidthCost


class Counted(Resource):
    """A total that the graph computes, in its method of the resource's name."""

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:
        """Return the total of the channels in ``keep``, bool, (classes,); None for all."""
        return float(getattr(graph, self.name)(keep))

    def by_widths(self, graph: "Graph") -> "WidthCost":
        """Return the total as a function of the channels per group, with a method `moved`."""
        return graph.by_widths(self.name)

    def growing(self, graph: "Graph", keep: "Bools") -> GrowingCost:
        """Return the running total, whose updates compute only the axes that grow."""
        return GrowingTotal(self, graph, keep)


class GrowingTotal(GrowingCost):
    """A running total of the graph."""

    def __init__(self, resource: Resource, graph: "Graph", keep: "Bools") -> None:
        self.name, self.incremental_cost = resource.name, graph.incremental_cost([resource.name], keep)

    def after(self, classes: "Ints") -> tuple[float, Any]:
        """Return the total if ``classes`` are added, and the state that `take` needs to add them."""
        costs, kept = self.incremental_cost.after(classes)
        return float(round(costs[self.name])), kept

    def take(self, after: Any) -> None:
        """Add the classes of an earlier call of `after`, given the state that it returned."""
        self.incremental_cost.take(after)


class Flops(Counted):
    """Multiply-adds of one inference."""

    name = "flops"

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:  # noqa: ARG002
        """Return the multiply-adds of one forward pass, as fvcore counts them.

        Args:
            model: on the CPU; it is set to eval mode.
            example: an input; its batch counts.
            opaque: unused.
        """
        import logging
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's, caused by the import of fvcore
            from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model.eval(), example)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        logging.getLogger("fvcore.nn.jit_analysis").setLevel(logging.ERROR)
        return float(analysis.total())


class Params(Counted):
    """Parameters, buffers not counted."""

    name = "params"

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:  # noqa: ARG002
        """Return the number of a model's parameters.

        Args:
            model: on any device.
            example: unused.
            opaque: unused.
        """
        return float(sum(parameter.numel() for parameter in model.parameters()))


class Memory(Counted):
    """Peak bytes of weights and simultaneously live activations, in float32."""

    name = "memory"
    unit = "bytes"
    units = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9}
    shown = "MB"
