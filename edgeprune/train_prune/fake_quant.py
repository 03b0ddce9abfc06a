"""A network that rounds as its int8 file will: what quantisation-aware training trains.

The network is the one of the exported ONNX graph, BatchNorm folded, so that rounding stands at the very places of the
file's Q/DQ nodes. Rounding passes gradients on unchanged, and ranges are learned. Source: Esser et al., Learned Step
Size Quantization, 2020.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgeprune.errors import TrainError
from edgeprune.onnx_graph.network import OnnxNetwork
from edgeprune.quantization.layers import Layer
from edgeprune.quantization.ranges import LEVELS
from edgeprune.quantization.trained import Trained


class FakeQuantized(nn.Module):
    """An ONNX network with its activations and weights rounded to int8.

    Attributes:
        network: in float32.
        ranges: of `tensors`, learned; |x| up to it is kept.
        tensors: names of the activations that are rounded.

    Args:
        network: of a float32 graph.
        layers: of the same graph, in int8.
        ranges: activation -> range to begin with.

    Raises:
        TrainError: an activation is not computed by torch.
    """

    def __init__(self, network: OnnxNetwork, layers: Sequence[Layer], ranges: Mapping[str, float]) -> None:
        super().__init__()
        self.network = network
        self.tensors = sorted({name for layer in layers for name in layer.activations})
        self.ranges = nn.Parameter(torch.tensor([ranges[name] or 1.0 for name in self.tensors]))
        by_constant = {form.constant: (name, form) for name, form in network.forms.items()}
        for layer in layers:
            if layer.weight in by_constant:
                name, form = by_constant[layer.weight]
                path, _, label = name.rpartition(".")
                axis = None if layer.axis is None else form.axes.index(layer.axis)
                parametrize.register_parametrization(network.get_submodule(path), label, RoundedWeight(axis))
        for number, name in enumerate(self.tensors):
            self._round(name, number)

    def _round(self, name: str, number: int) -> None:
        """Let every reader of an activation read it rounded."""
        if name in self.network.inputs:
            position = self.network.inputs.index(name)
            self.network.register_forward_pre_hook(partial(self._rounded_input, position, number))
            return
        for node, path in self.network.steps:
            if name in node.output:
                if path is None:
                    break
                place = list(node.output).index(name)
                self.network.get_submodule(path).register_forward_hook(
                    partial(self._rounded_output, place, number)
                )
                return
        raise TrainError(f"{name} is computed of sizes alone: it cannot be quantised while training")

    def _rounded_input(self, position: int, number: int, _module: nn.Module, arguments: Any) -> Any:
        changed = list(arguments)
        changed[position] = self._rounded(changed[position], number)
        return tuple(changed)

    def _rounded_output(
        self, place: int, number: int, _module: nn.Module, _arguments: Any, output: Any
    ) -> Any:
        if isinstance(output, Tensor):
            return self._rounded(output, number)
        return tuple(self._rounded(item, number) if i == place else item for i, item in enumerate(output))

    def _rounded(self, x: Tensor, number: int) -> Tensor:
        """Return an activation rounded; its range has the gradient of Esser et al., section 2.2."""
        factor = 1 / math.sqrt(max(1, x.numel() // len(x)) * LEVELS)
        limit = self.ranges[number].abs()
        limit = limit * factor + (limit * (1 - factor)).detach()
        return rounded(x, limit / LEVELS)

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
        limits = self.ranges.detach().abs().cpu().numpy()
        return Trained(constants, dict(zip(self.tensors, limits.astype(np.float32), strict=True)))

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


def rounded(x: Tensor, scale: Tensor) -> Tensor:
    """Return what Q and DQ nodes make of a tensor; gradients pass the rounding as if it were none.

    Args:
        x: of any shape.
        scale: that broadcasts to it.
    """
    steps = torch.clamp(x / scale, -LEVELS - 1, LEVELS)
    return (steps + (steps.round() - steps).detach()) * scale
