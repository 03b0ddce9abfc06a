"""Rewrite pads of channels for the channels that stay."""

import torch
import torch.fx as fx

from edgeprune.graph.flow import Remap
from edgeprune.graph.ops import source_of
from edgeprune.recording.record import VALUE
from edgeprune.rewrite.context import RewriteContext


class ChannelPads:
    """Passes what survives on both sides of a pad, and pads the rest with zeros."""

    def __init__(self, context: RewriteContext) -> None:
        self.survivors, self.editor = context.survivors, context.editor

    def rewrite(self, node: fx.Node, remap: Remap) -> None:
        """Rewrite a pad of channels: what survives on both sides passes, the rest is zero."""
        place = {index: position for position, index in enumerate(self.survivors.order_of(remap.inputs))}
        out = self.survivors.order_of(remap.outputs)
        source = [place.get(int(remap.source[index]), -1) for index in out]
        with self.editor.before(node):
            result = self._slice_and_pad(self.editor.new[source_of(node)], remap, source, len(place))
        self.editor.replace(node, result)

    def _slice_and_pad(self, x: fx.Node, remap: Remap, source: list[int], width: int) -> fx.Node:
        """Slice and pad when what passes is contiguous, else a gather from x with one zero channel more."""
        dims = remap.node.meta[VALUE].dim()
        passing = [position for position in source if position >= 0]
        start = passing[0] if passing else 0
        low = next((i for i, s in enumerate(source) if s >= 0), len(source))
        run = list(range(start, start + len(passing)))
        high = len(source) - low - len(run)
        if run and source == [-1] * low + run + [-1] * high:
            x = self.editor.pick(x, remap.axis, torch.tensor(run), width)
            return self.editor.pad(x, {**remap.pads, remap.axis: (low, high)}, dims)
        x = self.editor.pad(x, {**remap.pads, remap.axis: (0, 1)}, dims)
        index = torch.tensor([width if s < 0 else s for s in source])
        return self.editor.pick(x, remap.axis, index, width + 1)
