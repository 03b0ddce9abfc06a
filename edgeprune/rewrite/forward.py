"""Give one module a rewritten forward: where a width is written into its code, or a branch inside has gone.

Only the module's own code is written anew. Modules inside stay calls of themselves, with what the record knows of
them, unless a branch that has gone runs through them or they could not be rewritten by themselves.
"""

from dataclasses import dataclass
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.record import CALL, VALUE
from edgeprune.rewrite.forward_arguments import Argument
from edgeprune.rewrite.graph_editor import put_new
from edgeprune.rewrite.graph_rewriter import Immovable, Rewriter
from edgeprune.rewrite.memos import empty, held_tensors
from edgeprune.rewrite.module_labels import check_visits, module_graph
from edgeprune.rewrite.module_trace import ModuleTrace
from edgeprune.rewrite.requests import NotRewritable, Request
from edgeprune.rewrite.rewritten_forward import RewrittenForward


def rewrite(request: Request, path: str) -> None:
    """Replace the forward of module ``path`` of the cut model.

    Raises:
        NotRewritable: its code cannot be traced, or does not give what the record says.
        Immovable: channels that have to stay.
    """
    cut = request.model.get_submodule(path)
    done = [
        _in_mode(request, path, index, training=training)
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


def _in_mode(request: Request, path: str, index: int, *, training: bool) -> _Done:
    """Trace, label and rewrite the forward of module ``path`` in one mode.

    Args:
        request: what is to be rewritten.
        path: the module's name in the network.
        index: of the flow among the graph's.
        training: the mode.
    """
    trace = ModuleTrace(request, path, index, training=training)
    check_visits(trace)
    trace.run()
    cut = request.model.get_submodule(path)
    empty(cut, trace.tables)
    sub = module_graph(trace)
    _adopt_constants(request, trace, sub, cut)
    nonnegative = frozenset(
        p for p, a in zip(trace.placeholders, trace.argument_nodes, strict=False) if _is_nonnegative(a)
    )
    rewriter = Rewriter(
        sub, cut, request.keep, request.orders, bypass=request.bypass, nonnegative=nonnegative
    )
    graph = rewriter.run()
    return _Done(graph, trace.arguments, _calls(trace.traced.graph), _calls(graph))


def _adopt_constants(request: Request, trace: ModuleTrace, sub: Graph, cut: nn.Module) -> None:
    """Make buffers of the tensors that forward creates, with the channels that are kept.

    Args:
        request: what is to be rewritten.
        trace: of the original module.
        sub: its graph.
        cut: the module of the cut network, which gets the buffers.
    """
    own = {*dict(trace.original.named_parameters(remove_duplicate=False))}
    own |= {*dict(trace.original.named_buffers(remove_duplicate=False))}
    survivors = Survivors(sub, request.keep, request.orders)
    computed = {id(tensor) for tensor in held_tensors(trace.original)}
    for node in trace.traced.graph.nodes:
        if node.op != "get_attr" or str(node.target) in own or not isinstance(node.meta[VALUE], Tensor):
            continue
        value, labels = node.meta[VALUE], sub.flow.values[node]
        if id(value) in computed:
            raise NotRewritable("it reads what earlier calls left in a list or dict")
        index = survivors.index(labels) if isinstance(labels, Tensor) else []
        if index is None:
            raise NotRewritable("a constant in its code has channels of no single axis")
        kept = value
        for axis, positions in enumerate(index):
            if len(positions) != value.shape[axis]:
                kept = kept.index_select(axis, positions.to(value.device))
        if kept is not value or str(node.target).startswith("_tensor_constant"):
            node.target = put_new(cut, "edgeprune_constant", kept.detach().clone())


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
            consumers = [n for n in flow.module.graph.nodes if flow.names.read_by(n) == full]
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
