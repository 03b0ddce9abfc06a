"""Find the modules in which branches lost all their channels: their forward must leave them out."""

import torch.fx as fx

from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.liveness import Liveness
from edgeprune.recording.record import container


def emptied_modules(flow: Flow, liveness: Liveness) -> set[str]:
    """Return the smallest modules that hold each connected set of calls that have gone, and who reads of it."""
    leader: dict[fx.Node, fx.Node] = {}

    def find(node: fx.Node) -> fx.Node:
        while leader.setdefault(node, node) is not node:
            node = leader[node]
        return node

    gone = [n for n in flow.module.graph.nodes if n.op == "call_function" and liveness.gone(n)]
    touched = {n for n in gone if _is_of_network(flow, n)}
    for node in touched:
        for other in [*node.all_input_nodes, *node.users]:
            if (
                other.op == "call_function"
                and tensors_in(flow.values[other])
                and (other in touched or other in node.users)
            ):
                leader[find(node)] = find(other)
    paths: dict[fx.Node, str] = {}
    for node in list(leader):
        root = find(node)
        here = container(node)
        paths[root] = here if root not in paths else common(paths[root], here)
    return set(paths.values())


def _is_of_network(flow: Flow, node: fx.Node) -> bool:
    """Tell whether the call depends on the input: computed weights vanish by themselves."""
    return node not in flow.static


def common(a: str, b: str) -> str:
    """Return the path of the innermost module that holds both."""
    parts = []
    for x, y in zip(a.split("."), b.split("."), strict=False):
        if x != y:
            break
        parts.append(x)
    return ".".join(parts)
