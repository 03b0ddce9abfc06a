"""Ranges of channels made equal across pairs of convolutions, exactly.

A channel that the first convolution divides by s, the second multiplies by s: nothing changes where only positively
homogeneous operators lie between, f(s x) = s f(x) for s > 0. ReLU6, Hardswish and the like are not, so that pairs
around them stay as they are. The factors are powers of two: no number is rounded, and the outputs are the same bit for
bit.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019, section 4.1. There
both weights have one scale each; here they have one for each output channel, so that it is the tensor between them
whose channels compete for one range: the factors are chosen for it as Xiao et al. do, SmoothQuant, 2023, equation 4.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.files.onnx_nodes import names_read
from edgeprune.quantization.layers import Layer, constants_of, put_constant

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

HOMOGENEOUS = ("Relu", "LeakyRelu", "MaxPool", "AveragePool")  # on each channel by itself
SHARE = 0.5  # of an inequality that goes from the tensor into the second weight; SmoothQuant's alpha
LARGEST = 2.0**10  # factor either way


@dataclass(frozen=True)
class Pair:
    """Two convolutions with only homogeneous operators between.

    Attributes:
        first: makes the channels.
        second: alone reads them.
        between: the tensor that the second reads.
    """

    first: Layer
    second: Layer
    between: str


def pairs_of(model: "ModelProto", layers: Iterable[Layer]) -> list[Pair]:
    """Return the pairs of convolutions whose channels can be scaled exactly."""
    constants = constants_of(model)
    by_output = {layer.output: layer for layer in layers if _can_scale(layer, constants)}
    makers = {name: node for node in model.graph.node for name in node.output}
    readers = _number_of_readers(model)
    pairs = []
    for second in by_output.values():
        (between,) = second.activations
        source = _source(between, makers, readers)
        first = by_output.get(source or "")
        if first is not None and (second.groups == 1 or second.depthwise):  # not in groups of several
            pairs.append(Pair(first, second, between))
    return pairs


def equalize(model: "ModelProto", pairs: Iterable[Pair], largest: Mapping[str, np.ndarray]) -> int:
    """Scale the channels between convolutions; return how many pairs were.

    Args:
        model: that is changed; its outputs stay.
        pairs: of its convolutions.
        largest: tensor -> the largest absolute value of each channel, over images.
    """
    count = 0
    for pair in pairs:
        constants = constants_of(model)
        weight = constants[pair.second.weight or ""]
        depthwise = pair.second.depthwise
        readers = np.abs(weight).max((1, 2, 3) if depthwise else (0, 2, 3))
        factors = factors_of(largest[pair.between], readers)
        if (factors == 1).all():
            continue
        count += 1
        across = factors.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
        put_constant(model, pair.second.weight or "", weight * across)
        first = pair.first
        put_constant(model, first.weight or "", constants[first.weight or ""] / factors.reshape(-1, 1, 1, 1))
        if first.bias is not None:
            put_constant(model, first.bias, constants[first.bias] / factors)
    return count


def factors_of(activations: np.ndarray, weights: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Return the power of two by which each channel is divided; 1 for a channel that is always 0.

    Args:
        activations: largest absolute value of each channel.
        weights: likewise of what multiplies it.
        share: 1 makes the channels' ranges equal, 0 those of the weights.
    """
    live = (activations > 0) & (weights > 0)
    factors = np.ones(len(activations))
    factors[live] = activations[live] ** share / weights[live] ** (1 - share)
    factors[live] /= np.exp(np.log(factors[live]).mean()) if live.any() else 1.0
    return np.exp2(np.rint(np.log2(np.clip(factors, 1 / LARGEST, LARGEST)))).astype(np.float32)


def _can_scale(layer: Layer, constants: Mapping[str, np.ndarray]) -> bool:
    """Return whether a layer is a convolution of images with weights of its own."""
    return layer.operator == "Conv" and constants.get(layer.weight or "", np.empty(0)).ndim == 4


def _number_of_readers(model: "ModelProto") -> dict[str, int]:
    """Return how many nodes read each value, the graph's outputs being read, too."""
    count: dict[str, int] = defaultdict(int)
    for name in [name for node in model.graph.node for name in names_read(node)]:
        count[name] += 1
    for value in model.graph.output:
        count[value.name] += 1
    return count


def _source(name: str, makers: "Mapping[str, NodeProto]", readers: Mapping[str, int]) -> str | None:
    """Return the tensor that ``name`` is made of by homogeneous operators, each the only reader; None where shared."""
    while readers[name] == 1 and name in makers:
        node = makers[name]
        if node.op_type not in HOMOGENEOUS:
            return name
        name = node.input[0]
    return None
