"""Biases that take back the mean error of int8.

Rounded weights and cut activations shift the mean of a layer's output, each channel by its own amount; the bias takes
the shift back. Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019,
section 4.2, with the means measured on images instead of derived from BatchNorm.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.quantization.layers import Layer, constants_of, put_constant
from edgeprune.quantization.placing import Place
from edgeprune.quantization.qdq import Scale, with_scales
from edgeprune.quantization.running import Piecewise, tensors_of

if TYPE_CHECKING:
    from onnx import ModelProto


def correct_biases(
    model: "ModelProto",
    layers: Iterable[Layer],
    scales: Mapping[str, Scale],
    places: Mapping[str, Place],
    images: np.ndarray,
) -> int:
    """Change the biases of a float model so that with Q/DQ nodes each channel has its mean of float32; return how many.

    Layer by layer in the graph's order, each behind the corrected ones before it.

    Args:
        model: in float32; its biases are changed.
        layers: in int8.
        scales: of the weights and of the tensors at `places`.
        places: of Q/DQ nodes.
        images: float32 (N, C, H, W).
    """
    corrected = [layer for layer in layers if layer.bias is not None and layer.operator != "MatMul"]
    names = [layer.output for layer in corrected]
    means = _means(model, names, images)
    quantised = with_scales(model, scales, places)
    constants = constants_of(model)
    run = Piecewise(quantised, images)
    done: set[str] = set()
    for layer in corrected:
        run.run_until(layer.output)
        bias = layer.bias or ""
        if bias in done:  # two layers share it
            continue
        done.add(bias)
        output = run.values[layer.output]
        shift = (means[layer.output] - channel_means(output)).astype(np.float32)
        if shift.shape != constants[bias].shape:
            continue
        for each in (model, quantised):
            put_constant(each, bias, constants[bias] + shift)
        run.values[layer.output] = output + shift.reshape([1, -1] + [1] * (output.ndim - 2))
    return len(done)


def channel_means(values: np.ndarray) -> np.ndarray:
    """Return the mean of each channel over images and space, of (N, C, ...)."""
    return np.asarray(values.mean(tuple(axis for axis in range(values.ndim) if axis != 1), dtype=np.float64))


def _means(model: "ModelProto", names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Return the mean of each channel of some tensors over all images."""
    sums: dict[str, np.ndarray] = {}
    for part in tensors_of(model, names, [images]):
        for name, values in part.items():
            sums[name] = sums.get(name, 0) + channel_means(values) * len(values)
    return {name: total / len(images) for name, total in sums.items()}
