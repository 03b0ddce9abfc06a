"""A network that rounds as its int8 file will: what quantisation-aware training trains.

The network is the one of the exported ONNX graph, BatchNorm folded, so that rounding stands at the very places of the
file's Q/DQ nodes. Rounding passes gradients on unchanged, and ranges are learned. Source: Esser et al., Learned Step
Size Quantization, 2020.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgeprune.errors import TrainError
from edgeprune.onnx_graph.alone import Alone
from edgeprune.onnx_graph.network import OnnxNetwork
from edgeprune.quantization.layers import Layer
from edgeprune.quantization.placing import Place, levels_of
from edgeprune.quantization.ranges import LEVELS
from edgeprune.quantization.trained import Trained


class FakeQuantized(nn.Module):
    """An ONNX network with its activations and weights rounded to int8.

    Attributes:
        network: in float32.
        ranges: of `tensors`, learned; |x| up to it is kept.
        tensors: names of the activations that have a range.

    Args:
        network: of a float32 graph.
        layers: of the same graph, in int8.
        places: of the Q/DQ nodes of its file.
        ranges: activation -> range to begin with.

    Raises:
        TrainError: an activation is not computed by torch.
    """

    def __init__(
        self,
        network: OnnxNetwork,
        layers: Sequence[Layer],
        places: Mapping[str, Place],
        ranges: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.network = network
        self._sources = {name: place.source or name for name, place in places.items()}
        self.tensors = sorted({*self._sources.values()})
        self.ranges = nn.Parameter(torch.tensor([ranges[name] or 1.0 for name in self.tensors]))
        by_constant = {form.constant: (name, form) for name, form in network.forms.items()}
        for layer in layers:
            if layer.weight in by_constant:
                name, form = by_constant[layer.weight]
                path, _, label = name.rpartition(".")
                axis = None if layer.axis is None else form.axes.index(layer.axis)
                parametrize.register_parametrization(network.get_submodule(path), label, RoundedWeight(axis))
        makers = {name: path for node, path in network.steps for name in node.output}
        for name, place in places.items():
            if name not in network.inputs and makers[name] is None:
                raise TrainError(f"{name} is computed of sizes alone: it cannot be quantised while training")
            self._round(name, place)

    def _round(self, name: str, place: Place) -> None:
        """Let those who read an activation from behind its Q/DQ nodes read it rounded."""
        rounding = partial(self._rounded, self.tensors.index(place.source or name), place.zero_point)
        for node, path in self.network.steps:
            if path is None or name not in node.input:
                continue
            if place.readers is None or node.output[0] in place.readers:
                module = self.network.get_submodule(path)
                names = module.inputs if isinstance(module, Alone) else node.input
                positions = [position for position, other in enumerate(names) if other == name]
                module.register_forward_pre_hook(partial(_rounded_at, positions, rounding))

    def _rounded(self, number: int, zero_point: int | None, x: Tensor) -> Tensor:
        """Return an activation rounded; its range has the gradient of Esser et al., section 2.2."""
        levels = levels_of(zero_point)
        factor = 1 / math.sqrt(max(1, x.numel() // len(x)) * levels)
        limit = self.ranges[number].abs()
        limit = limit * factor + (limit * (1 - factor)).detach()
        low = -LEVELS - 1 if zero_point is None else -zero_point
        return rounded(x, limit / levels, low)

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the int8 file gives, to rounding."""
        return self.network(*inputs)

    def trained(self) -> Trained:
        """Return the constants of the file and the ranges, as they are now."""
        parameters = dict(self._parameters_of_forms())
        constants = {
            form.constant: form.of_file(parameters[name].detach().cpu().float().numpy())
            for name, form in self.network.forms.items()
        }
        limits = self.ranges.detach().abs().cpu().numpy().astype(np.float32)
        by_tensor = dict(zip(self.tensors, limits, strict=True))
        return Trained(constants, {name: by_tensor[source] for name, source in self._sources.items()})

    def _parameters_of_forms(self) -> Iterator[tuple[str, Tensor]]:
        for name in self.network.forms:
            path, _, label = name.rpartition(".")
            module = self.network.get_submodule(path)
            if parametrize.is_parametrized(module, label):
                yield name, module.get_parameter(f"parametrizations.{label}.original")
            else:
                yield name, getattr(module, label)


class RoundedWeight(nn.Module):
    """A weight rounded to int8, by the largest of each output channel.

    Args:
        axis: of the output channels; None for one scale.
    """

    def __init__(self, axis: int | None) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight rounded."""
        largest = weight.detach().abs()
        for axis in range(weight.dim()):
            if axis != self.axis:
                largest = largest.amax(axis, keepdim=True)
        return rounded(weight, torch.where(largest > 0, largest / LEVELS, torch.ones_like(largest)))


def _rounded_at(
    positions: Sequence[int], rounding: Callable[[Tensor], Tensor], _module: nn.Module, arguments: Any
) -> Any:
    """Return a node's arguments with some of them rounded."""
    return tuple(
        rounding(argument) if position in positions else argument
        for position, argument in enumerate(arguments)
    )


def rounded(x: Tensor, scale: Tensor, low: int = -LEVELS - 1) -> Tensor:
    """Return what Q and DQ nodes make of a tensor; gradients pass the rounding as if it were none.

    Args:
        x: of any shape.
        scale: that broadcasts to it.
        low: the least integer, of 256.
    """
    steps = torch.clamp(x / scale, low, low + 2 * LEVELS + 1)
    return (steps + (steps.round() - steps).detach()) * scale
