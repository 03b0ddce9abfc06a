"""OpenVINO's int8 files."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.backends.openvino import OpenVino


def conv_file(path: Path) -> Path:
    """A convolution of 3 channels to 4."""
    weights = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    node = helper.make_node("Conv", ["input", "w"], ["logits"], pads=[1, 1, 1, 1])
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 4, 4])
        for name, channels in (("input", 3), ("logits", 4))
    ]
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], [numpy_helper.from_array(weights, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def test_the_ranges_of_int8_hold_every_calibration_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NNCF's default is a mean over images, which cuts the rarer large activations off."""
    pytest.importorskip("nncf")
    openvino = pytest.importorskip("openvino")
    images = np.random.default_rng(0).uniform(-1, 1, (6, 3, 4, 4)).astype(np.float32)
    images[2, 0, 0, 0], images[4, 0, 0, 0] = 40.0, -30.0
    monkeypatch.setattr(OpenVino, "images_for_int8", lambda _self, _job: images)
    network = openvino.Core().read_model(str(conv_file(tmp_path / "m.onnx")))
    job: Any = None
    quantised, _ = OpenVino("int8")._quantised(network, job)
    (low, high) = next(
        (float(node.input_value(1).get_node().data.min()), float(node.input_value(2).get_node().data.max()))
        for node in quantised.get_ops()
        if node.get_type_name() == "FakeQuantize"
        and node.input_value(0).get_node().get_type_name() == "Parameter"
    )
    assert high == pytest.approx(40.0, rel=0.02)
    assert low == pytest.approx(-30.0, rel=0.02)
