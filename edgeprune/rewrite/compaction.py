"""Apply a keep-plan: the user's own network with fewer channels, proved to compute what the masked one computes."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.flow import Flow
from edgeprune.graph.gc_pause import gc_paused
from edgeprune.graph.labels import core, tensors_in
from edgeprune.graph.liveness import liveness_of
from edgeprune.graph.nodes import layer_name
from edgeprune.graph.ordering import Orders, channel_orders
from edgeprune.graph.plan import Plan
from edgeprune.graph.survivors import Immovable, Survivors, left_alone
from edgeprune.recording.lines import with_code
from edgeprune.recording.paths import is_inside
from edgeprune.recording.record import CALL, container
from edgeprune.recording.untouched import ModelState
from edgeprune.rewrite.alternatives import follow_forward
from edgeprune.rewrite.checker import Diverged, check
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.rewrite.emptied import emptied_modules
from edgeprune.rewrite.forward import rewrite
from edgeprune.rewrite.history import remember
from edgeprune.rewrite.proof import OneSize, prove
from edgeprune.rewrite.requests import NotRewritable, Request
from edgeprune.rewrite.tensors import cut_copy


@dataclass(frozen=True)
class Compacted:
    """The dense network, the plan as it was carried out, and the modules whose forward had to be rewritten.

    ``reasons`` says for each of ``rewritten`` why, with the line of code that holds a width.
    """

    model: nn.Module
    plan: Plan
    rewritten: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


@gc_paused
def compact(graph: Graph, plan: Plan) -> Compacted:
    """Cut the dropped channels out of a copy of the user's network; its class and its code stay.

    The result computes what `mask` computes, to float rounding, with fewer channels. Where a channel
    cannot be removed exactly, it stays, and the returned plan says so.

    Raises:
        PlanError: ``plan`` was made for another network, or the result cannot be proved.
    """
    plan.check(graph)
    while True:
        try:
            cut = _Cut(graph, plan)
            model, reasons, outputs = cut.run()
            _prove(graph, plan, model, tuple(reasons), outputs, cut.state)
            follow_forward(model, graph.model)
            remember(model, graph, plan)
            return Compacted(model, plan, tuple(reasons), tuple(reasons.values()))
        except Immovable as immovable:
            plan = left_alone(plan, immovable)


def _prove(
    graph: Graph,
    plan: Plan,
    model: nn.Module,
    rewritten: tuple[str, ...],
    outputs: list[list[Tensor] | None],
    state: ModelState | None,
) -> None:
    """Prove what was cut; what only a rewriting could cut stays where that would hold at one image size alone.

    Args:
        graph: of the original.
        plan: what was cut.
        model: the cut network.
        rewritten: its modules whose forward was written anew.
        outputs: what it gave when it was watched.
        state: of the cut network, before it runs.
    """
    try:
        prove(graph, plan, model, rewritten, outputs, state)
    except OneSize as error:
        flow = graph.flow
        inside = [
            flow.values[node]
            for node in graph.nodes
            if CALL in node.meta and any(is_inside(node.meta[CALL].path, path) for path in rewritten)
        ]
        labels = [core(tensor).numpy().reshape(-1) for tensor in tensors_in(inside)]
        classes = np.unique(graph.class_of[np.concatenate(labels)])
        classes = classes[classes >= 0]
        raise Immovable(
            classes[~plan.keep[classes]], ", ".join(rewritten) or "the network", str(error)
        ) from error


class _Cut:
    """One attempt at a keep-plan.

    ``needed`` says of each module that gets another forward why, and ``dissolved`` names those which could not:
    their code goes into the forward around. ``causes`` are the classes at the calls for which a module needs another
    forward: they stay where it gets none.
    """

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan, self.keep = graph, plan, plan.keep
        self.orders: Orders = channel_orders(graph, plan.keep)
        self.survivors = Survivors(graph, plan.keep, self.orders)
        self.liveness_by_flow = [liveness_of(flow, graph.class_of, plan.keep) for flow in graph.flows]
        self.needed: dict[str, str] = {}
        self.dissolved: set[str] = set()
        self.causes: dict[str, Ints] = {}
        self.state: ModelState | None = None  # of the cut network, before it runs
        self._visited = {visit.path for flow in graph.flows for visit in flow.module.visits}  # type: ignore[union-attr]

    def run(self) -> tuple[nn.Module, dict[str, str], list[list[Tensor] | None]]:
        """Return the cut network, the modules with a rewritten forward and why, and the results in each mode.

        Raises:
            Immovable: channels that have to stay.
        """
        for liveness in self.liveness_by_flow:
            if liveness.blocked:
                classes = np.unique(np.array([item for _, item in liveness.blocked], dtype=np.int64))
                raise Immovable(classes, layer_name(liveness.blocked[0][0]), "it needs at least one")
        for flow, liveness in zip(self.graph.flows, self.liveness_by_flow, strict=True):
            for path in emptied_modules(flow, liveness):
                inside = [n for n in flow.values if CALL in n.meta and is_inside(n.meta[CALL].path, path)]
                self._need(self._of_visited(path), "a branch in it has no channels left", inside)
        while True:
            model = self._cut()
            self.state = ModelState(model)
            try:
                outputs = [self._check(model, flow) for flow in self.graph.flows]
                return model, dict(sorted(self.needed.items())), outputs
            except Diverged as diverged:
                self._escalate(diverged)

    def _check(self, model: nn.Module, flow: Flow) -> list[Tensor] | None:
        record = flow.module
        inputs = self.graph.inputs_of(record)  # type: ignore[arg-type]
        return check(model, inputs, self.graph, record, self.survivors, self.needed, self.state)  # type: ignore[arg-type]

    def _cut(self) -> nn.Module:
        """Return a cut copy in which the ``needed`` modules, or the ones around them, have another forward."""
        if self.keep.all():
            return duplicate(self.graph.model)
        while True:
            model = cut_copy(self.graph, self.keep, self.orders)
            request = Request(
                self.graph,
                model,
                self.keep,
                self.orders,
                self.liveness_by_flow,
                self.plan.bypass,
                self.needed,
                self.dissolved,
            )
            try:
                for path in sorted(self.needed, key=lambda p: (-p.count("."), p)):  # inner ones first
                    rewriting = path
                    rewrite(request, path)
                return model
            except NotRewritable as error:
                self._go_around(rewriting, str(error), None)

    def _need(self, path: str, why: str, nodes: Iterable[fx.Node]) -> None:
        """Let a module get another forward, for what it does at ``nodes``."""
        self.needed.setdefault(path, why)
        self._add_causes(path, self._classes_at(nodes))

    def _add_causes(self, path: str, classes: Ints) -> None:
        self.causes[path] = np.union1d(self.causes.get(path, classes), classes)

    def _classes_at(self, nodes: Iterable[fx.Node]) -> Ints:
        """Return the dropped classes in the inputs and results of calls."""
        classes = [np.zeros(0, dtype=np.int64)]
        for node in nodes:
            values = next(flow.values for flow in self.graph.flows if node in flow.values)
            labels = tensors_in([values[node], *(values[source] for source in node.all_input_nodes)])
            classes += [self.graph.classes_of(core(tensor)).reshape(-1) for tensor in labels]
        unique = np.unique(np.concatenate(classes))
        unique = unique[unique >= 0]
        return unique[~self.keep[unique]]

    def _go_around(self, path: str, reason: str, diverged: Diverged | None) -> None:
        """Rewrite the module around one that cannot be rewritten, with its code."""
        if not path:
            raise self._refusal(diverged, reason)
        why = self.needed.pop(path)
        self.dissolved.add(path)
        around = self._of_visited(path.rpartition(".")[0])
        self.needed.setdefault(around, why)
        self._add_causes(around, self.causes.pop(path))

    def _of_visited(self, path: str) -> str:
        """Return the path, or that of the nearest module around it whose forward runs."""
        while path and path not in self._visited:
            path = path.rpartition(".")[0]
        return path

    def _escalate(self, diverged: Diverged) -> None:
        """Rewrite the module in which the cut network did something else, or the one around where that is done."""
        node = diverged.node
        path = self._of_visited(container(node) if node is not None else diverged.path)
        line = with_code(node.meta[CALL].line) if node is not None and CALL in node.meta else ""
        reason = f"{diverged.why}, at {line}" if line else diverged.why
        while path in self.dissolved:
            path = self._of_visited(path.rpartition(".")[0])
        if path in self.needed:
            self._go_around(path, reason, diverged)
            return
        self._need(path, reason, [] if node is None else [node])
        for other, alike in self._siblings(path, diverged).items():
            self._need(other, reason, alike)

    def _siblings(self, path: str, diverged: Diverged) -> dict[str, list[fx.Node]]:
        """Return modules of the same class that lose channels at the same line of code, with the calls there."""
        node = diverged.node
        if node is None or CALL not in node.meta or not path or not node.meta[CALL].line:
            return {}
        kind, line = type(self.graph.model.get_submodule(path)), node.meta[CALL].line
        siblings: dict[str, list[fx.Node]] = {}
        for other in self.graph.flow.module.graph.nodes:
            if CALL in other.meta and other.meta[CALL].line == line and self._changes(other):
                place = container(other)
                known = place in self._visited - {""} - self.dissolved
                if known and type(self.graph.model.get_submodule(place)) is kind:
                    siblings.setdefault(place, []).append(other)
        return siblings

    def _changes(self, node: fx.Node) -> bool:
        labels = tensors_in(self.graph.flow.values[node])
        return any(not bool(self.survivors.kept(core(tensor)).all()) for tensor in labels)

    def _refusal(self, diverged: Diverged | None, reason: str) -> Immovable:
        """Return the error that keeps the channels at the calls that cannot be rewritten."""
        node = diverged.node if diverged is not None else None
        classes = self.causes.get("", np.zeros(0, dtype=np.int64))
        if node is None:
            return Immovable(classes if len(classes) else np.flatnonzero(~self.keep), "the network", reason)
        own = self._classes_at([node])
        line = with_code(node.meta[CALL].line) if CALL in node.meta else layer_name(node)
        remaining = next((part for part in (own, classes) if len(part)), np.flatnonzero(~self.keep))
        return Immovable(remaining, line, reason)
