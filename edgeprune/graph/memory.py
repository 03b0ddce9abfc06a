"""Which activations are in memory at the same time.

Reckoned for a runtime that does what those in use do: an operation that looks at one element at a time, or at
one channel by itself (activations, BatchNorm, a residual add), writes over an input that nobody reads after
it; views are no copies; a tensor is freed after its last consumer.
"""

from dataclasses import dataclass

import torch.fx as fx
from torch import Tensor

from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import spec_of

BYTES = 4  # of a number, in float32


@dataclass
class Buffer:
    """One piece of memory: labels of what it holds, and the first and last operation that needs it."""

    node: fx.Node
    labels: Tensor
    first: int
    last: int


def buffers_of(flow: Flow) -> list[Buffer]:
    """Return the buffers of all activations and of the input; weights and constants are not included."""
    nodes = list(flow.module.graph.nodes)
    place = {node: number for number, node in enumerate(nodes)}
    held: dict[fx.Node, Buffer] = {}
    buffers: list[Buffer] = []
    for node in nodes:
        tensors = tensors_in(flow.values.get(node))
        if node.op in ("output", "get_attr") or not tensors:
            continue
        last = max((place[user] for user in node.users), default=place[node])
        buffer = _reused(flow, node, held, place[node])
        if buffer is None:
            largest = max(tensors, key=lambda tensor: tensor.numel())
            buffer = Buffer(node, largest, place[node], last)
            buffers.append(buffer)
        buffer.last = max(buffer.last, last)
        held[node] = buffer
    return buffers


def _reused(flow: Flow, node: fx.Node, held: dict[fx.Node, Buffer], now: int) -> Buffer | None:
    """Return the buffer that a node's value shares or overwrites."""
    sources = [held[source] for source in node.all_input_nodes if source in held]
    if not sources:
        return None
    spec = spec_of(node, flow.layers.get(node))
    if spec.free:
        return sources[0]
    if node not in flow.pointwise and not spec.overwrites:
        return None
    size = flow.values[node].numel() if isinstance(flow.values[node], Tensor) else None
    free = [buffer for buffer in sources if buffer.last <= now and buffer.labels.numel() == size]
    return free[0] if free else None
