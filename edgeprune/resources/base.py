"""The interface of a resource: what a network takes of it, and how it is written."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from edgeprune.errors import TargetError, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from edgeprune.graph.classes import Bools, Graph, Ints

    WidthCost = Callable[[Ints], float]


class Resource:
    """Something that a network takes, of which a target says how much may remain.

    The least that a resource of its own says is its `name` and `cost`.

    Attributes:
        name: by which a target asks for it.
        unit: in which it is counted, such as "bytes"; empty for a plain count.
        units: what an amount may be given in, each in terms of `unit`; empty where only fractions make sense.
        shown: the one of `units` in which an amount is written.
        needs_device: whether only a device tells it, so that it is bound to one before it has a cost.
    """

    name: str = ""
    unit: str = ""
    units: ClassVar[Mapping[str, float]] = {}
    shown: str = ""
    needs_device: ClassVar[bool] = False

    # --- writing -------------------------------------------------------------------------------------

    def amount(self, value: float, unit: str) -> float:
        """Return an amount in terms of `unit`.

        Raises:
            TargetError: it has no amounts, or none in that unit.
        """
        if not self.units:
            raise TargetError(f"{self.name} takes a fraction that remains, as in {self.name}=0.5")
        if unit not in self.units:
            raise TargetError(known("unit", unit, list(self.units)))
        return value * self.units[unit]

    def text(self, amount: float) -> str:
        """Return an amount as it may be given."""
        return f"{amount / self.units[self.shown]:g}{self.shown}"

    @property
    def example(self) -> str:
        """How a target of it is written, for a help text."""
        return f"{self.name}=F" + (f" or 20{self.shown}" if self.units else "")

    # --- costs ---------------------------------------------------------------------------------------

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:
        """Return what a (perhaps already pruned) model takes.

        Args:
            graph: of the model.
            keep: (classes,) which channels stay; None for all.
        """
        raise NotImplementedError

    def by_widths(self, graph: "Graph") -> "WidthCost":
        """Return the cost as a function of the groups' widths, (groups,), for a search that asks often.

        It may have a method ``moved`` too, which tells the cost after a move by what changes: see
        `edgeprune.latency.choose.Cost`. By default the first channels of each group are those that stay.
        """
        import numpy as np

        def at(widths: "Ints") -> float:
            keep = np.zeros(graph.classes, dtype=bool)
            for group, width in zip(graph.groups, widths, strict=True):
                keep[group.classes[: int(width)]] = True
            return self.cost(graph, keep)

        return at

    def growing(self, graph: "Graph", keep: "Bools") -> "GrowingCost":
        """Return the running cost of a keep-set that grows from ``keep``, (classes,)."""
        return GrowingCost(self, graph, keep)

    def steps(self, graph: "Graph") -> "Ints | None":  # noqa: ARG002
        """Return for each group the multiple that its widths are best kept at; None where any will do."""
        return None

    # --- measuring -----------------------------------------------------------------------------------

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:
        """Return what a finished model takes.

        Args:
            model: on the CPU.
            example: an input, batch included.
            opaque: modules that are kept whole.
        """
        from edgeprune.graph.classes import build_graph

        return self.cost(build_graph(model, example, opaque=opaque))

    def measured_on_device(self, record: Mapping[str, Any] | None) -> tuple[float, float] | None:  # noqa: ARG002
        """Return what the unpruned and the pruned model took on the device; None where that was not measured.

        Args:
            record: of the run's settling on its device, as latency.json holds it.
        """
        return None


class GrowingCost:
    """The running cost of a keep-set that grows."""

    def __init__(self, resource: Resource, graph: "Graph", keep: "Bools") -> None:
        self.resource, self.graph, self.keep = resource, graph, keep.copy()

    def after(self, classes: "Ints") -> tuple[float, Any]:
        """Return the cost with ``classes`` too, and what `take` needs to go on from there."""
        keep = self.keep.copy()
        keep[classes] = True
        return self.resource.cost(self.graph, keep), keep

    def take(self, after: Any) -> None:
        """Go on from there."""
        self.keep = after
