"""Trace one module's own code; modules inside stay calls of themselves, with the results that the record has."""

from typing import Any

import torch.fx as fx
from torch import Tensor

from edgeprune.errors import TraceError, one_line
from edgeprune.recording.opaque import outer_part
from edgeprune.recording.record import VALUE, Visit
from edgeprune.recording.untouched import untouched
from edgeprune.rewrite.forward_arguments import Argument, bound_arguments
from edgeprune.rewrite.history import has_hooks
from edgeprune.rewrite.memos import State, are_memos, empty
from edgeprune.rewrite.requests import NotRewritable, Request
from edgeprune.rewrite.structures import fx_nodes
from edgeprune.rewrite.symbolic import Leaves, trace_forward


class ModuleTrace:
    """The graph of one module's forward in one mode, on the arguments of its first recorded visit.

    Attributes:
        graph: of the network.
        flow: the network's labels in this mode.
        original: the module, which is traced.
        visits: its runs in the record; the trace is made on the first.
        nodes: the recorded calls, in order.
        inner: the runs of modules inside, by their name in this one.
        arguments: of its forward, with the recorded values.
        tables: in which its code keeps what it has computed; they were empty in the trace.
        leaves: the modules that stay calls.
        used: the visit of each such call, in the trace's order.
        traced: the graph.
    """

    traced: fx.GraphModule
    arguments: list[Argument]
    leaves: Leaves
    tables: list[tuple[str, str]]

    def __init__(self, request: Request, path: str, index: int, *, training: bool) -> None:
        """Find the module in the record; `run` traces it.

        Args:
            request: what is to be rewritten.
            path: the module's name in the network.
            index: of the flow among the graph's.
            training: the mode.

        Raises:
            NotRewritable: its hooks change its arguments.
        """
        self.graph, self.flow = request.graph, request.graph.flows[index]
        self.original = request.graph.model.get_submodule(path)
        self._request, self._path, self._training = request, path, training
        self._liveness = request.liveness_by_flow[index]
        record = self.flow.module
        self.visits: list[Visit] = [v for v in record.visits if v.path == path]  # type: ignore[union-attr]
        self.nodes = list(record.graph.nodes)
        self.inner: dict[str, list[Visit]] = {}
        first = self.visits[0]
        for visit in record.visits:  # type: ignore[union-attr]
            if visit is not first and first.first <= visit.first and visit.last <= first.last:
                self.inner.setdefault(_inside(visit.path, path), []).append(visit)
        if not all(visit.own_arguments for visit in self.visits):
            raise NotRewritable("a hook changes what it is given")
        self.used: list[Visit] = []

    def run(self) -> None:
        """Trace forward; results that the code caches in tables are computed in the graph.

        Raises:
            NotRewritable: its code cannot be followed.
        """
        self.arguments = self._arguments()
        tables = State(self.original).tables()
        if tables:
            try:
                return self._trace_without(tables)
            except NotRewritable:  # they are no such tables
                pass
        return self._trace_without([])

    @property
    def argument_nodes(self) -> list[Any]:
        """The recorded node, or plain value, of each argument."""
        visit = self.visits[0]
        return [a.value for a in bound_arguments(self.original, tuple(visit.args), dict(visit.kwargs))]

    @property
    def placeholders(self) -> list[fx.Node]:
        """The node of each argument in the trace."""
        return [n for n in self.traced.graph.nodes if n.op == "placeholder"]

    def _arguments(self) -> list[Argument]:
        visit = self.visits[0]
        values = fx.node.map_aggregate(
            (tuple(visit.args), dict(visit.kwargs)), lambda n: n.meta[VALUE] if isinstance(n, fx.Node) else n
        )
        if not _is_plain(values):
            raise NotRewritable("it takes objects")
        try:
            return bound_arguments(self.original, *values)
        except TraceError as error:
            raise NotRewritable(str(error)) from error

    def _trace_without(self, tables: list[tuple[str, str]]) -> None:
        """Trace forward with ``tables`` emptied."""
        self.leaves = leaves = Leaves(self._stays, self._value)
        self.used.clear()
        try:
            with untouched(self.original):
                empty(self.original, tables)
                state = State(self.original)
                self.traced = trace_forward(self.original, self.arguments, leaves, training=self._training)
                changes = state.changes()
        except TraceError as error:
            if isinstance(error.__cause__, NotRewritable):
                raise error.__cause__ from error
            cause = one_line(error.__cause__ or error).removeprefix("cannot trace this model: ")
            raise NotRewritable(f"its code cannot be followed ({cause})") from error
        if not are_memos(changes, leaves):
            raise NotRewritable("it keeps what it computed on itself")
        self.tables = tables

    # --- modules inside ------------------------------------------------------------------------------

    def _stays(self, name: str) -> bool:
        """Tell whether a module inside stays a call of itself."""
        path = self._path_of(name)
        if outer_part(path, self.graph.parts) is not None:
            if not all(_is_plain(visit.result) for visit in self.inner.get(name, ())):
                raise NotRewritable(f"{path}, which is kept whole, gives objects")
            return name in self.inner
        if path in self._request.dissolved or name not in self.inner:
            if path in self._request.dissolved:
                self._refuse_hooks(name)
            return False
        if path in self._request.needed or not any(self._is_touched(visit) for visit in self.inner[name]):
            return all(_is_plain(visit.result) for visit in self.inner[name])
        self._refuse_hooks(name)
        return False

    def _path_of(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name

    def _is_touched(self, visit: Visit) -> bool:
        """Tell whether something in a module, or what it is given, has gone; not in what gets a forward of its own."""
        nodes = {*self.nodes[visit.first : visit.last], *fx_nodes((visit.args, visit.kwargs))}
        for name, others in self.inner.items():
            if self._path_of(name) in self._request.needed:
                for other in others:
                    if visit.first <= other.first and other.last <= visit.last and other is not visit:
                        nodes -= {*self.nodes[other.first : other.last]}
        return any(self._liveness.gone(node) and node not in self.flow.static for node in nodes)

    def _refuse_hooks(self, name: str) -> None:
        if has_hooks(self.original.get_submodule(name)):
            raise NotRewritable(f"{name} has hooks")

    def _value(self, name: str) -> Any:
        """Return the recorded result of the next run of a module that stays a call."""
        number = sum(visit in self.inner[name] for visit in self.used)
        if number >= len(self.inner[name]):
            raise TraceError(f"{name} runs another number of times than before")
        visit = self.inner[name][number]
        self.used.append(visit)
        return fx.node.map_aggregate(visit.result, lambda n: n.meta[VALUE] if isinstance(n, fx.Node) else n)


def _inside(path: str, outer: str) -> str:
    return path[len(outer) + 1 :] if outer else path


def _is_plain(value: Any) -> bool:
    """Tell whether a structure is of plain containers, tensors and numbers."""
    if type(value) is tuple or isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, (Tensor, fx.Node, int, float, bool, str, type(None)))
