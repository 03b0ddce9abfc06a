"""The interface of a resource: its cost for a network, and how amounts are written."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from edgeprune.errors import TargetError, known

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor, nn

    from edgeprune.graph.classes import Bools, Graph, Ints

    WidthCost = Callable[[Ints], float]


class Resource:
    """Something that a network consumes, limited by a target.

    A subclass defines at least `name` and `cost`.

    Attributes:
        name: by which a target refers to it.
        unit: in which it is counted, such as "bytes"; empty for a plain count.
        units: units of amounts in targets, each as a multiple of `unit`; empty if only fractions make sense.
        shown: the one of `units` in which amounts are displayed.
        needs_device: whether it can only be measured on a device, and must be bound to one before it has a cost.
        steady: whether it can be measured in the steady state that a device reaches under lasting load.
    """

    name: str = ""
    unit: str = ""
    units: ClassVar[Mapping[str, float]] = {}
    shown: str = ""
    needs_device: ClassVar[bool] = False
    steady: ClassVar[bool] = False

    # --- amounts -------------------------------------------------------------------------------------

    def amount(self, value: float, unit: str) -> float:
        """Convert an amount to `unit`.

        Raises:
            TargetError: the resource has only fractions, or does not know that unit.
        """
        if not self.units:
            raise TargetError(f"{self.name} takes a fraction that remains, as in {self.name}=0.5")
        if unit not in self.units:
            raise TargetError(known("unit", unit, list(self.units)))
        return value * self.units[unit]

    def text(self, amount: float) -> str:
        """Format an amount as a target may contain it."""
        return f"{amount / self.units[self.shown]:g}{self.shown}"

    @property
    def example(self) -> str:
        """The form of its targets, for a help text."""
        return f"{self.name}=F" + (f" or 20{self.shown}" if self.units else "")

    # --- costs ---------------------------------------------------------------------------------------

    def cost(self, graph: "Graph", keep: "Bools | None" = None) -> float:
        """Return the cost of a (possibly already pruned) model in `unit`.

        Args:
            graph: of the model.
            keep: which channels are kept, bool, (classes,); None for all.
        """
        raise NotImplementedError

    def by_widths(self, graph: "Graph") -> "WidthCost":
        """Return the cost as a function of the channels per group, int, (groups,), for a search with many calls.

        The function may have a method ``moved`` too, which updates the cost after a move instead of computing it
        anew: see `edgeprune.latency.width_costs.WidthCost`. By default the first channels of each group are kept.
        """
        import numpy as np

        def at(widths: "Ints") -> float:
            keep = np.zeros(graph.classes, dtype=bool)
            for group, width in zip(graph.groups, widths, strict=True):
                keep[group.classes[: int(width)]] = True
            return self.cost(graph, keep)

        return at

    def growing(self, graph: "Graph", keep: "Bools") -> "GrowingCost":
        """Return the running cost of a keep-mask that grows from ``keep``, bool, (classes,)."""
        return GrowingCost(self, graph, keep)

    def steps(self, graph: "Graph") -> "Ints | None":  # noqa: ARG002
        """Return for each group the multiple to which its channel counts should be aligned; None for no alignment."""
        return None

    # --- measuring -----------------------------------------------------------------------------------

    def measure(self, model: "nn.Module", example: "Tensor", opaque: "Iterable[str]" = ()) -> float:
        """Return the cost of a finished model in `unit`.

        Args:
            model: on the CPU.
            example: an input, batch included.
            opaque: modules that are neither traced nor pruned.
        """
        from edgeprune.graph.classes import build_graph

        return self.cost(build_graph(model, example, opaque=opaque))

    def measured_on_device(self, record: Mapping[str, Any] | None) -> tuple[float, float] | None:  # noqa: ARG002
        """Return the costs of the unpruned and the pruned model as measured on the device; None without measurement.

        Args:
            record: the content of the run's latency.json; None if there is none.
        """
        return None


class GrowingCost:
    """The running cost of a keep-mask that grows."""

    def __init__(self, resource: Resource, graph: "Graph", keep: "Bools") -> None:
        self.resource, self.graph, self.keep = resource, graph, keep.copy()

    def after(self, classes: "Ints") -> tuple[float, Any]:
        """Return the cost if ``classes`` are added, and the state that `take` needs to add them."""
        keep = self.keep.copy()
        keep[classes] = True
        return self.resource.cost(self.graph, keep), keep

    def take(self, after: Any) -> None:
        """Add the classes of an earlier call of `after`, given the state that it returned."""
        self.keep = after
