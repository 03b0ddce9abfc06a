"""Estimate what plans of one model take on a device, by its table; bind the resource latency to it."""

from dataclasses import dataclass

from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.latency.blocks import removable
from edgeprune.latency.predict import LatencyModel, MsByWidths
from edgeprune.latency.shapes import Model
from edgeprune.latency.table import Table
from edgeprune.resources.latency import Latency
from edgeprune.resources.on_device import OnDevice

Blocks = list[tuple[int, ...]]


@dataclass
class LatencyEstimator:
    """Estimates the latency of any model that was cut from one original, from a table.

    Args:
        original: graph of the unpruned model.
        model: the layers of its ONNX file.
        table: of the device.
        correction: factor on the table's times.
    """

    original: Graph
    model: Model
    table: Table
    correction: float = 1.0
    _last: tuple[Graph, LatencyModel] | None = None
    _blocks: tuple[Graph, Blocks] | None = None

    def on(self, graph: Graph) -> LatencyModel:
        """Return the latency model of the original, or of a model that was cut from it."""
        if self._last is None or self._last[0] is not graph:
            remaining = {name for name, _ in graph.model.named_parameters()}
            removed = {name for name, _ in self.original.module.named_parameters()} - remaining
            removed_layers = {name.removesuffix(".weight") for name in removed if name.endswith(".weight")}
            self._last = (
                graph,
                LatencyModel(graph, self.model.without(removed_layers), self.table, self.correction),
            )
        return self._last[1]

    def blocks(self, graph: Graph) -> Blocks:
        """Return the blocks that can be removed completely; every plan of a model asks for the same."""
        if self._blocks is None or self._blocks[0] is not graph:
            self._blocks = graph, removable(graph)
        return self._blocks[1]


class ByTable(OnDevice):
    """A resource that a device's table predicts.

    Args:
        estimator: predicts the cost of any plan from the table, in the table's unit.
    """

    def __init__(self, estimator: LatencyEstimator) -> None:
        self.estimator = estimator

    def cost(self, graph: Graph, keep: Bools | None = None) -> float:
        """Return the cost of what (classes,) ``keep`` leave."""
        return self.estimator.on(graph).ms(keep)

    def by_widths(self, graph: Graph) -> MsByWidths:
        """Return the cost as a function of the groups' widths."""
        return self.estimator.on(graph).by_widths()

    def steps(self, graph: Graph) -> Ints:
        """Return the device's own steps."""
        return self.estimator.on(graph).steps()


class LatencyOn(ByTable, Latency):
    """Milliseconds on one device, by its table."""
