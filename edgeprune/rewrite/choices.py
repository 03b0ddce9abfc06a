"""Content-dependent choices of the recorded run, for the runs that are compared."""

from collections.abc import Collection

import torch.fx as fx
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import core, tensors_in
from edgeprune.recording.contents import CONTENT, Decided, Key, Replay
from edgeprune.recording.operands import operands
from edgeprune.recording.paths import is_inside
from edgeprune.recording.record import CALL, VALUE


def replay_of(graph: Graph, flow: Flow, rewritten: Collection[str]) -> Replay:
    """Return what puts the choices of the recorded run into another, where no channel that may go has a part in them.

    Args:
        graph: of the network.
        flow: of the mode.
        rewritten: modules whose calls are others in the cut network.
    """
    contents: dict[Key, Decided] = {}
    for node in flow.module.graph.nodes:
        site = node.meta.get(CALL)
        if CONTENT not in node.meta or any(is_inside(site.path, path) for path in rewritten):
            continue
        sources = operands(node)
        results = [node] if tensors_in(node.meta[VALUE]) else sources
        if all(_all_stays(graph, flow, result) for result in results):
            places = [
                place
                for place, source in enumerate(sources)
                if _is_real(source) and _all_stays(graph, flow, source)
            ]
            contents[site.key] = Decided(site.op, node.meta[CONTENT], tuple(places))
    return Replay(contents)


def _all_stays(graph: Graph, flow: Flow, node: fx.Node) -> bool:
    return all(bool((graph.classes_of(core(labels)) < 0).all()) for labels in tensors_in(flow.values[node]))


def _is_real(node: fx.Node) -> bool:
    value = node.meta[VALUE]
    return isinstance(value, Tensor) and value.is_floating_point()
