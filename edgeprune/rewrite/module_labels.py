"""Label the trace of one module with the channels of the network around it, and hold it against the record."""

from typing import Any

import numpy as np
import torch.fx as fx
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.flow import Flow
from edgeprune.graph.rules import apply_rule
from edgeprune.graph.walk import Walk
from edgeprune.recording.record import Visit
from edgeprune.rewrite.module_trace import ModuleTrace
from edgeprune.rewrite.requests import NotRewritable
from edgeprune.rewrite.structures import fx_nodes


def check_visits(trace: ModuleTrace) -> None:
    """Refuse a module that runs on different channels: one forward cannot be right for all its visits.

    Raises:
        NotRewritable: their channels differ.
    """
    first = trace.visits[0]
    for other in trace.visits[1:]:
        if not _same_labels(trace.graph, trace.flow, (first.args, first.kwargs), (other.args, other.kwargs)):
            raise NotRewritable("it runs on different channels")


def module_graph(trace: ModuleTrace) -> Graph:
    """Return the graph of one module; its inputs and parameters have the labels of the network's record.

    Raises:
        NotRewritable: it does not give what the record says.
    """
    traced, leaves, visit = trace.traced, trace.leaves, trace.visits[0]
    sub = _flow_over(trace)
    class_of = _classes(trace.graph.class_of, sub)
    living = set(traced.graph.nodes)
    for node, number in leaves.nodes.items():
        if node in living and not _fits(trace.flow, sub, class_of, node, trace.used[number]):
            raise NotRewritable(f"{node.target} is given something else than before")
    out = next(n for n in traced.graph.nodes if n.op == "output")
    if not _same_channels(class_of, _tensors(sub, out.args), _tensors(trace.flow, visit.result)):
        raise NotRewritable("its graph does not give what the record says")
    param_axes = {key: class_of[vector.numpy()] for key, vector in sub.param_axes.items()}
    return Graph(traced, sub, (), class_of, param_axes, [], [])


def _flow_over(trace: ModuleTrace) -> Flow:
    """Walk the trace; its inputs, its parameters and the modules that stay have the network's labels."""
    traced, flow, visit = trace.traced, trace.flow, trace.visits[0]

    def labels(value: Any) -> Any:
        return fx.node.map_aggregate(value, lambda n: flow.values[n] if isinstance(n, fx.Node) else n)

    pairs = zip(trace.placeholders, trace.argument_nodes, strict=True)
    input_labels = {str(placeholder.target): labels(argument) for placeholder, argument in pairs}
    living = set(traced.graph.nodes)
    known = {n: labels(trace.used[number].result) for n, number in trace.leaves.nodes.items() if n in living}
    inside = set(trace.nodes[visit.first : visit.last])
    network_flow = trace.graph.flow
    sub = Flow(
        traced,
        pad_labels=[remap.outputs for remap in flow.remaps if remap.node in inside],
        count=network_flow.count,
        frees_created=network_flow.frees_created,
    )
    for local, tensor in [*traced.named_parameters(), *traced.named_buffers()]:
        name = network_flow.names.of(tensor)
        for axis in range(tensor.dim()):
            if name is not None and (name, axis) in network_flow.param_axes:
                sub.param_axes[local, axis] = network_flow.param_axes[name, axis]
        if name in network_flow.attributes:
            sub.attributes[local] = network_flow.attributes[name]
    Walk(sub, apply_rule, input_labels=input_labels, known=known).run()
    return sub


def _classes(known: Ints, sub: Flow) -> Ints:
    """Return the classes of all labels: labels of the module's own graph take those of what they are tied to."""
    class_of = known if sub.count == len(known) else _extended(known, sub)
    for a, b in sub.ties:
        if not bool((class_of[a.numpy()] == class_of[b.numpy()]).all()):
            raise NotRewritable("it ties channels that the record does not")
    return class_of


def _fits(flow: Flow, sub: Flow, class_of: Ints, node: fx.Node, visit: Visit) -> bool:
    """Tell whether a module that stays a call is given what it was given in the record."""
    arrived, recorded = _tensors(sub, (node.args, node.kwargs)), _tensors(flow, (visit.args, visit.kwargs))
    return _same_channels(class_of, arrived, recorded)


def _tensors(flow: Flow, structure: Any) -> list[Tensor]:
    return lb.tensors_in([flow.values[n] for n in fx_nodes(structure)])


def _same_channels(class_of: Ints, labels: list[Tensor], others: list[Tensor]) -> bool:
    return len(labels) == len(others) and all(
        _alike(class_of, a, b) for a, b in zip(labels, others, strict=True)
    )


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
