"""The error that each layer's int8 causes alone at the network's outputs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.quantization.layers import Layer
from edgeprune.quantization.placing import places_of, rounded_alone
from edgeprune.quantization.qdq import scales_of, with_scales
from edgeprune.quantization.running import outputs_of

if TYPE_CHECKING:
    from onnx import ModelProto


def layer_errors(
    model: "ModelProto",
    layers: Sequence[Layer],
    ranges: Mapping[str, float],
    form: str,
    batches: Sequence[np.ndarray],
) -> dict[str, float]:
    """Return {result of a layer's node: relative mean square error of the network with that layer alone in int8}.

    Args:
        model: in float32.
        layers: in int8.
        ranges: tensor -> the largest value of it that counts.
        form: of `placing.FORMS`.
        batches: of images.
    """
    expected = outputs_of(model, batches)
    errors = {}
    for layer in layers:
        places = rounded_alone(places_of(model, [layer], form), layer)
        rounded = with_scales(model, scales_of(model, [layer], places, ranges), places)
        errors[layer.output] = relative_error(expected, outputs_of(rounded, batches))
    return errors


def relative_error(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> float:
    """Return the mean over outputs of the square error over the square; infinite for numbers that are not finite.

    Args:
        expected: outputs of the reference.
        got: outputs of the other.
    """
    errors = []
    for first, second in zip(expected, got, strict=True):
        square = float(np.square(first, dtype=np.float64).sum())
        difference = float(np.square(first.astype(np.float64) - second).sum())
        errors.append(difference / square if square else difference)
    return float(np.mean(errors)) if np.isfinite(errors).all() else float("inf")
