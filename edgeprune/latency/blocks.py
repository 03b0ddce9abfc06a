"""Find groups of coupled channels that can be removed completely: insides of residual blocks and branches."""

import numpy as np
import torch.fx as fx

from edgeprune.graph.classes import Graph
from edgeprune.graph.liveness import Liveness, liveness_of
from edgeprune.recording.record import CALL


def removable(graph: Graph) -> list[tuple[int, ...]]:
    """Return the sets of groups that can be removed together while the output still depends on the input.

    Without all channels of one group its consumers give constants; the groups that are then written only by
    constants, or read by nothing, are removed with it. The inside of a residual block is such a set; a layer
    in a chain is not.
    """
    removable_sets: dict[tuple[int, ...], None] = {}
    written_by = _calls_of_groups(graph)
    for group in graph.groups:
        keep = np.ones(graph.classes, dtype=bool)
        keep[group.classes] = False
        removed = {group.index}
        while True:
            liveness = liveness_of(graph.flow, graph.class_of, keep)
            idle = {index for index, calls in enumerate(written_by) if _idle(calls, liveness)}
            if idle <= removed:
                break
            removed |= idle
            for index in idle:
                keep[graph.groups[index].classes] = False
        if not liveness.blocked and _output_works(graph, liveness):
            removable_sets[tuple(sorted(removed))] = None
    return list(removable_sets)


def _calls_of_groups(graph: Graph) -> list[list[fx.Node]]:
    """Return for each group the calls that write its channels."""
    layers = [(node, set(_layers(graph, node))) for node in graph.nodes if CALL in node.meta]
    return [
        [node for node, names in layers if not names.isdisjoint(group.producers)] for group in graph.groups
    ]


def _idle(calls: list[fx.Node], liveness: Liveness) -> bool:
    return bool(calls) and not any(call in liveness.working for call in calls)


def _layers(graph: Graph, call: fx.Node) -> list[str]:
    """Return the layers whose weights a call uses."""
    names = (graph.flow.names.read_by(source) for source in call.all_input_nodes)
    return [name.rpartition(".")[0] for name in names if name in graph.flow.outputs]


def _output_works(graph: Graph, liveness: Liveness) -> bool:
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    return not any(liveness.gone(node) for node in output.all_input_nodes)
