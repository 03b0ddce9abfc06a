"""Give one module a rewritten forward: where a width is written into its code, or a branch inside has gone.

Only the module's own code is written anew. Modules inside stay calls of themselves, with what the record knows of
them, unless a branch that has gone runs through them or they could not be rewritten by themselves.
"""

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from types import CodeType, MethodType
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn

from edgeprune.errors import TraceError, one_line
from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Flow
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.ordering import Orders
from edgeprune.graph.rules import apply_rule
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.opaque import outer_part
from edgeprune.recording.record import CALL, VALUE, Visit
from edgeprune.recording.untouched import untouched
from edgeprune.rewrite.forward_arguments import Argument, bound_arguments
from edgeprune.rewrite.graph_editor import put_new
from edgeprune.rewrite.graph_rewriter import Immovable, Rewriter
from edgeprune.rewrite.memos import State, are_memos, empty, held_tensors
from edgeprune.rewrite.structures import fx_nodes
from edgeprune.rewrite.symbolic import Leaves, trace_forward


class NotRewritable(Exception):
    """A module whose forward cannot be written anew; the one around it may be."""


@dataclass
class Request:
    """What is to be rewritten, of one attempt at a keep-plan.

    Attributes:
        graph: of the original.
        model: the cut copy.
        keep: which classes stay.
        orders: in which order channels are written.
        liveness_by_flow: what becomes of each call, for each of the graph's flows.
        bypass: emptied branches are left out of sums.
        needed: all modules that get another forward.
        dissolved: modules that could not: their code goes into the forward around.
    """

    graph: Graph
    model: nn.Module
    keep: Bools
    orders: Orders
    liveness_by_flow: list[Liveness]
    bypass: bool
    needed: Collection[str]
    dissolved: Collection[str]


class RewrittenForward:
    """The forward of a module, written anew from graphs, one for each mode; layers and tensors are the module's own.

    It stands on the instance, so the module keeps its class, methods, attributes and hooks.
    """

    def __init__(self, owner: nn.Module, sources: tuple[str, str], names: dict[str, Any]) -> None:
        self.owner, self.sources, self.names = owner, sources, names
        self._functions = self._compiled()

    @property
    def source(self) -> str:
        """Return the code of evaluation, and of training if it differs."""
        evaluation, training = self.sources
        return evaluation if evaluation == training else f"{evaluation}\n# in training:\n{training}"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._functions[self.owner.training](self.owner, *args, **kwargs)

    @property
    def __code__(self) -> CodeType:  # torch.export asks a forward for it
        return self._functions[self.owner.training].__code__

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(MethodType(self._functions[self.owner.training], self.owner))

    def _compiled(self) -> tuple[Any, ...]:
        functions = []
        for source in self.sources:
            scope = dict(self.names)
            exec(compile(source, f"<forward of {type(self.owner).__name__} by edgeprune>", "exec"), scope)
            functions.append(scope["forward"])
        return tuple(functions)

    def __getstate__(self) -> dict[str, Any]:
        names = {
            name: _Module(value.__name__) if isinstance(value, type(torch)) else value
            for name, value in self.names.items()
        }
        return {"owner": self.owner, "sources": self.sources, "names": names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        import importlib

        names = {
            name: importlib.import_module(value.name) if isinstance(value, _Module) else value
            for name, value in state["names"].items()
        }
        self.owner, self.sources, self.names = state["owner"], state["sources"], names
        self._functions = self._compiled()


@dataclass(frozen=True)
class _Module:
    """Stands for an imported module in a pickle."""

    name: str


def rewrite(request: Request, path: str) -> None:
    """Replace the forward of module ``path`` of the cut model.

    Raises:
        NotRewritable: its code cannot be traced, or does not give what the record says.
        Immovable: channels that have to stay.
    """
    cut = request.model.get_submodule(path)
    done = [
        _Mode(request, path, index, training).run()
        for index, training in _modes(request.graph)
        if any(visit.path == path for visit in request.graph.flows[index].module.visits)  # type: ignore[union-attr]
    ]
    if not done:
        raise NotRewritable("it does not run")
    _prune_layers(cut, done)
    _prune_parameters(request, path, done)
    sources, names = [], {}
    for mode in done:
        _set_defaults(mode.graph, mode.arguments)
        code = mode.graph.python_code("self")
        sources.append(_checked_arguments(code.src, mode.arguments))
        names.update(code.globals)
    cut.forward = RewrittenForward(cut, (sources[0], sources[-1]), names)


def _modes(graph: Graph) -> list[tuple[int, bool]]:
    """Return (index of the flow, mode) pairs; code may read the mode even where both modes do the same."""
    return [(0, False), (len(graph.flows) - 1, True)]


@dataclass
class _Done:
    graph: fx.Graph
    arguments: list[Argument]
    called: set[str]  # layers that the original calls, and of these what the new forward calls
    calls: set[str]


class _Mode:
    """The rewriting of one module's forward in one mode."""

    def __init__(self, request: Request, path: str, index: int, training: bool) -> None:
        self.request, self.path, self.training = request, path, training
        self.graph, self.flow = request.graph, request.graph.flows[index]
        self.liveness = request.liveness_by_flow[index]
        self.original = request.graph.model.get_submodule(path)
        self.cut = request.model.get_submodule(path)
        record = self.flow.module
        self.visits: list[Visit] = [v for v in record.visits if v.path == path]  # type: ignore[union-attr]
        self.nodes = list(record.graph.nodes)
        self.inner: dict[str, list[Visit]] = {}
        first = self.visits[0]
        for visit in record.visits:  # type: ignore[union-attr]
            if visit is not first and first.first <= visit.first and visit.last <= first.last:
                self.inner.setdefault(_inside(visit.path, path), []).append(visit)
        self.used: list[Visit] = []

    def run(self) -> _Done:
        """Trace, label, rewrite."""
        first = self.visits[0]
        if not all(visit.own_arguments for visit in self.visits):
            raise NotRewritable("a hook changes what it is given")
        for other in self.visits[1:]:
            if not _same_labels(
                self.graph, self.flow, (first.args, first.kwargs), (other.args, other.kwargs)
            ):
                raise NotRewritable("it runs on different channels")
        arguments = self._arguments(first)
        traced = self._trace(arguments)
        sub = self._subgraph(traced, first)
        self._adopt_constants(sub, traced)
        placeholders = [n for n in traced.graph.nodes if n.op == "placeholder"]
        nonnegative = {
            p for p, a in zip(placeholders, self._argument_nodes(first), strict=False) if _is_nonnegative(a)
        }
        rewriter = Rewriter(
            sub,
            self.cut,
            self.request.keep,
            self.request.orders,
            bypass=self.request.bypass,
            nonnegative=nonnegative,
        )
        graph = rewriter.run()
        return _Done(graph, arguments, _calls(traced.graph), _calls(graph))

    # --- tracing -------------------------------------------------------------------------------------

    def _arguments(self, visit: Visit) -> list[Argument]:
        """Return the arguments of forward, with the recorded values."""
        values = fx.node.map_aggregate(
            (tuple(visit.args), dict(visit.kwargs)), lambda n: n.meta[VALUE] if isinstance(n, fx.Node) else n
        )
        if not _is_plain(values):
            raise NotRewritable("it takes objects")
        try:
            return bound_arguments(self.original, *values)
        except TraceError as error:
            raise NotRewritable(str(error)) from error

    def _argument_nodes(self, visit: Visit) -> list[Any]:
        return [a.value for a in bound_arguments(self.original, tuple(visit.args), dict(visit.kwargs))]

    def _trace(self, arguments: list[Argument]) -> fx.GraphModule:
        """Trace forward; results that the code caches in tables are computed in the graph."""
        tables = State(self.original).tables()
        if tables:
            try:
                return self._traced(arguments, tables)
            except NotRewritable:  # they are no such tables
                pass
        return self._traced(arguments, [])

    def _traced(self, arguments: list[Argument], tables: list[tuple[str, str]]) -> fx.GraphModule:
        """Trace forward with ``tables`` emptied."""
        self.leaves = leaves = Leaves(self._stays, self._value)
        self.used.clear()
        try:
            with untouched(self.original):
                empty(self.original, tables)
                state = State(self.original)
                traced = trace_forward(self.original, arguments, leaves, training=self.training)
                changes = state.changes()
        except TraceError as error:
            if isinstance(error.__cause__, NotRewritable):
                raise error.__cause__ from error
            cause = one_line(error.__cause__ or error).removeprefix("cannot trace this model: ")
            raise NotRewritable(f"its code cannot be followed ({cause})") from error
        if not are_memos(changes, leaves):
            raise NotRewritable("it keeps what it computed on itself")
        empty(self.cut, tables)
        return traced

    def _stays(self, name: str) -> bool:
        """Tell whether a module inside stays a call of itself."""
        path = f"{self.path}.{name}" if self.path else name
        if outer_part(path, self.graph.parts) is not None:
            if not all(_is_plain(visit.result) for visit in self.inner.get(name, ())):
                raise NotRewritable(f"{path}, which is kept whole, gives objects")
            return name in self.inner
        if path in self.request.dissolved or name not in self.inner:
            if path in self.request.dissolved:
                self._refuse_hooks(name)
            return False
        if path in self.request.needed or not any(self._is_touched(visit) for visit in self.inner[name]):
            return all(_is_plain(visit.result) for visit in self.inner[name])
        self._refuse_hooks(name)
        return False

    def _is_touched(self, visit: Visit) -> bool:
        """Tell whether something in a module, or what it is given, has gone; not in what gets a forward of its own."""
        nodes = {*self.nodes[visit.first : visit.last], *fx_nodes((visit.args, visit.kwargs))}
        for name, others in self.inner.items():
            if (f"{self.path}.{name}" if self.path else name) in self.request.needed:
                for other in others:
                    if visit.first <= other.first and other.last <= visit.last and other is not visit:
                        nodes -= {*self.nodes[other.first : other.last]}
        return any(self.liveness.gone(node) and node not in self.flow.static for node in nodes)

    def _refuse_hooks(self, name: str) -> None:
        module = self.original.get_submodule(name)
        if module._forward_hooks or module._forward_pre_hooks:
            raise NotRewritable(f"{name} has hooks")

    def _value(self, name: str) -> Any:
        """Return the recorded result of the next run of a module that stays a call."""
        number = sum(visit in self.inner[name] for visit in self.used)
        if number >= len(self.inner[name]):
            raise TraceError(f"{name} runs another number of times than before")
        visit = self.inner[name][number]
        self.used.append(visit)
        return fx.node.map_aggregate(visit.result, lambda n: n.meta[VALUE] if isinstance(n, fx.Node) else n)

    # --- labels --------------------------------------------------------------------------------------

    def _subgraph(self, traced: fx.GraphModule, visit: Visit) -> Graph:
        """Return the graph of one module; its inputs and parameters have the labels of the network's record."""
        labels = lambda value: fx.node.map_aggregate(value, self._labels_of)  # noqa: E731
        placeholders = [n for n in traced.graph.nodes if n.op == "placeholder"]
        input_labels = {
            str(p.target): labels(a) for p, a in zip(placeholders, self._argument_nodes(visit), strict=True)
        }
        living = set(traced.graph.nodes)
        known = {
            n: labels(self.used[number].result) for n, number in self.leaves.nodes.items() if n in living
        }
        inside = set(self.nodes[visit.first : visit.last])
        pads = [remap.outputs for remap in self.flow.remaps if remap.node in inside]
        network_flow = self.graph.flow
        sub = Flow(
            traced,
            input_labels=input_labels,
            pad_labels=pads,
            count=network_flow.count,
            known=known,
            frees_created=network_flow.frees_created,
        )
        for local, tensor in [*traced.named_parameters(), *traced.named_buffers()]:
            name = network_flow.tensor_name(tensor)
            for axis in range(tensor.dim()):
                if name is not None and (name, axis) in network_flow.param_axes:
                    sub.param_axes[local, axis] = network_flow.param_axes[name, axis]
            if name in network_flow.attributes:
                sub.attributes[local] = network_flow.attributes[name]
        sub.run(apply_rule)
        class_of = self._classes(sub)
        for node, number in self.leaves.nodes.items():
            inner = self.used[number]
            if node in known and not self._fits(sub, class_of, node, inner):
                raise NotRewritable(f"{node.target} is given something else than before")
        out = next(n for n in traced.graph.nodes if n.op == "output")
        results = lb.tensors_in([sub.values[n] for n in fx_nodes(out.args)])
        recorded = lb.tensors_in([self.flow.values[n] for n in fx_nodes(visit.result)])
        if len(results) != len(recorded) or not all(
            _alike(class_of, a, b) for a, b in zip(results, recorded, strict=True)
        ):
            raise NotRewritable("its graph does not give what the record says")
        param_axes = {key: class_of[vector.numpy()] for key, vector in sub.param_axes.items()}
        return Graph(traced, sub, (), class_of, param_axes, [], [])

    def _labels_of(self, node: Any) -> Any:
        return self.flow.values[node] if isinstance(node, fx.Node) else node

    def _fits(self, sub: Flow, class_of: Ints, node: fx.Node, visit: Visit) -> bool:
        arrived = lb.tensors_in([sub.values[n] for n in fx_nodes((node.args, node.kwargs))])
        recorded = lb.tensors_in([self.flow.values[n] for n in fx_nodes((visit.args, visit.kwargs))])
        return len(arrived) == len(recorded) and all(
            _alike(class_of, a, b) for a, b in zip(arrived, recorded, strict=True)
        )

    def _classes(self, sub: Flow) -> Ints:
        """Return the classes of all labels: labels of the module's own graph take those of what they are tied to."""
        known = self.graph.class_of
        if sub.count == len(known):
            class_of = known
        else:
            class_of = _extended(known, sub)
        for a, b in sub.ties:
            if not bool((class_of[a.numpy()] == class_of[b.numpy()]).all()):
                raise NotRewritable("it ties channels that the record does not")
        return class_of

    def _adopt_constants(self, sub: Graph, traced: fx.GraphModule) -> None:
        """Make buffers of the tensors that forward creates, with the channels that are kept."""
        own = {*dict(self.original.named_parameters(remove_duplicate=False))}
        own |= {*dict(self.original.named_buffers(remove_duplicate=False))}
        survivors = Survivors(sub, self.request.keep, self.request.orders)
        computed = {id(tensor) for tensor in held_tensors(self.original)}
        for node in traced.graph.nodes:
            if node.op != "get_attr" or str(node.target) in own or not isinstance(node.meta[VALUE], Tensor):
                continue
            value, labels = node.meta[VALUE], sub.flow.values[node]
            if id(value) in computed:
                raise NotRewritable("it reads what earlier calls left in a list or dict")
            index = survivors.index(labels) if isinstance(labels, Tensor) else []
            if index is None:
                raise NotRewritable("a constant in its code has channels of no single axis")
            cut = value
            for axis, positions in enumerate(index):
                if len(positions) != value.shape[axis]:
                    cut = cut.index_select(axis, positions.to(value.device))
            if cut is not value or str(node.target).startswith("_tensor_constant"):
                node.target = put_new(self.cut, "edgeprune_constant", cut.detach().clone())


def _extended(known: Ints, sub: Flow) -> Ints:
    """Give each label that the module's graph made the class of the labels it is tied to."""
    pairs = [(a.numpy(), b.numpy()) for a, b in sub.ties]
    rows = np.concatenate([a for a, _ in pairs] or [np.zeros(0, int)])
    columns = np.concatenate([b for _, b in pairs] or [np.zeros(0, int)])
    new = (rows >= len(known)) | (columns >= len(known))
    matrix = sparse.coo_matrix(
        (np.ones(int(new.sum())), (rows[new], columns[new])), shape=(sub.count, sub.count)
    )
    component = connected_components(matrix, directed=False)[1]
    highest = np.full(int(component.max()) + 1, -2, dtype=np.int64)
    np.maximum.at(highest, component[1 : len(known)], known[1:])
    lonely = highest[component[len(known) :]]
    return np.concatenate([known, np.where(lonely == -2, -1, lonely)])


def _is_plain(value: Any) -> bool:
    """Tell whether a structure is of plain containers, tensors and numbers."""
    if type(value) is tuple or isinstance(value, list):
        return all(_is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(_is_plain(item) for item in value.values())
    return isinstance(value, (Tensor, fx.Node, int, float, bool, str, type(None)))


def _inside(path: str, outer: str) -> str:
    return path[len(outer) + 1 :] if outer else path


def _same_labels(graph: Graph, flow: Flow, args: Any, others: Any) -> bool:
    first, second = fx_nodes(args), fx_nodes(others)
    return len(first) == len(second) and all(
        _alike(graph.class_of, flow.values[a], flow.values[b]) for a, b in zip(first, second, strict=True)
    )


def _alike(class_of: Ints, a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b or (isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)) and len(a) == len(b))
    if a.shape[1:] != b.shape[1:] or a.dim() != b.dim():
        return False
    small_a, small_b = lb.core(a), lb.core(b)
    try:
        return bool((class_of[small_a.numpy()] == class_of[small_b.numpy()]).all())
    except ValueError:
        return False


def _calls(graph: fx.Graph) -> set[str]:
    """Return the names that a graph calls and reads of the module."""
    return {str(n.target) for n in graph.nodes if n.op in ("call_module", "get_attr")}


def _prune_layers(cut: nn.Module, done: list[_Done]) -> None:
    """Replace layers that the new forward no longer calls by an Identity."""
    calls = {name for mode in done for name in mode.calls}
    gone = {name for mode in done for name in mode.called} - calls
    for name in gone:
        layer = _submodule(cut, name)
        if layer is None or not any(True for _ in layer.parameters()):
            continue
        if not any(other.startswith(name + ".") for other in calls):
            path, _, leaf = name.rpartition(".")
            cut.get_submodule(path)._modules[leaf] = nn.Identity()


def _prune_parameters(request: Request, path: str, done: list[_Done]) -> None:
    """Set parameters that only a dropped branch read to None."""
    calls = {name for mode in done for name in mode.calls}
    for name in {name for mode in done for name in mode.called} - calls:
        full = f"{path}.{name}" if path else name
        owner = _submodule(request.model, full.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        if owner is None or leaf not in owner._parameters:
            continue
        for flow, liveness in zip(request.graph.flows, request.liveness_by_flow, strict=True):
            consumers = [n for n in flow.module.graph.nodes if flow.attribute(n) == full]
            if any(
                user in liveness.working and not liveness.gone(user) for n in consumers for user in n.users
            ):
                break
        else:
            owner._parameters[leaf] = None


def _submodule(module: nn.Module, name: str) -> nn.Module | None:
    try:
        return module.get_submodule(name)
    except AttributeError:
        return None


def _set_defaults(graph: fx.Graph, arguments: list[Argument]) -> None:
    """Give the new forward's arguments the defaults of the old one's, where Python lets it."""
    placeholders = [n for n in graph.nodes if n.op == "placeholder"]
    for node, argument in reversed(list(zip(placeholders, arguments, strict=True))):
        if not isinstance(argument.default, (int, float, bool, str, type(None))):
            return
        node.args = (argument.default,)


def _checked_arguments(source: str, arguments: list[Argument]) -> str:
    """Return the source with a check of the arguments that determined its control flow."""
    head, _, body = source.partition(":\n")
    checks = [
        f"    if {a.name} {'!=' if isinstance(a.value, str) else 'is not'} {a.value!r}:\n"
        f"        raise ValueError({f'this forward was rewritten for {a.name}={a.value!r}'!r})"
        for a in arguments
        if a.fixed
    ]
    return "\n".join([f"{head}:", *checks, body])


def _is_nonnegative(node: Any) -> bool:
    return isinstance(node, fx.Node) and CALL in node.meta and node.meta[CALL].op in ("relu", "relu6")


__all__ = ["Immovable", "NotRewritable", "Request", "RewrittenForward", "rewrite"]
