"""Apply a keep-plan: the user's own network with fewer channels, proved to compute what the masked one computes."""

from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from edgeprune.graph.classes import Graph
from edgeprune.graph.fate import fate_of
from edgeprune.graph.flow import layer_name
from edgeprune.graph.heap import collecting_later
from edgeprune.graph.ordering import Orders, channel_orders
from edgeprune.graph.survivors import Immovable, Survivors
from edgeprune.plan import Plan
from edgeprune.rewrite.checker import Diverged, check
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.rewrite.emptied import container, emptied_modules, is_inside, outermost
from edgeprune.rewrite.forward import NotRewritable, rewrite
from edgeprune.rewrite.history import remember
from edgeprune.rewrite.tensors import cut_tensors
from edgeprune.trace.record import CALL, Record
from edgeprune.trace.recorder import with_code


@dataclass(frozen=True)
class Compacted:
    """The dense network, the plan as it was carried out, and the modules whose forward had to be rewritten."""

    model: nn.Module
    plan: Plan
    rewritten: tuple[str, ...] = ()


@collecting_later
def compact(graph: Graph, plan: Plan) -> Compacted:
    """Cut the dropped channels out of a copy of the user's network; its class and its code stay.

    The result computes what `mask` computes, to float rounding, with fewer channels. Where a channel
    cannot be removed exactly, it stays, and the returned plan says so.

    Raises:
        PlanError: ``plan`` was made for another network.
    """
    plan.check(graph)
    while True:
        try:
            model, rewritten = _Cut(graph, plan).run()
            remember(model, graph.model, graph.inputs, plan.to_dict(graph))
            return Compacted(model, plan, rewritten)
        except Immovable as stuck:
            plan = _without(plan, stuck)


def _without(plan: Plan, stuck: Immovable) -> Plan:
    keep = plan.keep.copy()
    if keep[stuck.classes].all():
        raise AssertionError(f"compaction is stuck at {stuck} with nothing left to give back") from stuck
    keep[stuck.classes] = True
    back = int(keep.sum() - plan.keep.sum())
    note = f"left alone: {back} channel{'s' * (back > 1)} at {stuck.where}, because {stuck.why}"
    return replace(plan, keep=keep, notes=(*plan.notes, note))


class _Cut:
    """One attempt at a keep-plan."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan, self.keep = graph, plan, plan.keep
        self.orders: Orders = channel_orders(graph, plan.keep) if graph.flow.remaps else {}
        self.survivors = Survivors(graph, plan.keep, self.orders)
        self.rewritten: set[str] = set()

    def run(self) -> tuple[nn.Module, tuple[str, ...]]:
        fates = [fate_of(flow, self.graph.class_of, self.keep) for flow in self.graph.flows]
        for fate in fates:
            if fate.stuck:
                classes = np.unique(np.array([item for _, item in fate.stuck], dtype=np.int64))
                raise Immovable(classes, layer_name(fate.stuck[0][0]), "it needs at least one")
        needed: set[str] = set()
        for flow, fate in zip(self.graph.flows, fates, strict=True):
            needed |= emptied_modules(flow, fate)
        while True:
            model = self._cut(needed)
            try:
                for flow in self.graph.flows:
                    check(model, self._inputs(flow.module), self.graph, flow.module, self.survivors, self.rewritten)
                return model, tuple(sorted(self.rewritten))
            except Diverged as diverged:
                needed = self._further(diverged)

    def _cut(self, needed: set[str]) -> nn.Module:
        """A cut copy in which the ``needed`` modules, or the ones around them, have another forward."""
        if self.keep.all():
            return duplicate(self.graph.model)
        while True:
            model = duplicate(self.graph.model)
            cut_tensors(model, self.graph, self.keep, self.orders)
            needed = set(outermost(needed))
            failed = self._rewrite_all(model, needed)
            if failed is None:
                self.rewritten = needed
                return model
            path, reason = failed
            needed = (needed - {path}) | {self._around(path, reason)}

    def _rewrite_all(self, model: nn.Module, needed: set[str]) -> tuple[str, str] | None:
        for path in sorted(needed):
            record = next(
                (f.module for f in self.graph.flows if any(v.path == path for v in f.module.visits)), self.graph.module
            )
            try:
                rewrite(
                    self.graph, record, model, path, self.keep, self.orders, bypass=self.plan.bypass
                )
            except NotRewritable as error:
                return path, str(error)
        return None

    def _around(self, path: str, reason: str) -> str:
        """The module around one that cannot be rewritten."""
        if not path:
            raise self._refusal(None, reason)
        return path.rpartition(".")[0]

    def _further(self, diverged: Diverged) -> set[str]:
        """The modules to rewrite after the cut network did something else in one of them."""
        path = container(diverged.node) if diverged.node is not None else diverged.path
        while path and path not in self._visited():
            path = path.rpartition(".")[0]
        if any(is_inside(path, done) for done in self.rewritten):
            outer = next(done for done in self.rewritten if is_inside(path, done))
            if not outer:
                raise self._refusal(diverged, diverged.why)
            return (self.rewritten - {outer}) | {outer.rpartition(".")[0]}
        return self.rewritten | {path} | self._siblings(path, diverged)

    def _visited(self) -> set[str]:
        return {visit.path for flow in self.graph.flows for visit in flow.module.visits}

    def _siblings(self, path: str, diverged: Diverged) -> set[str]:
        """Modules of the same class that lose channels at the same line of code."""
        node = diverged.node
        if node is None or CALL not in node.meta or not path or not node.meta[CALL].line:
            return set()
        kind, line = type(self.graph.model.get_submodule(path)), node.meta[CALL].line
        found = set()
        for other in self.graph.flow.module.graph.nodes:
            if CALL in other.meta and other.meta[CALL].line == line and self._changes(other):
                place = container(other)
                if place and type(self.graph.model.get_submodule(place)) is kind and place in self._visited():
                    found.add(place)
        return found

    def _changes(self, node: object) -> bool:
        labels = self.graph.flow.values[node]  # type: ignore[index]
        from edgeprune.graph import labels as lb

        return any(not bool(self.survivors.kept(lb.core(t)).all()) for t in lb.tensors_in(labels))

    def _refusal(self, diverged: Diverged | None, reason: str) -> Immovable:
        """The error that keeps the channels at the call that cannot be made right."""
        node = diverged.node if diverged is not None else None
        if node is None:
            dropped = np.flatnonzero(~self.keep)
            return Immovable(dropped, "the network", reason)
        flow = next(f for f in self.graph.flows if node in f.values)
        values = [flow.values[node], *(flow.values[n] for n in node.all_input_nodes)]
        refused = self.survivors.refuse(values, node)
        classes = refused.classes[~self.keep[refused.classes]]
        if not len(classes):
            classes = np.flatnonzero(~self.keep)
        line = with_code(node.meta[CALL].line) if CALL in node.meta else layer_name(node)
        return Immovable(classes, line, reason)

    def _inputs(self, record: Record) -> tuple:
        return self.graph.inputs_of(record)
