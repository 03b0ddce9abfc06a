"""ncnn's files: parsed, written in int8, and prepared for pnnx; none of it needs ncnn."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from edgeprune.backends.ncnn import strides_as_pooling
from edgeprune.backends.ncnn_files import INT8_TAG, layers_of, param_text, quantised
from edgeprune.backends.onnx_export import export_model
from edgeprune.errors import ExportError
from edgeprune.quantization.ranges import Histogram, ranges_of

PARAM = """7767517
4 4
Input                    in0                      0 1 in0
Convolution              conv                     1 1 in0 1 0=2 1=1 11=1 5=1 6=6 9=1
ConvolutionDepthWise     depth                    1 1 1 2 0=2 1=1 5=0 6=2 7=2
InnerProduct             fc                       1 1 2 out0 0=3 1=1 2=6
"""
CONV = np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]], np.float32)
DEPTH = np.array([4.0, -0.5], np.float32)
FC = np.arange(6, dtype=np.float32).reshape(3, 2)
TAG = bytes(4)
BIN = b"".join(
    [
        *(TAG, CONV.tobytes(), np.array([7, 8], np.float32).tobytes()),
        *(TAG, DEPTH.tobytes()),
        *(TAG, FC.tobytes(), np.zeros(3, np.float32).tobytes()),
    ]
)


def floats(content: bytes) -> list[float]:
    return np.frombuffer(content, np.float32).tolist()


def test_lines_come_back() -> None:
    layers = layers_of(PARAM)
    assert [layer.kind for layer in layers] == [
        "Input",
        "Convolution",
        "ConvolutionDepthWise",
        "InnerProduct",
    ]
    assert layers_of(param_text(layers)) == layers


def test_int8_has_scales_by_channel_and_of_the_input() -> None:
    param, content = quantised(layers_of(PARAM), BIN, {"in0": 2.54, "1": 1.27, "2": 0.0})
    assert [layer.values.get("8") for layer in layers_of(param)] == [None, "2", "1", None]
    conv = INT8_TAG + np.array([64, -127, 32, 0, 0, 0], np.int8).tobytes() + bytes(2)
    assert content.startswith(conv)
    at = len(conv)
    assert floats(content[at : at + 20]) == pytest.approx([7, 8, 63.5, 1, 50])  # bias, weights', input's
    at += 20
    depth = INT8_TAG + np.array([127, -127], np.int8).tobytes() + bytes(2)
    assert content[at : at + 8] == depth
    assert floats(content[at + 8 : at + 20]) == pytest.approx([31.75, 254, 100])
    assert content[at + 20 :] == TAG + FC.tobytes() + bytes(12)  # no range: as it was


def test_layers_that_stay() -> None:
    param, _ = quantised(layers_of(PARAM), BIN, {"in0": 1.0, "1": 1.0, "2": 1.0}, frozenset(["depth"]))
    assert [layer.name for layer in layers_of(param) if "8" in layer.values] == ["conv", "fc"]


@pytest.mark.parametrize(
    ("param", "content", "message"),
    [
        (PARAM.replace("InnerProduct ", "Tensor.slice "), BIN, r"ncnn has no Tensor.slice \(layer fc\)"),
        ("hello", BIN, "no .param file"),
        (PARAM, BIN[:-4], "the .bin ends within fc"),
        (PARAM, BIN + bytes(8), "its layers account for"),
        (PARAM, b"\x47" + BIN[1:], "the weights of conv are not float32"),
        (PARAM.replace("6=2 7=2", "6=2 7=2 19=1"), BIN, "weights of depth are computed"),
    ],
)
def test_what_cannot_be_read(param: str, content: bytes, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        quantised(layers_of(param), content, {"in0": 1.0, "1": 1.0, "2": 1.0})


class Strided(nn.Module):
    """Takes every second row and column, and other slices too."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, :, ::2, ::3].mean((2, 3)) + x[:, :, 1:3, ::2].mean((2, 3))


def test_steps_become_pooling_and_the_numbers_stay(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export_model(Strided(), (3, 7, 7), path)
    model = onnx.load(str(path))
    image = np.random.default_rng(0).normal(size=(2, 3, 7, 7)).astype(np.float32)
    before = onnxruntime.InferenceSession(str(path)).run(None, {"input": image})[0]
    strides_as_pooling(model)
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("MaxPool") == 3 and kinds.count("Slice") == 1  # from the second row on
    after = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"input": image})[0]
    np.testing.assert_array_equal(after, before)


# --- ranges -------------------------------------------------------------------------------------------------


def test_a_range_cuts_what_is_rare() -> None:
    random = np.random.default_rng(0)
    histogram = Histogram.empty()
    for _ in range(10):
        histogram.add(random.normal(size=10_000))
    plain = histogram.range("mse")
    assert 3.0 < plain < 5.5
    histogram.add(np.array([50.0]))
    assert histogram.top >= 50.0 and histogram.counts.sum() == 100_001
    assert (
        25.0 < histogram.range("mse") < 40.0
    )  # what is lost of the one weighs as much as what the many gain


def test_ranges_of_zeros_and_of_few_values() -> None:
    assert ranges_of([{"a": np.zeros(8)}, {"a": np.zeros(8)}]) == {"a": 0.0}
    assert ranges_of([{"a": np.array([-1.0, 0.5])}])["a"] == pytest.approx(1.0, rel=0.02)
