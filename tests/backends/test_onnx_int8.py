"""int8 scales in the file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from trt.fixtures import answer, small_cnn

from edgeprune.backends.onnx_int8 import export_quantised
from edgeprune.errors import ExportError

IMAGES = np.random.default_rng(0).normal(size=(32, 3, 6, 6)).astype(np.float32)


def test_computes_the_same_within_eight_bits(tmp_path: Path) -> None:
    source = small_cnn(tmp_path / "m.onnx")
    export_quantised(source, tmp_path / "q.onnx", [IMAGES[:16], IMAGES[16:]])
    expected, got = answer(source, IMAGES), answer(tmp_path / "q.onnx", IMAGES)
    assert 0 < np.abs(got - expected).max() < 0.05 * np.abs(expected).max()


def test_is_what_tensorrt_asks_for(tmp_path: Path) -> None:
    """Symmetric; weights by channel, as float with Q and DQ behind; no Q/DQ at outputs; no int32 bias."""
    export_quantised(small_cnn(tmp_path / "m.onnx"), tmp_path / "q.onnx", [IMAGES])
    graph = onnx.load(tmp_path / "q.onnx").graph
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    scales = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    assert {node.input[0] for node in scales} == {"input", "conv1.weight", "f", "fc.weight"}
    assert all(not values[node.input[2]].any() and values[node.input[2]].dtype == np.int8 for node in scales)
    by_name = {node.input[0]: values[node.input[1]] for node in scales}
    assert (by_name["conv1.weight"].shape, by_name["input"].shape) == ((8,), ())
    np.testing.assert_allclose(
        by_name["conv1.weight"], np.abs(values["conv1.weight"]).max((1, 2, 3)) / 127, rtol=0.01
    )
    np.testing.assert_allclose(by_name["input"], np.abs(IMAGES).max() / 127, rtol=0.01)
    assert values["conv1.bias"].dtype == np.float32
    assert [node.op_type for node in graph.node][-1] == "MatMul"


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no images to calibrate int8 on"):
        export_quantised(small_cnn(tmp_path / "m.onnx"), tmp_path / "q.onnx", [])


def test_a_model_that_cannot_be_quantised_leaves_nothing(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    source.write_bytes(b"no model")
    with pytest.raises(ExportError, match="m.onnx cannot be quantised"):
        export_quantised(source, tmp_path / "q.onnx", [IMAGES])
    assert not (tmp_path / "q.onnx").exists()
