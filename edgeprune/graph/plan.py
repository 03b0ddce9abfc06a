"""A keep-plan: which classes of coupled channels stay. Choosing makes one, compaction applies it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from edgeprune.errors import PlanError
from edgeprune.records.runs import KeepPlan, KeptGroup

if TYPE_CHECKING:
    from edgeprune.graph.classes import Graph


@dataclass(frozen=True)
class Plan:
    """``keep[c]`` says whether class c stays; ``fingerprint`` names the graph it was made for.

    ``notes`` says what was asked and could not be done (floors, alignment, channels left alone).
    ``bypass`` says that emptied branches are left out of the sums they are added to: without it a block whose
    inside has gone still adds its last bias, which costs a runtime more than the numbers are worth.
    ``precisions`` says which precision each layer is deployed in; None where none were chosen.
    """

    keep: NDArray[np.bool_]
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    bypass: bool = False
    precisions: Mapping[str, str] | None = None

    @classmethod
    def everything(cls, graph: "Graph") -> "Plan":
        """Return the plan that keeps all."""
        return cls(np.ones(graph.classes, dtype=bool), graph.fingerprint)

    @classmethod
    def of(cls, graph: "Graph", keep: NDArray[np.bool_], notes: tuple[str, ...] = ()) -> "Plan":
        """Make a plan for ``graph``.

        Args:
            graph: the network's graph.
            keep: flag of each class; it is copied.
            notes: remarks for the report.

        Raises:
            PlanError: ``keep`` has another length.
        """
        graph.checked(keep)
        return cls(np.asarray(keep, dtype=bool).copy(), graph.fingerprint, notes)

    def check(self, graph: "Graph") -> None:
        """Raise PlanError unless this plan was made for a graph of the same structure."""
        if self.fingerprint != graph.fingerprint or len(self.keep) != graph.classes:
            raise PlanError(
                f"this plan was made for another model (plan {self.fingerprint}, model {graph.fingerprint}); "
                "make a new plan from this model's own graph"
            )

    def record(self, graph: "Graph") -> KeepPlan:
        """Return it as it is written: for each group of ``graph`` the indices, within the group, of what is kept."""
        groups = (
            KeptGroup(name=g.name, size=g.size, kept=tuple(np.flatnonzero(self.keep[g.classes]).tolist()))
            for g in graph.groups
        )
        precisions: Any = UNSET if self.precisions is None else dict(self.precisions)
        return KeepPlan(self.fingerprint, tuple(groups), self.notes, self.bypass, precisions)

    @classmethod
    def of_record(cls, graph: "Graph", record: KeepPlan) -> "Plan":
        """Return the plan that a record is of.

        Args:
            graph: the network's graph.
            record: of `record`, or read from a file.

        Raises:
            PlanError: it was made for another model.
        """
        if record.fingerprint != graph.fingerprint or len(record.groups) != len(graph.groups):
            raise PlanError(
                "this plan was made for another model; make a new plan from this model's own graph"
            )
        keep = np.zeros(graph.classes, dtype=bool)
        for group, entry in zip(graph.groups, record.groups, strict=True):
            kept = np.asarray(entry.kept, dtype=int)
            size = group.size if entry.size is None else entry.size
            if size != group.size or (kept >= group.size).any():
                raise PlanError(
                    f"this is not a keep-plan of this model: group {group.name} has {group.size} channels; "
                    "make a new plan from this model's own graph"
                )
            keep[group.classes[kept]] = True
        precisions = None if isinstance(record.precisions, UnsetType) else record.precisions
        return cls(keep, record.fingerprint, record.notes, record.bypass, precisions)

    def to_dict(self, graph: "Graph") -> dict[str, Any]:
        """Return the JSON form of `record`."""
        return self.record(graph).to_dict()

    @classmethod
    def from_dict(cls, graph: "Graph", value: Any) -> "Plan":
        """Read `to_dict`'s form back; raises PlanError when it is malformed or of another model."""
        return cls.of_record(graph, KeepPlan.from_dict(value))
