"""A float32 ONNX graph made int8: equalised, calibrated, its sensitive layers left in float, its biases corrected."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.errors import ExportError, known
from edgeprune.quantization.correcting import correct_biases
from edgeprune.quantization.equalizing import equalize, pairs_of
from edgeprune.quantization.guarding import guard_float_layers
from edgeprune.quantization.layers import copied, input_of, layers_of, with_own_constants
from edgeprune.quantization.placing import ONNXRUNTIME, places_of
from edgeprune.quantization.qdq import hold_integers, scales_of, with_scales
from edgeprune.quantization.ranges import METHODS, ranges_of
from edgeprune.quantization.running import largest_of_channels, outputs_of, tensors_of
from edgeprune.quantization.sensitivity import layer_errors
from edgeprune.quantization.trained import Trained

if TYPE_CHECKING:
    from onnx import ModelProto

LEAST_AGREEMENT = 0.99  # with the float32 graph on held-out images, below which layers are left in float
MOST_IN_FLOAT = 0.2  # of the layers, by "auto"
LEAST_IMAGES = 8
MEASURED_ON = (64, 2**18)  # images and pixels that sensitivity is measured on
CORRECTED_ON = (256, 2**20)  # likewise of biases: all of a tensor's values are held at once

Batches = Sequence[np.ndarray]
Agreement = Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], float]


@dataclass(frozen=True)
class Recipe:
    """How a graph is made int8.

    Attributes:
        method: of `ranges.METHODS`: how a tensor's range follows from its values.
        keep_float: layers left in float: "auto", "none", a number of them, or names with commas between.
        equalize: whether ranges of channels are made equal first, in networks with depthwise layers: other networks
            do not gain by it (results/int8.json).
        correct: whether biases take back the mean error.
        in_int8: names of the layers in int8, all others in float; None where ``keep_float`` says which.
        form: of `placing.FORMS`: where the nodes stand.
    """

    method: str = METHODS[0]
    keep_float: str = "auto"
    equalize: bool = True
    correct: bool = True
    in_int8: tuple[str, ...] | None = None
    form: str = ONNXRUNTIME


@dataclass(frozen=True)
class Quantized:
    """A graph with Q/DQ nodes, and what is known of it.

    Attributes:
        model: with Q/DQ nodes.
        errors: (layer, relative mean square error of the network with that layer alone in int8), the largest first.
        in_float: names of the layers left in float.
        equalized: pairs of convolutions whose channels were scaled.
        corrected: biases that were corrected.
        agreement: with the float32 graph on held-out images; None where there were none.
    """

    model: "ModelProto"
    errors: tuple[tuple[str, float], ...]
    in_float: tuple[str, ...]
    equalized: int
    corrected: int
    agreement: float | None


class Quantizer:
    """Makes one graph int8.

    Attributes:
        model: the graph in float32, equalised if the recipe says so; it computes what the source does.
        layers: that int8 is for.
        ranges: of the tensors that have Q/DQ nodes where all layers are in int8.
        equalized: pairs of convolutions whose channels were scaled.

    Args:
        source: in float32; it stays as it is.
        images: batches to find ranges on, at least one.
        recipe: how.
        trained: constants and ranges to take instead of finding them; its biases are not corrected.
    """

    def __init__(
        self, source: "ModelProto", images: Batches, recipe: Recipe, trained: Trained | None = None
    ) -> None:
        self.model = with_own_constants(source)
        if trained is not None:
            trained.put_into(self.model)
            recipe = replace(recipe, equalize=False, correct=False)
        self.images, self.recipe = images, recipe
        self.layers = layers_of(self.model)
        depthwise = any(layer.depthwise for layer in self.layers)
        self.equalized = self._equalize() if recipe.equalize and depthwise else 0
        self.ranges: Mapping[str, float] = self._ranges() if trained is None else trained.ranges

    def _equalize(self) -> int:
        pairs = pairs_of(self.model, self.layers)
        largest = largest_of_channels(self.model, [pair.between for pair in pairs], self.images)
        return equalize(self.model, pairs, largest)

    def _ranges(self) -> dict[str, float]:
        """Return the range of each tensor that may be rounded, over all images."""
        feed = input_of(self.model)
        places = places_of(self.model, self.layers, self.recipe.form)
        names = sorted({*places} - {feed})
        parts = chain(({feed: batch} for batch in self.images), tensors_of(self.model, names, self.images))
        return ranges_of(parts, self.recipe.method)

    def errors(self) -> dict[str, float]:
        """Return the error of each layer alone in int8, by the result of its node, the largest first."""
        few = [self._few(*MEASURED_ON)]
        errors = layer_errors(self.model, self.layers, self.ranges, self.recipe.form, few)
        return dict(sorted(errors.items(), key=lambda item: -item[1]))

    def _few(self, images: int, pixels: int) -> np.ndarray:
        """Return so many images at most, fewer of large ones.

        Args:
            images: at most.
            pixels: at most, of all together.
        """
        fitting = pixels // int(np.prod(self.images[0].shape[2:]))
        return np.concatenate(self.images)[: max(LEAST_IMAGES, min(images, fitting))]

    def with_float(self, in_float: Collection[str]) -> tuple["ModelProto", int]:
        """Return the graph with Q/DQ nodes, and how many biases were corrected.

        Args:
            in_float: results of the nodes that stay in float.
        """
        layers = [layer for layer in self.layers if layer.output not in in_float]
        places = places_of(self.model, layers, self.recipe.form)
        scales = scales_of(self.model, layers, places, self.ranges)
        model, corrected = copied(self.model), 0
        if self.recipe.correct:
            corrected = correct_biases(model, layers, scales, places, self._few(*CORRECTED_ON))
        rounded = with_scales(model, scales, places)
        if self.recipe.form == ONNXRUNTIME:
            guard_float_layers(rounded)
            hold_integers(rounded)
        return rounded, corrected


def quantize(
    source: "ModelProto",
    images: Batches,
    held_out: Batches,
    recipe: Recipe,
    agreement: Agreement,
    trained: Trained | None = None,
) -> Quantized:
    """Return a graph with Q/DQ nodes.

    Args:
        source: in float32.
        images: batches to find ranges on, at least one.
        held_out: other batches, by which "auto" chooses layers to stay in float; where there are none, it keeps none.
        recipe: how.
        agreement: of the outputs of two graphs for the same images, 0 to 1.
        trained: constants and ranges of quantisation-aware training; None to find them on ``images``.

    Raises:
        ExportError: a layer that is to stay in float does not exist, or another graph was trained.
    """
    quantizer = Quantizer(source, images, recipe, trained)
    errors = quantizer.errors()
    names = {layer.output: layer.name for layer in quantizer.layers}
    expected = outputs_of(source, held_out) if held_out else []
    # What was trained with rounding is another network, which need not agree with the float one.
    keep_float = "none" if trained is not None and recipe.keep_float == "auto" else recipe.keep_float
    in_int8 = recipe.in_int8
    choices = _choices(keep_float, errors, names) if in_int8 is None else [_others(in_int8, errors, names)]
    for in_float in choices:
        model, corrected = quantizer.with_float(in_float)
        agrees = agreement(expected, outputs_of(model, held_out)) if held_out else None
        if agrees is None or agrees >= LEAST_AGREEMENT:
            break
    return Quantized(
        model=model,
        errors=tuple((names[output], error) for output, error in errors.items()),
        in_float=tuple(names[output] for output in errors if output in in_float),
        equalized=quantizer.equalized,
        corrected=corrected,
        agreement=agrees,
    )


def _choices(keep_float: str, errors: Mapping[str, float], names: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the layers to leave in float, by the results of their nodes: the first set that is good enough is taken.

    Args:
        keep_float: as in `Recipe`.
        errors: of each layer, the largest first.
        names: of each layer.
    """
    ordered = list(errors)
    if keep_float == "auto":
        yield from (ordered[:count] for count in range(1 + int(MOST_IN_FLOAT * len(ordered))))
    elif keep_float == "none" or keep_float.isdigit():
        yield ordered[: 0 if keep_float == "none" else int(keep_float)]
    else:
        by_name = {name: output for output, name in names.items()}
        chosen = [name.strip() for name in keep_float.split(",")]
        for name in chosen:
            if name not in by_name:
                raise ExportError(f"`keep_float`: {known('layer', name, list(by_name))}")
        yield [by_name[name] for name in chosen]


def _others(in_int8: Collection[str], errors: Iterable[str], names: Mapping[str, str]) -> list[str]:
    """Return the layers to leave in float where those in int8 are given.

    Args:
        in_int8: names of layers.
        errors: results of the nodes of all layers, in the order of the result.
        names: of each layer.

    Raises:
        ExportError: there is no such layer.
    """
    for name in in_int8:
        if name not in names.values():
            raise ExportError(f"the precisions of the run: {known('layer', name, [*names.values()])}")
    return [output for output in errors if names[output] not in in_int8]
