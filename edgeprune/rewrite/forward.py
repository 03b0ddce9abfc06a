"""Give one module a rewritten forward: where a width is written into its code, or a branch inside has gone."""

from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import TraceError
from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.ordering import Orders
from edgeprune.graph.rewrite import Immovable, Rewriter
from edgeprune.graph.rules import apply_rule
from edgeprune.graph.symbolic import trace
from edgeprune.rewrite.checker import fx_nodes
from edgeprune.trace.record import CALL, VALUE, Record, Visit


class NotRewritable(Exception):
    """A module whose forward cannot be written anew; the one around it may be."""


class RewrittenForward:
    """The forward of a module, written anew from a graph; its layers and tensors are the module's own.

    It stands on the instance, so the module keeps its class, methods, attributes and hooks.
    """

    def __init__(self, owner: nn.Module, source: str, names: dict[str, Any]) -> None:
        self.owner, self.source, self.names = owner, source, names
        self._function: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._function is None:
            scope = dict(self.names)
            exec(compile(self.source, f"<forward of {type(self.owner).__name__} by edgeprune>", "exec"), scope)
            self._function = scope["forward"]
        return self._function(self.owner, *args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {"owner": self.owner, "source": self.source, "names": self.names, "_function": None}


def rewrite(
    graph: Graph, record: Record, model: nn.Module, path: str, keep: Bools, orders: Orders, *, bypass: bool
) -> None:
    """Replace the forward of module ``path`` of the cut ``model``.

    Raises:
        NotRewritable: its code cannot be traced, or does not give what the record says.
        Immovable: channels that have to stay.
    """
    visits = [visit for visit in record.visits if visit.path == path]
    original, cut = graph.model.get_submodule(path), model.get_submodule(path)
    if not visits or any(m._forward_hooks or m._forward_pre_hooks for m in _dissolved(original)):
        raise NotRewritable(path)
    flow = graph.flow_of(record)
    sub = _subgraph(graph, flow, original, visits[0])
    for other in visits[1:]:
        if not _same_labels(graph, flow, visits[0].args, other.args):
            raise NotRewritable(path)
    _attach(cut, sub.module)  # type: ignore[arg-type]
    nonnegative = {
        p for p, n in zip(_placeholders(sub), _argument_nodes(visits[0]), strict=False) if _is_nonnegative(n)
    }
    before = set(cut._buffers) | set(cut._parameters)
    rewriter = Rewriter(sub, cut, keep, orders, bypass=bypass, nonnegative=nonnegative)
    done = rewriter.run()
    _prune_layers(cut, done, graph.model.get_submodule(path), before)
    code = done.graph.python_code("self")
    cut.forward = RewrittenForward(cut, code.src, code.globals)  # type: ignore[method-assign]


def _dissolved(module: nn.Module) -> list[nn.Module]:
    """The modules inside whose own forward is lost when ``module``'s is written anew."""
    return [m for m in module.modules() if m is not module and m._modules]


def _argument_nodes(visit: Visit) -> list[Any]:
    return [item for item in visit.args]


def _placeholders(sub: Graph) -> list[fx.Node]:
    return [n for n in sub.module.graph.nodes if n.op == "placeholder"]


def _subgraph(graph: Graph, flow: Flow, module: nn.Module, visit: Visit) -> Graph:
    """The graph of one module, with the labels that the whole network's record gives its inputs and parameters."""
    inputs = fx.node.map_aggregate(tuple(visit.args), lambda n: n.meta[VALUE] if isinstance(n, fx.Node) else n)
    while inputs and inputs[-1] is None:
        inputs = inputs[:-1]
    if not all(isinstance(value, (Tensor, list, tuple, dict)) for value in inputs):
        raise NotRewritable("it takes plain values")
    try:
        traced = trace(module, inputs)
    except TraceError as error:
        raise NotRewritable(str(error)) from error
    given = {}
    for node, argument in zip((n for n in traced.graph.nodes if n.op == "placeholder"), visit.args, strict=False):
        given[str(node.target)] = fx.node.map_aggregate(
            argument, lambda n: flow.values[n] if isinstance(n, fx.Node) else n
        )
    inside = [n for n in flow.module.graph.nodes if n in _nodes_of(flow, visit)]
    pads = [remap.outputs for remap in flow.remaps if remap.node in inside]
    sub = Flow(traced, given=given, pad_labels=pads, count=graph.flow.count)
    for local, tensor in [*traced.named_parameters(), *traced.named_buffers()]:
        name = graph.flow.tensor_name(tensor)
        for axis in range(tensor.dim()):
            if name is not None and (name, axis) in graph.flow.slots:
                sub.slots[local, axis] = graph.flow.slots[name, axis]
        if name in graph.flow.attributes:
            sub.attributes[local] = graph.flow.attributes[name]
    sub.run(apply_rule)
    if sub.count != graph.flow.count:
        raise NotRewritable("it makes channels that the record does not know")
    for a, b in sub.ties:
        if not bool((graph.class_of[a.numpy()] == graph.class_of[b.numpy()]).all()):
            raise NotRewritable("it ties channels that the record does not")
    out = next(n for n in traced.graph.nodes if n.op == "output")
    _compare_results(graph, flow, sub, out, visit)
    slots = {key: graph.class_of[vector.numpy()] for key, vector in sub.slots.items()}
    return Graph(traced, sub, (), graph.class_of, slots, [], [])


def _nodes_of(flow: Flow, visit: Visit) -> set[fx.Node]:
    nodes = list(flow.module.graph.nodes)
    return set(nodes[visit.first : visit.last])


def _compare_results(graph: Graph, flow: Flow, sub: Flow, out: fx.Node, visit: Visit) -> None:
    found = [sub.values[n] for n in fx_nodes(out.args)]
    wanted = [flow.values[n] for n in fx_nodes(visit.result)]
    if len(found) != len(wanted) or not all(_alike(graph, a, b) for a, b in zip(found, wanted, strict=True)):
        raise NotRewritable("its graph does not give what the record says")


def _same_labels(graph: Graph, flow: Flow, args: Any, others: Any) -> bool:
    first, second = fx_nodes(args), fx_nodes(others)
    return len(first) == len(second) and all(
        _alike(graph, flow.values[a], flow.values[b]) for a, b in zip(first, second, strict=True)
    )


def _alike(graph: Graph, a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return a is b
    if a.shape[1:] != b.shape[1:] or a.dim() != b.dim():
        return False
    small_a, small_b = lb.core(a), lb.core(b)
    try:
        return bool((graph.class_of[small_a.numpy()] == graph.class_of[small_b.numpy()]).all())
    except ValueError:
        return False


def _attach(cut: nn.Module, traced: fx.GraphModule) -> None:
    """Modules that tracing made (dropout from a functional call) become the module's own."""
    names = dict(cut.named_modules())
    for node in traced.graph.nodes:
        if node.op == "call_module" and str(node.target) not in names:
            path, _, leaf = str(node.target).rpartition(".")
            cut.get_submodule(path).add_module(leaf, traced.get_submodule(str(node.target)))


def _prune_layers(cut: nn.Module, done: fx.GraphModule, original: nn.Module, before: set[str]) -> None:
    """Layers that nothing calls any more leave an Identity, and what only they held goes."""
    called = {str(n.target) for n in done.graph.nodes if n.op == "call_module"}
    read = {str(n.target) for n in done.graph.nodes if n.op == "get_attr"}
    for name, layer in list(cut.named_modules()):
        if not name or layer._modules or not any(True for _ in layer.parameters()):
            continue
        if name not in called and not any(r.startswith(name + ".") for r in read):
            path, _, leaf = name.rpartition(".")
            cut.get_submodule(path)._modules[leaf] = nn.Identity()


def _is_nonnegative(node: Any) -> bool:
    return isinstance(node, fx.Node) and CALL in node.meta and node.meta[CALL].op in ("relu", "relu6")


__all__ = ["Immovable", "NotRewritable", "RewrittenForward", "rewrite"]
