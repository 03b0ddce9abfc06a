"""Equalisation, bias correction, sensitivity and Q/DQ nodes, on small networks with hand-made weaknesses."""

from pathlib import Path
from unittest.mock import Mock

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgeprune.backends.onnx_export import export_quickly
from edgeprune.errors import ExportError
from edgeprune.quantization.correcting import channel_means, correct_biases
from edgeprune.quantization.equalizing import equalize, factors_of, pairs_of
from edgeprune.quantization.layers import copied, layers_of
from edgeprune.quantization.placing import FORMS, TENSORRT, Place, places_of
from edgeprune.quantization.qdq import Scale, scales_of, weight_scale, with_scales
from edgeprune.quantization.quantizing import Quantizer, Recipe, quantize
from edgeprune.quantization.ranges import METHODS, Histogram
from edgeprune.quantization.running import largest_of_channels, outputs_of, tensors_of
from edgeprune.quantization.sensitivity import layer_errors, relative_error

IMAGES = np.random.default_rng(0).normal(size=(32, 3, 8, 8)).astype(np.float32)


def separable(middle: nn.Module) -> nn.Module:
    """A pointwise, a depthwise and a pointwise convolution, whose channels have ranges from 1 to 100."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        middle,
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 4, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    with torch.no_grad():
        spread = torch.logspace(0, 2, 8)
        net[0].weight *= spread.reshape(-1, 1, 1, 1)
        net[0].bias *= spread
        net[2].weight /= spread.reshape(-1, 1, 1, 1)
    return net.eval()


def graph(net: nn.Module, path: Path) -> onnx.ModelProto:
    """The network's graph, with a free batch."""
    export_quickly(net, (3, 8, 8), path, batch=1)
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


@pytest.fixture
def model(tmp_path: Path) -> onnx.ModelProto:
    return graph(separable(nn.ReLU()), tmp_path / "m.onnx")


def agreement(expected: list[np.ndarray], outputs: list[np.ndarray]) -> float:
    return float((expected[0].argmax(1) == outputs[0].argmax(1)).mean())


def test_layers_are_named_after_their_modules(model: onnx.ModelProto) -> None:
    layers = layers_of(model)
    assert [(layer.name, layer.depthwise, layer.axis) for layer in layers] == [
        ("0", False, 0), ("2", True, 0), ("4", False, 0),
    ]  # fmt: skip
    assert layers[0].activations == ("input",)


def equalized(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int]:
    copy = copied(model)
    pairs = pairs_of(copy, layers_of(copy))
    largest = largest_of_channels(copy, [pair.between for pair in pairs], [IMAGES])
    return copy, equalize(copy, pairs, largest)


def test_equalisation_is_exact_and_evens_the_ranges(model: onnx.ModelProto) -> None:
    copy, count = equalized(model)
    assert count == 2
    np.testing.assert_array_equal(outputs_of(copy, [IMAGES])[0], outputs_of(model, [IMAGES])[0])
    name = layers_of(model)[1].activations[0]

    def spread(graph: onnx.ModelProto) -> float:
        largest = largest_of_channels(graph, [name], [IMAGES])[name]
        return float(largest.max() / largest.min())

    assert spread(copy) < 0.4 * spread(model)


def test_a_relu6_is_not_scaled_across(tmp_path: Path) -> None:
    model = graph(separable(nn.ReLU6()), tmp_path / "m.onnx")
    assert [(pair.first.name, pair.second.name) for pair in pairs_of(model, layers_of(model))] == [("2", "4")]


def test_a_tensor_with_two_readers_is_not_scaled(tmp_path: Path) -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.a(x))
            return (self.b(x) + x).mean((2, 3))

    model = graph(Residual(), tmp_path / "m.onnx")
    assert pairs_of(model, layers_of(model)) == []


def test_factors_are_powers_of_two() -> None:
    factors = factors_of(np.array([1.0, 16.0, 0.0, 4.0]), np.array([1.0, 1.0, 1.0, 4.0]))
    np.testing.assert_array_equal(factors, [0.5, 2.0, 1.0, 0.5])  # roots 1, 4, -, 1 over their mean of 1.6


def test_equalisation_lowers_the_error_of_a_depthwise_network(model: onnx.ModelProto) -> None:
    expected = outputs_of(model, [IMAGES])
    errors = {
        even: relative_error(
            expected,
            outputs_of(
                Quantizer(model, [IMAGES], Recipe(equalize=even, correct=False)).with_float([])[0], [IMAGES]
            ),
        )
        for even in (False, True)
    }
    assert errors[True] < 0.5 * errors[False]


def test_corrected_biases_give_every_channel_its_mean(model: onnx.ModelProto) -> None:
    layers = layers_of(model)
    places = places_of(model, layers, TENSORRT)
    ranges = dict.fromkeys(places, 20.0)  # coarse, and cut
    scales, corrected = scales_of(model, layers, places, ranges), copied(model)
    assert correct_biases(corrected, layers, scales, places, IMAGES) == 3
    names = [layer.output for layer in layers]

    def means(graph: onnx.ModelProto) -> np.ndarray:
        (values,) = tensors_of(graph, names, [IMAGES])
        return np.concatenate([channel_means(values[name]) for name in names])

    expected = means(model)
    before = np.abs(means(with_scales(model, scales, places)) - expected).max()
    after = np.abs(means(with_scales(corrected, scales, places)) - expected).max()
    assert before > 0.05 and after < 0.01 * before


def test_scales_of_weights() -> None:
    weight = np.array([[[[1.0]], [[-2.0]]], [[[0.0]], [[0.0]]]], np.float32)
    np.testing.assert_allclose(weight_scale(weight, 0).values, [2 / 127, 1.0])
    np.testing.assert_allclose(weight_scale(weight, None).values, 2 / 127)


@pytest.mark.parametrize("zero_point", [None, 128, 0])
def test_rounded_is_what_the_nodes_compute(model: onnx.ModelProto, zero_point: int | None) -> None:
    scale = Scale(np.float32(0.05), zero_point=zero_point)
    quantised = with_scales(model, {"input": scale}, {"input": Place(zero_point=zero_point)})
    (values,) = tensors_of(quantised, ["input_DequantizeLinear_Output"], [IMAGES * 4])
    np.testing.assert_allclose(values["input_DequantizeLinear_Output"], scale.rounded(IMAGES * 4), atol=1e-6)


def test_a_layer_with_one_scale_for_unequal_numbers_is_the_most_sensitive(model: onnx.ModelProto) -> None:
    layers = layers_of(model)
    quantizer = Quantizer(model, [IMAGES], Recipe(equalize=False))
    for form in FORMS:
        ranges = quantizer.ranges | {layers[1].activations[0]: 1270.0}
        errors = layer_errors(model, layers, ranges, form, [IMAGES])
        assert max(errors, key=errors.__getitem__) == layers[1].output
        nothing = layer_errors(model, layers[:1], dict.fromkeys(ranges, 0.0127), form, [IMAGES])
        assert nothing[layers[0].output] > 0.01  # 127e-4 cuts nearly all


def test_layers_stay_in_float(model: onnx.ModelProto) -> None:
    made = quantize(model, [IMAGES], [IMAGES], Recipe(keep_float="1", form=TENSORRT), agreement)
    assert made.in_float == (made.errors[0][0],)
    assert [error for _, error in made.errors] == sorted((error for _, error in made.errors), reverse=True)
    kept = next(layer for layer in layers_of(model) if layer.name == made.in_float[0])
    node = next(node for node in made.model.graph.node if node.output[0] == kept.output)
    assert not any("Dequantize" in name for name in node.input)
    named = quantize(model, [IMAGES], [], Recipe(keep_float="2, 4"), agreement)
    assert set(named.in_float) == {"2", "4"} and named.agreement is None
    with pytest.raises(ExportError, match="`keep_float`: unknown layer 'head'; known: 0, 2, 4"):
        quantize(model, [IMAGES], [], Recipe(keep_float="head"), agreement)


def test_exactly_the_layers_that_are_chosen_are_in_int8(model: onnx.ModelProto) -> None:
    made = quantize(model, [IMAGES], [IMAGES], Recipe(in_int8=("4", "0")), lambda *_: 0.5)
    assert (made.in_float, made.agreement) == (("2",), 0.5)  # whatever they agree on
    read = {name for node in made.model.graph.node if node.op_type == "Conv" for name in node.input}
    assert "2.weight" in read and not {"0.weight", "4.weight"} & read
    with pytest.raises(ExportError, match="the precisions of the run: unknown layer 'head'; known: 0, 2, 4"):
        quantize(model, [IMAGES], [], Recipe(in_int8=("head",)), agreement)


def test_auto_keeps_no_more_than_the_agreement_needs(tmp_path: Path) -> None:
    convolutions = [nn.Conv2d(3, 3, 1) for _ in range(10)]
    model = graph(
        nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), tmp_path / "m.onnx"
    )
    for agreements, kept in [([1.0], 0), ([0.98, 0.995], 1), ([0.98, 0.98, 0.98], 2)]:  # at most a fifth
        made = quantize(model, [IMAGES], [IMAGES], Recipe(), Mock(side_effect=agreements))
        assert (len(made.in_float), made.agreement) == (kept, agreements[-1])


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_a_known_distribution(method: str) -> None:
    """Of 200,000 normal values the largest is 4.5; one value of 30 counts in full for minmax alone."""
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    histogram = Histogram.empty()
    histogram.add(values)
    histogram.add(np.array([-30.0, 0.0]))
    assert histogram.range("minmax") == 30.0
    low, high = {"minmax": (30, 30), "percentile": (4.0, 5.0), "mse": (3.5, 20.0), "entropy": (2.5, 6.0)}[
        method
    ]
    assert low <= histogram.range(method) <= high
