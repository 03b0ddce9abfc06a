"""Gates of the layers that no mask reaches: they see channels that are off as zero."""

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.learned.masked_layers import columns_of, layer_of
from edgeprune.learned.pruning_layer import ChannelGate
from edgeprune.recording.taps import TapMode, Taps, tapping
from edgeprune.rewrite.masking import parts_of


class ChannelGates(nn.Module):
    """Closes channels before shortcuts, grouped convolutions and layers without masks, by taps on the network's calls.

    ``items`` are the gates, each with the class of its channels.
    """

    columns: Tensor

    def __init__(self, graph: Graph, masked: Collection[str]) -> None:
        """Gate the readers of channels that may be pruned.

        Args:
            graph: of the network.
            masked: names of the layers that have masks.
        """
        super().__init__()
        self.items: list[tuple[ChannelGate, NDArray[np.int64]]] = []
        self._taps: list[Taps] = []
        self._running: list[tuple[ExitStack, TapMode | None]] = []  # taps of the calls that are under way
        for flow in graph.flows:
            taps = Taps(parts=parts_of(flow))
            for consumer in flow.consumers:
                classes = graph.classes_of(consumer.labels)
                if layer_of(consumer) in masked or not (classes >= 0).any():
                    continue
                gate = ChannelGate(len(classes), consumer.axis, flow.values[consumer.source].dim())
                taps.add_before(consumer.node, gate)
                self.items.append((gate, classes))
            self._taps.append(taps)
        self.gates = nn.ModuleList(gate for gate, _ in self.items)
        self.register_buffer("columns", columns_of([classes for _, classes in self.items]), persistent=False)

    def close(self, mask: Tensor) -> None:
        """Set every gate to 1 where the mask is positive, else 0.

        ``mask`` is (classes + 1,): the last is for channels that are always read.
        """
        sizes = [len(classes) for _, classes in self.items]
        alive = (mask.detach() > 0).to(mask.dtype)[self.columns].split(sizes)
        for (gate, _), open_ in zip(self.items, alive, strict=True):
            gate.gate = open_

    def begin_call(self, model: nn.Module) -> None:
        """Put the gates into a call of the network that begins."""
        taps, block = self._taps[-1] if model.training else self._taps[0], ExitStack()
        mode = block.enter_context(tapping(model, taps)) if taps.ops else None
        self._running.append((block, mode))

    def end_call(self, output: Any) -> Any:
        """Take them out again; return what the call gave."""
        if not self._running:  # the call failed before it began
            return output
        block, mode = self._running.pop()
        block.close()
        return output if mode is None else mode.current(output)
