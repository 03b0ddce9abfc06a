"""Make a network of one layer at one width, for runtimes that time complete files alone.

The layer reads what a convolution has just written and is read by a pooling, as in `layer_models`. Other
networks have what lies around it: the difference of the times is the layer's.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.latency.layer_models import FEED, Point
from edgeprune.latency.shapes import DEPTHWISE, LINEAR, Shape

CONVOLUTIONS: tuple[Any, ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
POOLINGS = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
ENOUGH_MACS = 4e6  # of the layers in a network: the time of fewer is lost in that of what lies around them
MOST_COPIES = 8


class TimedNetwork(nn.Module):
    """A network that is only timed.

    Attributes:
        shape: (C, H, W) of its input, or what a layer's maps have in their place.
    """

    shape: tuple[int, ...]


class Feed(TimedNetwork):
    """A network of what writes a layer's input, and a pooling.

    Args:
        size: of the maps; empty for a linear layer.
        channels: that are written.
        reads: channels of the network's input.
        strides: of the pointwise convolution that writes them; None for 1.
    """

    def __init__(
        self, size: Sequence[int], channels: int, reads: int = FEED, strides: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.shape = (reads, *size)
        if size:
            convolution = CONVOLUTIONS[len(size) - 1]
            self.write: nn.Module = convolution(reads, channels, 1, tuple(strides or (1,) * len(size)))
        else:
            self.write = nn.Linear(reads, channels)

    def maps(self, image: Tensor) -> Tensor:
        """Return what is written."""
        return self.write(image).relu()

    def forward(self, image: Tensor) -> Tensor:
        """Return what is written, pooled."""
        return pooled(self.maps(image))


class Pool(TimedNetwork):
    """A network that pools its input alone: what lies around a layer that reads the network's input.

    Args:
        size: of the maps.
        channels: of the input.
    """

    def __init__(self, size: Sequence[int], channels: int) -> None:
        super().__init__()
        self.shape = (channels, *size)

    def forward(self, image: Tensor) -> Tensor:
        """Return the means of the maps; rectified, so that there is an operation beside the pooling."""
        return pooled(image.relu())


class LayerNetwork(TimedNetwork):
    """A network of some copies of a layer that read the same input, between a feed and poolings.

    Args:
        shape: of the layer.
        point: its (inputs, outputs).
        copies: how many; None for as many as make its time stand out.
    """

    def __init__(self, shape: Shape, point: Point, copies: int | None = None) -> None:
        super().__init__()
        inputs, outputs = point
        self.layer = shape
        self.shape = (inputs if shape.raw else FEED, *shape.size)
        self.feed = None if shape.raw else Feed(shape.size, inputs)
        self.other = None
        if "Add" in shape.after:
            self.other = Feed(shape.size, outputs, self.shape[0], shape.strides)
        count = copies_of(shape, point) if copies is None else copies
        self.copies = nn.ModuleList(_layer(shape, point) for _ in range(count))

    def forward(self, image: Tensor) -> Tensor:
        """Return what the copies give, pooled and side by side."""
        maps = image if self.feed is None else self.feed.maps(image)
        other = None if self.other is None else _resized(self.other.maps(image), self.layer.out_size)
        return torch.cat([pooled(self._followed(layer(maps), other)) for layer in self.copies], 1)

    def _followed(self, value: Tensor, other: Tensor | None) -> Tensor:
        """Return a layer's output after the operations that are folded into it."""
        for word in self.layer.after:
            if word == "Add" and other is not None:
                value = value + other
            else:
                value = value.clamp(0, 6) if word == "Clip" else value.relu()
        return value


def around(shape: Shape, point: Point) -> list[TimedNetwork]:
    """Return networks of what lies around a layer: of all of it, then of what an addition takes besides.

    Args:
        shape: of the layer.
        point: its (inputs, outputs).
    """
    inputs, outputs = point
    first: TimedNetwork = Pool(shape.size, inputs) if shape.raw else Feed(shape.size, inputs)
    reads = inputs if shape.raw else FEED
    return [first, *([Feed(shape.size, outputs, reads, shape.strides)] if "Add" in shape.after else [])]


def copies_of(shape: Shape, point: Point) -> int:
    """Return how many copies of a layer make its time stand out.

    Args:
        shape: of the layer.
        point: its (inputs, outputs).
    """
    return int(min(MOST_COPIES, max(1, ENOUGH_MACS // max(1.0, shape.macs(*point)))))


def pooled(value: Tensor) -> Tensor:
    """Return the means of maps; a vector as it is."""
    return POOLINGS[value.dim() - 3](value, 1).flatten(1) if value.dim() > 2 else value


def _layer(shape: Shape, point: Point) -> nn.Module:
    """Return one layer; padding that differs at both ends goes before it."""
    inputs, outputs = point
    if shape.op == LINEAR:
        return nn.Linear(inputs, outputs)
    axes = len(shape.size)
    begin, end = shape.pads[:axes], shape.pads[axes:]
    convolution = CONVOLUTIONS[axes - 1](
        inputs,
        outputs,
        shape.kernel,
        shape.strides,
        begin if begin == end else 0,
        shape.dilations,
        groups=inputs if shape.op == DEPTHWISE else 1,
    )
    if begin == end:
        return convolution
    sides = [side for pair in zip(reversed(begin), reversed(end), strict=True) for side in pair]
    return nn.Sequential(_Padding(sides), convolution)


class _Padding(nn.Module):
    """Zeros around maps.

    Args:
        sides: as `torch.nn.functional.pad` takes them.
    """

    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__()
        self.sides = list(sides)

    def forward(self, value: Tensor) -> Tensor:
        """Return the maps with zeros around them."""
        return F.pad(value, self.sides)


def _resized(value: Tensor, size: Sequence[int]) -> Tensor:
    """Return maps cut or filled with zeros at their ends to a size."""
    missing = [after - before for after, before in zip(size, value.shape[2:], strict=True)]
    if not any(missing):
        return value
    return F.pad(value, [side for number in reversed(missing) for side in (0, number)])
