"""The contribution of each channel to the output of the layer that reads it, at sampled positions.

With Z_c the contribution of channel c to the output (without bias), reconstruction criteria need only the
products G[c, d] = sum over positions and outputs of Z_c Z_d.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor
from torch.nn import functional as F

from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.flow import Consumer
from edgeprune.graph.nodes import layer_name, weight_node
from edgeprune.graph.ops import op_name
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.combine import Scores
from edgeprune.importance.filters import weight_of
from edgeprune.importance.options import checked_integer, count_or_all
from edgeprune.importance.sites import run_network
from edgeprune.recording.record import VALUE

_CHUNK = 2**23  # products held at once: 64 MiB


@dataclass(frozen=True)
class Geometry:
    """How a layer slides over its input, with two spatial axes, or none (a linear layer)."""

    axis: int
    groups: int
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]

    def sample(self, value: Tensor, positions: int, generator: torch.Generator) -> Tensor:
        """Return the layer's input at random positions of each image's output.

        Args:
            value: the layer's input for a batch.
            positions: number of sampled positions of each image.
            generator: draws them.

        Returns:
            (rows, groups, channels of a group, kernel positions).
        """
        if not self.kernel:
            rows = value.movedim(self.axis, -1).reshape(
                len(value) if value.dim() > 1 else 1, -1, value.shape[self.axis]
            )
            place = places_of(len(rows), rows.shape[1], positions, generator)
            return rows[torch.arange(len(rows))[:, None], place].flatten(0, 1)[:, None, :, None]
        value = value[None] if self.axis == 0 else value
        value = value[:, :, None] if value.dim() == 3 else value
        value = F.pad(value, self.padding)
        patches = self._patches(value, positions, generator)
        return patches.reshape(len(patches), self.groups, -1, patches.shape[-1])

    def _patches(self, value: Tensor, positions: int, generator: torch.Generator) -> Tensor:
        """Return (rows, channels, kernel positions) from a padded (N, C, H, W)."""
        reach = [d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True)]
        height, width = (
            (s - r) // t + 1 for s, r, t in zip(value.shape[2:], reach, self.stride, strict=True)
        )
        place = places_of(len(value), height * width, positions, generator)
        top, left = place // width * self.stride[0], place % width * self.stride[1]
        rows = top[:, :, None, None] + (torch.arange(self.kernel[0]) * self.dilation[0])[:, None]
        columns = left[:, :, None, None] + torch.arange(self.kernel[1]) * self.dilation[1]
        image = torch.arange(len(value))[:, None, None, None]
        patches = value[image, :, rows, columns]  # (N, positions, kh, kw, C)
        return patches.flatten(0, 1).flatten(1, 2).transpose(1, 2)


def places_of(images: int, places: int, positions: int, generator: torch.Generator) -> Tensor:
    """Draw random places of each image, or all places where there are no more than ``positions``.

    Args:
        images: number of images.
        places: number of places of an image.
        positions: number of places to draw.
        generator: draws them.

    Returns:
        (images, positions) indices.
    """
    if places <= positions:
        return torch.arange(places).expand(images, places)
    return torch.randint(places, (images, positions), generator=generator)


def samples_of(maps: Tensor, positions: int, generator: torch.Generator) -> Tensor:
    """Return the values of all channels at random places of each image, image by image: (samples, channels).

    Args:
        maps: (images, channels, places).
        positions: number of places to draw.
        generator: draws them.
    """
    place = places_of(len(maps), maps.shape[2], positions, generator)
    return maps[torch.arange(len(maps))[:, None], :, place].flatten(0, 1)


class Products:
    """The products of one reading layer's contributions, summed over batches.

    With p[m, i] the input at sampled position m under weight W[o, i] (i is a channel and a kernel position),
    the sum over m and o of (W[o, i] p[m, i]) (W[o, j] p[m, j]) is (W^T W)[i, j] (p^T p)[i, j]; summed over
    the i and j of each pair of classes it is that pair's product.

    Args:
        consumer: the layer.
        weight: (groups, outputs of a group, channels of a group, kernel positions).
        geometry: how the layer slides over its input.
        slots: class of each channel of a group, -1 if protected.
        positions: number of sampled positions of each image.
        generator: draws them.
    """

    def __init__(
        self,
        consumer: Consumer,
        weight: Tensor,
        geometry: Geometry,
        slots: Ints,
        positions: int,
        generator: torch.Generator,
    ) -> None:
        self.consumer, self.node, self.layer = consumer, consumer.node, layer_name(consumer.node)
        self._weight, self._geometry = weight.double().flatten(2), geometry
        self._positions, self._generator = positions, generator
        self.classes = np.unique(slots[slots >= 0])
        # Protected channels share the last column: they count only for the output.
        column = np.where(slots >= 0, np.searchsorted(self.classes, slots), len(self.classes))
        self._column = torch.from_numpy(column.repeat(weight.shape[-1])).to(weight.device)
        width = len(self.classes) + 1
        self._sum = self._weight.new_zeros(width, width)

    @property
    def gram(self) -> Scores:
        """Products of the classes' contributions, (classes, classes)."""
        return self._sum[:-1, :-1].cpu().numpy()

    @property
    def energy(self) -> float:
        """Sum of squares of the output without its bias."""
        return float(self._sum.sum())

    def add(self, value: Tensor) -> None:
        """Add the layer's input of one batch."""
        patches = self._geometry.sample(value.detach(), self._positions, self._generator).flatten(2)
        patches = patches.to(self._weight)
        size = max(1, _CHUNK // max(1, patches.shape[2]))
        for group in range(len(self._weight)):
            for rows in torch.arange(patches.shape[2]).split(size):
                self._add(patches[:, group], self._weight[group], rows)

    def _add(self, patches: Tensor, weight: Tensor, rows: Tensor) -> None:
        products = (weight[:, rows].T @ weight) * (patches[:, rows].T @ patches)
        folded = products.new_zeros(len(rows), len(self._sum)).index_add_(1, self._column, products)
        self._sum.index_add_(0, self._column[rows], folded)


def products_of(
    graph: Graph, batches: Batches | None, criterion: str, limit: int | None, positions: int, seed: int
) -> list[Products]:
    """Collect the products of every layer that can be reconstructed.

    Args:
        graph: the traced model.
        batches: images.
        criterion: its name, for errors.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image.
        seed: of that sampling.

    Raises:
        PlanError: no batches, or a number out of range.
    """
    limit, positions = count_or_all("limit", limit), checked_integer("positions", positions)
    generator = torch.Generator().manual_seed(checked_integer("seed", seed, least=0))
    products = [p for p in (_product(graph, r, positions, generator) for r in graph.flow.consumers) if p]
    for inputs in inputs_of(batches, criterion, limit):
        with torch.no_grad():
            run_network(graph, inputs, before={p.node: p.add for p in products})
    return products


def _product(graph: Graph, consumer: Consumer, positions: int, generator: torch.Generator) -> Products | None:
    name = consumer.weight
    geometry = geometry_of(consumer)
    if name is None or geometry is None or graph.flow.outputs.get(name) != 0:
        return None
    slots = graph.param_axes[name, 1]
    if not (slots >= 0).any():
        return None
    weight = weight_of(graph, consumer)
    if weight is None:
        return None
    weight = weight.reshape(geometry.groups, -1, weight.shape[1], weight[0, 0].numel())
    return Products(consumer, weight, geometry, slots, positions, generator)


def geometry_of(consumer: Consumer) -> Geometry | None:
    """Return a layer's geometry; None for unsupported layers: three spatial axes, or transposed."""
    settings = _settings(consumer.node)
    kind = settings["kind"]
    if kind == "linear":
        return Geometry(consumer.axis, 1, (), (), (), ())
    if kind not in ("conv1d", "conv2d"):
        return None
    dims = int(kind[4])
    kernel = tuple(weight_node(consumer.node).meta[VALUE].shape[2:])
    stride, dilation = _each(settings.get("stride", 1), dims), _each(settings.get("dilation", 1), dims)
    padding = _pad_widths(settings.get("padding", 0), kernel, dilation)
    lead, none = (1,) * (2 - dims), (0,) * (4 - 2 * dims)
    groups = int(settings.get("groups", 1))
    return Geometry(consumer.axis, groups, lead + kernel, lead + stride, lead + dilation, padding + none)


def _settings(node: fx.Node) -> dict[str, Any]:
    """Return stride, padding, dilation and groups of a layer's call."""
    named = dict(
        zip(("input", "weight", "bias", "stride", "padding", "dilation", "groups"), node.args, strict=False)
    )
    return {"kind": op_name(node), **named, **node.kwargs}


def _each(value: Any, dims: int) -> tuple[int, ...]:
    value = (value,) if isinstance(value, int) else tuple(value)
    return value * dims if len(value) == 1 else value


def _pad_widths(padding: Any, kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return widths in the order of F.pad: last axis first, before and after."""
    if padding == "valid":
        padding = 0
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        sides = [(t // 2, t - t // 2) for t in total]
    else:
        sides = [(p, p) for p in _each(padding, len(kernel))]
    return tuple(width for side in reversed(sides) for width in side)
