"""Which groups of coupled channels may go whole: the insides of residual blocks and of branches."""

import numpy as np
import torch.fx as fx

from edgeprune.graph.classes import Graph
from edgeprune.graph.fate import Fate, fate_of
from edgeprune.recording.record import CALL


def removable(graph: Graph) -> list[tuple[int, ...]]:
    """Sets of groups that go together and leave a network whose output still depends on its input.

    Without all channels of one group its readers give constants; the groups that are then written by nothing
    but constants, or that nothing reads any more, go with it. A residual block's inside is such a set; a
    layer in a chain is not.
    """
    found: dict[tuple[int, ...], None] = {}
    for group in graph.groups:
        keep = np.ones(graph.classes, dtype=bool)
        keep[group.classes] = False
        together = {group.index}
        while True:
            fate = fate_of(graph.flow, graph.class_of, keep)
            more = {other.index for other in graph.groups if _idle(other.index, graph, fate)}
            if more <= together:
                break
            together |= more
            for index in more:
                keep[graph.groups[index].classes] = False
        if not fate.stuck and _output_works(graph, fate):
            found[tuple(sorted(together))] = None
    return list(found)


def _idle(index: int, graph: Graph, fate: Fate) -> bool:
    names = set(graph.groups[index].producers)
    calls = [node for node in graph.nodes if CALL in node.meta and not names.isdisjoint(_layers(graph, node))]
    return bool(calls) and not any(call in fate.working for call in calls)


def _layers(graph: Graph, call: fx.Node) -> list[str]:
    """The layers whose weights a call takes."""
    names = (graph.flow.attribute(source) for source in call.all_input_nodes)
    return [name.rpartition(".")[0] for name in names if name in graph.flow.outputs]


def _output_works(graph: Graph, fate: Fate) -> bool:
    output = next(node for node in reversed(graph.nodes) if node.op == "output")
    return not any(fate.gone(node) for node in output.all_input_nodes)
